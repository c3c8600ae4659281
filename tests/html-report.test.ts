import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { exitCodeMeanings, exitCodes } from '../src/errors.js';
import type { Tell } from '../src/events.js';
import type { Report, TypeStatistics } from '../src/files/report.js';
import type { PastRun } from '../src/files/saved-reports.js';
import { runPage, startPage, startPeople } from '../src/show/page.js';
import { plot, type Sample, startSamples } from '../src/show/page-look.js';
import { jockeys } from './faults.js';
import {
  batchOf,
  failures,
  type Person,
  pageOf,
  pageWith,
  reportWith,
  runsBefore,
  sweepSamples,
} from './sample-report.js';

/** What people read, a line for each table row. */
function text(page: string): string {
  return page
    .replace(/<(style|script)>.*?<\/\1>/gs, '')
    .replace(/<\/(td|th)>/g, ' ')
    .replace(/<[^>]*>/g, '')
    .replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code))
    .replace(/\n+/g, '\n');
}

/** What stands in every element that the pattern opens. */
function contents(page: string, opening: string): string[] {
  return [...page.matchAll(new RegExp(`${opening}[^>]*>(.*?)</`, 'g'))].map(([, content = '']) => content);
}

/** The headings of a page's sections. */
const sectionsOf = (page: string) => contents(page, '<h2');

