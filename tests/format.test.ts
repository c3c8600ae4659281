import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  firstSentence,
  formatAgo,
  formatCount,
  formatDuration,
  formatEntities,
  formatTable,
  printable,
  wrapped,
} from '../src/format.js';

const now = new Date('2026-07-01T12:00:00Z');
const ago = (seconds: number) =>
  formatAgo(Number.isNaN(seconds) ? '' : new Date(now.getTime() - seconds * 1000).toISOString(), now);

it.each([
  ['a count', formatCount, { '0': 0, '999': 999, '1,000': 1000, '54,429': 54_429 }],
  ['several', formatEntities, { '0 entities': 0, '1 entity': 1, '54,429 entities': 54_429 }],
  ['a duration in seconds', formatDuration, { '0.0s': 0, '0.4s': 0.44, '9.9s': 9.94, '10s': 9.95, '42s': 42.4 }],
  ['a duration in minutes', formatDuration, { '59s': 59.4, '1m 00s': 59.6, '1m 08s': 68, '59m 59s': 3599.4 }],
  ['a duration in hours', formatDuration, { '1h 00m': 3599.6, '1h 02m': 3720, '7h 33m': 27_214.5 }],
  ['a duration in days', formatDuration, { '1d 00h': 86_399.9, '4d 12h': 4.5 * 86_400 }],
  ['how long ago', ago, { 'just now': 59, '1 min ago': 119, '2 min ago': 120, '119 min ago': 7_199 }],
  ['how many hours or days ago', ago, { '5 h ago': 18_000, '47 h ago': 172_799, '3 d ago': 300_000 }],
  ['a time that is none or to come', ago, { 'at an unknown time': Number.NaN, 'just now': -5 }],
] as const)('%s reads right', (_, format, figures) => {
  for (const [text, figure] of Object.entries(figures)) expect(format(figure)).toBe(text);
});

it('a duration never has 60 seconds, 60 minutes or 24 hours', () => {
  const usual = /^(\d\.\ds|[1-5]\ds|[1-5]?\dm [0-5]\ds|(1?\d|2[0-3])h [0-5]\dm|\d+d ([01]\d|2[0-3])h)$/;
  const seconds = fc.double({ min: 0, max: 10_000_000, noNaN: true });
  fc.assert(fc.property(seconds, (some) => usual.test(formatDuration(some))));
});

it.each([
  ['Ryan Moore', 'Ryan Moore'],
  ["Aidan O'Brien & Söhne (株)", "Aidan O'Brien & Söhne (株)"],
  ['a\nb\r\nc', 'a b c'],
  ['\u001b[2J\u001b]0;title\u0007gone', '[2J ]0;title gone'],
  ['\u009b31mred', '31mred'],
  ['line\u2028paragraph\u2029end', 'line paragraph end'],
  ['\u202eesroh\u202c', 'esroh'],
  ['  padded\t', 'padded'],
  ['', ''],
])('of %j is printable %j', (text, clean) => expect(printable(text)).toBe(clean));

it.each([
  ['', 10, ''],
  ['one two three', 20, 'one two three'],
  ['one two three', 7, 'one two\nthree'],
  ['  one two three', 8, '  one\n  two\n  three'],
  ['about 1m 06s at 2', 9, 'about\n1m 06s at\n2'],
  ['began 5 h ago', 8, 'began\n5 h ago'],
  ['see logs/a_report.json', 14, 'see logs/\na_report.json'],
  ['see logs/a_report.json', 9, 'see logs/\na_\nreport.json'],
  ['at http://h/a?from=2026-01-02&to=b', 18, 'at http://h/a?\nfrom=2026-01-02&\nto=b'],
  ['first\nsecond line', 8, 'first\nsecond\nline'],
])('%j in %i columns is %j', (text, columns, lines) => {
  expect(wrapped(text, columns)).toBe(lines);
});

it.each([
  [20, 'name  rides  wins\nEmma     87     9'],
  [16, 'name  rides\nEmma     87'],
  [5, 'name\nEmma'],
  [3, 'na…\nEm…'],
])('a table in %i columns leaves out what does not fit', (columns, table) => {
  const rows = [
    ['name', 'rides', 'wins'],
    ['Emma', '87', '9'],
  ];
  expect(formatTable(rows, columns)).toBe(table);
});

it.each([
  [29, 'name                    rides', 'Maximilian of Hohenlo…     87'],
  [21, 'name            rides', 'Maximilian of…     87'],
  [20, 'name', 'Maximilian of Hohen…'],
])('a table in %i columns cuts long names before it leaves out a figure', (columns, ...table) => {
  const rows = [
    ['name', 'rides'],
    ['Maximilian of Hohenlohe', '87'],
  ];
  expect(formatTable(rows, columns).split('\n')).toEqual(table);
});

it('a first sentence ends at a full stop before a space or a line, not in a number', () => {
  expect(['It is 1.5. So.', 'One\ntwo', ' none '].map(firstSentence)).toEqual(['It is 1.5', 'One', 'none']);
});
