import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatCount, formatDuration, formatEntities, formatRate, printable } from '../src/format.js';

it.each([
  [0, '0'],
  [999, '999'],
  [1000, '1,000'],
  [54_429, '54,429'],
])('%i reads %s', (count, text) => expect(formatCount(count)).toBe(text));

it.each([
  [0, '0 entities'],
  [1, '1 entity'],
  [54_429, '54,429 entities'],
])('%i of them are %s', (count, text) => expect(formatEntities(count)).toBe(text));

it.each([
  [0.136, '0.14/s'],
  [2, '2.00/s'],
  [10.4, '10/s'],
  [1_234.5, '1,235/s'],
  [Number.NaN, '–'],
  [Number.POSITIVE_INFINITY, '–'],
])('a rate of %d reads %s', (rate, text) => expect(formatRate(rate)).toBe(text));

describe('a duration', () => {
  it.each([
    [0, '0.0s'],
    [0.44, '0.4s'],
    [9.94, '9.9s'],
    [9.95, '10s'],
    [42.4, '42s'],
    [59.4, '59s'],
    [59.6, '1m 00s'],
    [68, '1m 08s'],
    [3599.4, '59m 59s'],
    [3599.6, '1h 00m'],
    [3720, '1h 02m'],
    [27_214.5, '7h 33m'],
    [86_399.9, '1d 00h'],
    [4.5 * 86_400, '4d 12h'],
  ])('of %d seconds reads %s', (seconds, text) => expect(formatDuration(seconds)).toBe(text));

  it('never has 60 seconds, 60 minutes or 24 hours', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 10_000_000, noNaN: true }), (seconds) => {
        expect(formatDuration(seconds)).toMatch(
          /^(\d\.\ds|[1-5]\ds|[1-5]?\dm [0-5]\ds|(1?\d|2[0-3])h [0-5]\dm|\d+d ([01]\d|2[0-3])h)$/,
        );
      }),
    );
  });
});

describe('what is printable', () => {
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
  ])('of %j is %j', (text, clean) => expect(printable(text)).toBe(clean));

  it('is one line without control characters and without those that turn the direction of the text', () => {
    const units = fc.oneof(
      fc.integer({ min: 0, max: 0xa0 }),
      fc.constantFrom(0x61c, 0x85, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202e, 0x2066, 0x2069),
    );
    fc.assert(
      fc.property(fc.array(units), (codes) => {
        expect(printable(String.fromCharCode(...codes))).not.toMatch(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u);
      }),
    );
  });
});