describe('the page', () => {
  it('needs no network, and forbids it and every script but its own', () => {
    const page = pageOf();
    expect(page).toMatch(/^<!doctype html>\n<html lang="en">/);
    const [, script = '', ...more] = page.split(/<\/?script>/);
    const hash = createHash('sha256').update(script).digest('base64');
    expect(page).toContain(`content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}'"`);
    expect(more).toHaveLength(1);
    expect(page.match(/<script/gi)).toHaveLength(1);
    expect(page).not.toMatch(/<(link|img|iframe|object|base|form)|https?:|url\(|@import|\son[a-z]+=/i);
  });

  it('closes every element that it opens, and has tables with captions and headers with a scope', () => {
    const open: string[] = [];
    for (const [, slash, name = '', rest] of pageOf().matchAll(/<(\/?)([a-z][a-z0-9]*)([^>]*)>/g)) {
      if (slash) expect(open.pop()).toBe(name);
      else if (name !== 'meta' && !rest?.endsWith('/')) open.push(name);
    }
    expect(open).toEqual([]);
    expect(pageOf().match(/<table>\n<caption>/g)).toHaveLength(10);
    expect(pageOf()).not.toMatch(/<th(?!ead| scope=")/);
  });

  it.each(Object.values(exitCodes))('has words and a colour for exit code %i', (exit_code) => {
    const stopped_by = exit_code > 3 ? 'Something.' : null;
    const page = pageOf({ report: { exit_code, stopped_by } });
    const [tone] = /(?<=class="outcome" style="--tone: var\()--\w+/.exec(page) ?? [];
    expect(tone).toBe(exit_code === 0 ? '--good' : stopped_by ? '--bad' : '--fair');
    expect(page).toContain(`${tone}: `);
    expect(text(page)).toContain(`\n${exitCodeMeanings[exit_code]} (exit code ${exit_code})\n`);
  });

  const stopped = { exit_code: exitCodes.interrupted, stopped_by: 'Interrupted.\nRun again.' };
  const dryRun = { mode: 'dry_run' as const, strategy: null, requests: 0, exit_code: exitCodes.allWritten };
  const refused = { ...dryRun, exit_code: exitCodes.databaseFailed };
  it.each<[string, Partial<Report>?]>([
    ['Statistics run of 2026-11-23 05:00:12 UTC: finished, some entities failed\n'],
    ['\nfinished, some entities failed (exit code 3)\n30 failed: run again with --resume to try them again.\n'],
    ['\nduration1m 35s\nmodeproduction\nstrategysweep\nAPI requests135\nentities written54,334 of 54,429\n'],
    ['\npage before2026-11-22 05:01:47 UTC\n'],
    ['\ntype total written failed left out \njockeys 3,483 3,483 0 0 \ntrainers 2,781 2,781 0 12 \n'],
    ['\nowners 48,165 48,070 30 0 \nall 54,429 54,334 30 12 \n'],
    ['\nWritten all the same, for --force: 30 races are gone.\n', { forced: ['30 races are gone'] }],
    [
      '\nMost wins in the last 30 days\nOf the 54,334 entities that this run wrote.\njockeys\nname wins rides win rate \n',
    ],
    ['\nNumber 10 31 160 19.38% \ntrainers\nname wins runs win rate \nNumber 1 40 160 25.00% \n'],
    ['\nSince the run before\n1,234 of 54,334 rows have other last dates, or other runs or wins in 30 days, than'],
    ['\nmore wins in 30 days: the first of 15\nname type before now \nNumber 1 jockeys 35 40 \n'],
    ['\nfirst win in a year\nname type date \nNumber 2 jockeys 2026-11-22 \n'],
    ['\nwon again after 100 days or more\nname type days \nNumber 3 jockeys 205 \n'],
    [
      '\nended duration requests written failed changed exit code \n2026-11-23 05:01:47 UTC 1m 35s 135 54,334 30 1,234 3 \n',
    ],
    ['\n2026-11-22 05:01:47 UTC 1m 35s 135 54,334 30 99 3 \n2026-11-21 05:01:47 UTC 1m 35s'],
    ['\n30 entities were selected and not written\ntype id name reason \nowners own_0 Owner 0 The Racing API did'],
    ['\nStarted 2026-11-23 05:00:12 UTC, written 2026-11-23 05:01:47 UTC by populate-all-statistics'],
    ['\n1 failed: run again with --resume to try it again.\n', { failures: failures(1) }],
    ['\n1 entity was selected and not written\n', { failures: failures(1) }],
    ['\nlimit a type1,500\n', { options: { ...reportWith().options, limit: 1_500 } }],
    ['interrupted (SIGINT), state saved (exit code 130)\nInterrupted.\nRun again.\n', stopped],
    ['\na dry run, nothing is written (exit code 0)\n', dryRun],
    ['\nmodedry run\nstrategynone\nAPI requests0\n', dryRun],
    ['\ndatabase refused or unreachable (exit code 6)\n', refused],
  ])('tells %j', (part, report) => expect(text(pageOf({ report }))).toContain(part));

  it('has no column of those left out where there are none, and no list of nobody', () => {
    const { jockeys } = reportWith().statistics;
    expect(text(pageOf({ report: { statistics: { jockeys } as Report['statistics'] } }))).toContain(
      '\ntype total written failed \njockeys 3,483 3,483 0 \nall 54,429 54,334 30 \n',
    );
    const before = { wins: 0, lastWin: null };
    expect(pageOf({ people: [{ id: 'id_1', name: 'One', wins: 0, before }] })).not.toContain('<div class="lists">');
  });

  it('does not praise what was written for --force', () => {
    expect(pageOf({ report: { exit_code: 0, forced: ['30 races are gone'] } })).toContain('var(--fair)');
  });

  it('marks what failed, and only that', () => {
    expect(contents(pageOf(), '<td class="failed"')).toEqual(Array(2 + 15).fill('30'));
    expect(contents(pageOf(), '<td class="reason"')).toHaveLength(30);
  });

  it('has no section without content: not even of failures after an error', () => {
    const report = { statistics: {}, failures: [], exit_code: exitCodes.databaseFailed, stopped_by: 'Refused.' };
    const page = pageOf({ report, samples: [], people: [], before: [] });
    expect(sectionsOf(page)).toEqual([]);
    expect(text(page)).not.toContain('page before');
    const statistics = { jockeys: { ...reportWith().statistics.jockeys, total: 0, successful: 0 } as TypeStatistics };
    const overall = { ...reportWith().overall, total_entities: 0, total_successful: 0, total_failed: 0 };
    const idle: Partial<Report> = { strategy: 'refresh', exit_code: 0, failures: [], statistics, overall };
    const refreshed = pageOf({ report: idle, samples: [], people: [], before: [] });
    expect(sectionsOf(refreshed)).toEqual([]);
    expect(text(refreshed)).toContain('Refresh of 2026-11-23 05:00:12 UTC\nthere was nothing to write (exit code 0)\n');
    expect(text(refreshed)).not.toContain('entities written');
    const all = ['Outcome', 'Failures', 'Since the run before', 'Most wins in the last 30 days', 'Progress'];
    expect(sectionsOf(pageOf())).toEqual([...all, 'This run and those before']);
  });

  it('links to the pages of runs before, and only to those that there are', () => {
    const [first, second, ...others] = runsBefore;
    const links = (before: PastRun[]) => [...pageOf({ before }).matchAll(/<a href="(.*?)">/g)].map(([, href]) => href);
    expect(links([...runsBefore])).toEqual([first?.page, first?.page, second?.page]);
    expect(links([...others.slice(0, 1), ...(second ? [second] : [])])).toEqual([second?.page, second?.page]);
    expect(links(others)).toEqual([]);
  });

  it('tells what it knows of a run of the original program', () => {
    const [{ timestamp, mode, statistics, path, page } = expect.fail()] = runsBefore;
    const markup = pageOf({ before: [{ timestamp, mode, statistics, path, page }] });
    expect(text(markup)).toContain('2026-11-22 05:01:47 UTC – – 54,334 30 – – \n');
  });

  it('tells two of a name and type apart, everywhere', () => {
    const before = { wins: 1, lastWin: '2026-11-01' };
    const people = ['a', 'b'].map((id) => ({ id, name: 'Ann', wins: id === 'a' ? 2 : 0, before }));
    const read = text(pageOf({ people: [...people, { id: 'c', name: 'Bob', wins: 5 }] }));
    expect(read).toContain('\nname wins rides win rate \nBob 5 160 3.13% \nAnn a 2 160 1.25% \n');
    expect(read).toContain('\nAnn b jockeys 1 0 \nAnn b trainers 1 0 \nAnn b owners 1 0 \n');
  });
});

describe('news', () => {
  const told = (people: Person[]) => {
    const { add, people: all } = startPeople();
    for (const one of people) add(jockeys, batchOf(jockeys, [one]).written);
    return [...all.lists].flatMap(([{ title }, { first }]) => first.map(({ id }) => `${title} ${id}`));
  };
  const win = '2026-11-22';

  it.each<[string, Omit<Person, 'id' | 'name'>, string[]]>([
    ['one more win', { wins: 2, lastWin: win, before: { wins: 1, lastWin: '2026-11-01' } }, ['more wins in 30 days']],
    [
      'one less win',
      { wins: 0, lastWin: '2026-10-01', before: { wins: 1, lastWin: '2026-10-01' } },
      ['fewer wins in 30 days'],
    ],
    ['as many wins', { wins: 1, lastWin: win, before: { wins: 1, lastWin: '2026-10-24' } }, []],
    [
      'none before',
      { wins: 1, lastWin: win, before: { wins: 0, lastWin: null } },
      ['more wins in 30 days', 'first win in a year'],
    ],
    ['99 days', { wins: 1, lastWin: win, before: { wins: 1, lastWin: '2026-08-15' } }, []],
    [
      '100 days',
      { wins: 1, lastWin: win, before: { wins: 1, lastWin: '2026-08-14' } },
      ['won again after 100 days or more'],
    ],
    ['a win taken away', { wins: 1, lastWin: '2026-08-14', before: { wins: 1, lastWin: win } }, []],
    ['the only win taken away', { wins: 1, lastWin: null, before: { wins: 1, lastWin: win } }, []],
    ['a stored win without a date', { wins: 0, before: { wins: 1, lastWin: null } }, ['fewer wins in 30 days']],
    ['no statistics before', { wins: 1, lastWin: win }, []],
  ])('of one with %s', (_, figures, titles) => {
    const news = told([{ id: 'jky_1', name: 'Ann', ...figures }]).filter((line) => !line.startsWith('jockeys'));
    expect(news).toEqual(titles.map((title) => `${title} jky_1`));
  });

  it('of an equal change are told of those with more wins first', () => {
    const people = [6, 10].map((wins) => ({
      id: wins === 6 ? 'jky_a' : 'jky_b',
      name: 'Ann',
      wins,
      before: { wins: wins - 1, lastWin: null },
    }));
    expect(told(people).filter((line) => line.startsWith('more'))).toEqual(
      ['jky_b', 'jky_a'].map((id) => `more wins in 30 days ${id}`),
    );
  });

  it('tell a jockey and a trainer of one name apart by their type, without ids', () => {
    const { add, people } = startPeople();
    for (const [at, type] of entityTypes.entries())
      add(type, batchOf(type, [{ id: `id${at}`, name: 'Ann', wins: 1 }]).written);
    expect(runPage(reportWith(), [], people, [])).not.toContain('class="id"');
  });

  it('are told of those with the greatest change, over all batches', () => {
    const people = Array.from({ length: 30 }, (_, index) => {
      const before = { wins: 40 - ((index * 7) % 30), lastWin: win };
      return { id: `jky_${index}`, name: 'Ann', wins: 40, lastWin: win, before };
    });
    const rising = told(people).filter((line) => line.startsWith('more'));
    const byGain = people.toSorted((a, b) => a.before.wins - b.before.wins);
    expect(rising).toEqual(byGain.slice(0, 10).map(({ id }) => `more wins in 30 days ${id}`));
  });
});

describe('texts from outside', () => {
  const marks = (page: string) => ['<', '>', '"', "'"].map((mark) => page.split(mark).length);
  const hostile = [
    ...['<script>alert(1)</script>', '</style></title></svg><img src=x onerror=alert(1)>', '-->]]><!--'],
    ...['" onmouseover="alert(1)', "' style='display:none", '&lt;b&gt; & &amp;', '$& $1 $$', 'Þórr 北京 🏇 e\u0301'],
  ];

  it('are shown as they are and never become markup, whatever they are', () => {
    const plain = pageWith('plain');
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), (said) => {
        expect(marks(pageWith(said))).toEqual(marks(plain));
      }),
      { examples: hostile.map((said) => [said]) },
    );
    for (const said of hostile)
      expect(text(pageWith(said)).split(said)).toHaveLength(text(plain).split('plain').length);
  });

  it('lose control characters and those that turn the direction', () => {
    const page = pageWith('a\u0000b\u001b[2Jc\u007f\u0085d\u202ee\u2066f');
    expect(text(page)).toContain('a b [2Jc  d e f');
    expect(page).not.toMatch(/(?!\n)[\p{Cc}\u202e\u2066]/u);
  });
});

const figureOf = (samples: readonly Sample[], seconds = 95) => plot(samples, seconds).markup;

/** Each line of the figure: its title, and its points as rounded shares of the run and of the panel's height. */
function linesOf(figure: string) {
  const panels = [...figure.matchAll(/viewBox="0 0 1000 (\d+)"(.*?)<\/svg>/gs)];
  return panels.flatMap(([, height, lines = '']) =>
    [...lines.matchAll(/<title>(.*?)<\/title>.*?class="line" d="M(.*?)"/gs)].map(([, title, path = '']) => {
      const places = path.split('L').map((point) => point.split(' ').map(Number));
      const shares = places.map(([x = 0, y = 0]) => [x / 1000, 1 - y / Number(height)]);
      return { title, points: shares.map((point) => point.map((share) => Number(share.toFixed(2)))) };
    }),
  );
}

describe('the plot', () => {
  const none = { label: 'selecting', seconds: 0, done: 0, total: 0 };
  const tooMany = { label: 'sweeping', seconds: 19, done: 9, total: 4 };
  const sweep = sweepSamples();
  it.each([
    [sweep, 'selecting: 900 of 1,000, from 0.0s to 5.0s', [0, 0], [0.05, 0.9]],
    [sweep, 'sweeping: 139 of 140, from 5.0s to 1m 15s', [0.05, 0], [0.79, 0.99]],
    [sweep, 'writing owners: 1,000 of 1,000, from 1m 15s to 1m 35s', [0.79, 0], [1, 1]],
    [sweep.slice(0, 81), 'sweeping: 70 of 140, from 5.0s to 1m 35s', [0.05, 0], [1, 0.5]],
    [[none, tooMany], 'selecting: 0 of 0, from 0.0s to 19s', [0, 1], [0.2, 1]],
    [[none, { ...none, seconds: 9, done: 5, total: 10 }], 'selecting: 5 of 10, from 0.0s to 1m 35s', [0, 0], [1, 0.5]],
    [[none, tooMany], 'sweeping: 9 of 4, from 19s to 1m 35s', [0.2, 1], [1, 1]],
  ])('has a line from start to end, where %#: %s', (samples, title, start, end) => {
    const points = linesOf(figureOf(samples)).find((line) => line.title === title)?.points;
    expect([points?.[0], points?.at(-1)]).toEqual([start, end]);
  });

  it('tells the phases in their order, with a colour each, in the legend too', () => {
    const figure = figureOf(sweep);
    const titles = linesOf(figure).map(({ title }) => title);
    expect(text(figure)).toContain(`\n${titles.join('; ')}.\n`);
    const legend = ['selecting 5.0s', 'sweeping 1m 10s', 'writing owners 20s'];
    expect(text(figure)).toContain(`\n${legend.join('\n')}\n`);
    const tones = ['--phase-0', '--phase-1', '--phase-2'];
    expect(figure.match(/--[\w-]+(?=\))/g)).toEqual([...tones, ...tones]);
  });

  it('has no line of a phase that gives way at once', () => {
    const figure = figureOf([none, ...sweep.map((one) => ({ ...one, seconds: one.seconds + 0.4, label: 'sweeping' }))]);
    expect(linesOf(figure).map(({ title }) => title)).toEqual(['sweeping: 1,000 of 1,000, from 0.4s to 1m 35s']);
    expect(text(figure)).not.toContain('selecting');
  });

  it.each([
    ['no samples', [], 95],
    ['two at one moment', [0, 7].map((n) => ({ ...none, seconds: 3, done: n })), 95],
    ['a run of no duration', [none], 0],
    ['a run of a month', [none, { ...none, seconds: 2_600_000 }], 2_600_000],
  ])('has only numbers and few labels with %s', (_, samples, seconds) => {
    const figure = figureOf(samples, seconds);
    expect(figure).not.toMatch(/NaN|Infinity|undefined|null|\[object/);
    expect(contents(figure, '<text class="(?:time|value)"').length).toBeLessThan(20);
  });

  it.each([
    [0.45, '0 0.1s 0.2s 0.3s 0.4s'],
    [60, '0 10s 20s 30s 40s 50s 1m'],
    [95, '0 30s 1m 1m 30s'],
    [27_500, '0 2h 4h 6h'],
    [9 * 86_400, '0 2d 4d 6d 8d'],
  ])('of %d seconds has round times', (seconds, times) => {
    const figure = figureOf([{ ...none, seconds }], seconds);
    expect(contents(figure, '<text class="time"').join(' ')).toBe(`${times} time since the start`);
    expect(contents(figure, '<text class="value"').join(' ')).toBe('0% 25% 50% 75% 100%');
  });
});

describe('what a page hears', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
  afterEach(() => void vi.useRealTimers());

  /** Walks for so many seconds, a step in each. */
  function walk(take: Tell, label: string, seconds: number): void {
    take({ kind: 'phase', label, done: 0, total: seconds });
    for (let done = 1; done <= seconds; done += 1) {
      vi.advanceTimersByTime(1_000);
      take({ kind: 'step', label, done, total: seconds });
    }
  }

  it('are the moments of a run', () => {
    const { take, samples } = startSamples();
    walk(take, 'walking jockeys', 3);
    vi.advanceTimersByTime(100);
    take({ kind: 'phase', label: 'sweeping', done: 0, total: 9 });
    take({ kind: 'step', label: 'sweeping', done: 3, total: 9 });
    take({ kind: 'step', label: 'sweeping', done: 4, total: 4 });
    expect(samples.map((one) => [one.seconds, one.label, one.done, one.total])).toEqual([
      ...[0, 1, 2, 3].map((second) => [second, 'walking jockeys', second, 3]),
      ...[0, 4].map((done) => [3.1, 'sweeping', done, done === 0 ? 9 : 4]),
    ]);
  });

  it('are not too many in 8 hours, with each phase’s start and end', () => {
    const { take, samples } = startSamples();
    for (const label of ['long', 'brief', 'longer']) walk(take, label, label === 'brief' ? 600 : 14_400);
    expect(samples.length).toBeGreaterThan(1_000);
    expect(samples.length).toBeLessThan(2_500);
    const [long, brief] = linesOf(figureOf(samples));
    expect(long?.title).toBe('long: 14,400 of 14,400, from 0.0s to 4h 00m');
    expect(brief?.title).toBe('brief: 600 of 600, from 4h 00m to 4h 10m');
  });

  it.each(entityTypes)('are the ten $name with most wins, then with fewer runs, who win at all', (type) => {
    const page = startPage();
    for (const one of entityTypes) page.take({ kind: 'batch', type: one, written: [], failures: [] });
    const others = Array.from({ length: 8 }, (_, index) => `e${index} 1 ${20 + index}`);
    for (const one of ['c 5 9', 'none 0 9', 'b 7 9', 'd 5 9', 'a 7 8', ...others]) {
      const [id = '', wins, runs] = one.split(' ');
      const batch = batchOf(type, [{ id, name: `Name ${id}`, wins: Number(wins) }]);
      for (const { row } of batch.written)
        Object.assign(row, { [`recent_30d_${type.words.runs}`]: Number(runs), recent_30d_win_rate: 12.5 });
      page.take(batch);
    }
    const markup = page.ended(reportWith(), []);
    const order = ['a 7 8', 'b 7 9', 'c 5 9', 'd 5 9', ...others.slice(0, 6)];
    const shown = order.map((figures) => `Name ${figures} 12.50% `);
    const heading = [`${type.name}: the first of 12`, `name wins ${type.words.runs} win rate `];
    expect(text(markup)).toContain(['', ...heading, ...shown, ''].join('\n'));
    expect(markup).toContain('title="a"');
    expect(sectionsOf(markup)).not.toContain('Since the run before');
  });
});
