import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { exitCodeMeanings, exitCodes } from '../src/errors.js';
import type { Tell } from '../src/events.js';
import type { Report } from '../src/files/report.js';
import { startPage } from '../src/show/page.js';
import { plot, type Sample, startSamples } from '../src/show/plot.js';
import { failures, pageOf, pageWith, reportWith, sweepSamples } from './sample-report.js';

/** What people read, a line for each table row. */
function text(page: string): string {
  return page
    .replace(/<style>.*<\/style>/s, '')
    .replace(/<\/(td|th)>/g, ' ')
    .replace(/<[^>]*>/g, '')
    .replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code))
    .replace(/\n+/g, '\n');
}

/** What stands in every element that the pattern opens. */
function contents(page: string, opening: string): string[] {
  return [...page.matchAll(new RegExp(`${opening}[^>]*>(.*?)</`, 'g'))].map(([, content = '']) => content);
}

describe('the page', () => {
  it('needs no network and no script, and forbids both', () => {
    const page = pageOf();
    expect(page).toMatch(/^<!doctype html>\n<html lang="en">/);
    expect(page).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`);
    expect(page).not.toMatch(/<(script|link|img|iframe|object|base|form)|https?:|url\(|@import|\son[a-z]+=/i);
  });

  it('closes every element that it opens, and has tables with captions and headers with a scope', () => {
    const open: string[] = [];
    for (const [, slash, name = '', rest] of pageOf().matchAll(/<(\/?)([a-z][a-z0-9]*)([^>]*)>/g)) {
      if (slash) expect(open.pop()).toBe(name);
      else if (name !== 'meta' && !rest?.endsWith('/')) open.push(name);
    }
    expect(open).toEqual([]);
    expect(pageOf().match(/<table>\n<caption>/g)).toHaveLength(5);
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
    ['\ntype total successful failed skipped duration rate \njockeys 3,483 3,483 0 0 1m 14s 47/s \n'],
    ['\ntrainers 2,781 2,781 0 12 1m 16s 37/s \nowners 48,165 48,070 30 0 1m 34s 512/s \n'],
    ['\nall 54,429 54,334 30 12 1m 35s 572/s \n'],
    ['\n10 Number 10 31 160 19.38% \ntrainers\n# name wins runs win rate \n1 Number 1 40 160 25.00% \n'],
    ['\n30 entities were selected and not written\ntype id name reason \nowners own_0 Owner 0 The Racing API did'],
    ['\nWritten 2026-11-23 05:01:47 UTC by populate-all-statistics'],
    ['\n1 failed: run again with --resume to try it again.\n', { failures: failures(1) }],
    ['\n1 entity was selected and not written\n', { failures: failures(1) }],
    ['\nlimit a type1,500\n', { options: { ...reportWith().options, limit: 1_500 } }],
    ['interrupted (SIGINT), state saved (exit code 130)\nStopped by: Interrupted.\nRun again.\n', stopped],
    ['\na dry run, nothing is written (exit code 0)\n', dryRun],
    ['\nmodedry run\nstrategynone\nAPI requests0\n', dryRun],
    ['\ndatabase refused or unreachable (exit code 6)\n', refused],
  ])('tells %j', (part, report) => expect(text(pageOf({ report }))).toContain(part));

  it('marks what failed, and only that', () => {
    expect(contents(pageOf(), '<td class="failed"')).toEqual(['30', '30']);
    expect(contents(pageOf(), '<td class="reason"')).toHaveLength(30);
  });

  it('has a sentence where there is nothing', () => {
    const page = pageOf({ report: { statistics: {}, failures: [] }, samples: [], leaders: {} });
    expect(contents(page, '<p class="nothing"')).toEqual([
      ...['The run ended before any entity was selected.', 'No progress was recorded.'],
      ...['No winner was written in this run.', 'No entity failed.'],
    ]);
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
      fc.property(fc.string({ unit: 'binary' }), (said) => {
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
  const none = { label: 'selecting', seconds: 0, done: 0, total: 0, requests: 0 };
  const tooMany = { label: 'sweeping', seconds: 19, done: 9, total: 4, requests: 0 };
  const sweep = sweepSamples();
  it.each([
    [sweep, 'selecting: 900 of 1,000, from 0.0s to 5.0s', [0, 0], [0.05, 0.9]],
    [sweep, 'sweeping: 139 of 140, from 5.0s to 1m 15s', [0.05, 0], [0.79, 0.99]],
    [sweep, 'writing owners: 1,000 of 1,000, from 1m 15s to 1m 35s', [0.79, 0], [1, 1]],
    [sweep, 'requests a second', [0, 0], [1, 0]],
    [sweep.slice(0, 81), 'sweeping: 70 of 140, from 5.0s to 1m 35s', [0.05, 0], [1, 0.5]],
    [[none, tooMany], 'selecting: 0 of 0, from 0.0s to 19s', [0, 1], [0.2, 1]],
    [[none, tooMany], 'sweeping: 9 of 4, from 19s to 1m 35s', [0.2, 1], [1, 1]],
  ])('has a line from start to end, where %#: %s', (samples, title, start, end) => {
    const points = linesOf(figureOf(samples)).find((line) => line.title === title)?.points;
    expect([points?.[0], points?.at(-1)]).toEqual([start, end]);
  });

  it('tells the phases in their order, with a colour each, in the legend too', () => {
    const figure = figureOf(sweep);
    const titles = linesOf(figure).map(({ title }) => title);
    expect(text(figure)).toContain(`\n${titles.slice(0, 3).join('; ')}. At most 2.00 requests a second.\n`);
    const legend = ['selecting 5.0s', 'sweeping 1m 10s', 'writing owners 20s', 'requests a second'];
    expect(text(figure)).toContain(`\n${legend.join('\n')}\n`);
    const tones = ['--phase-0', '--phase-1', '--phase-2', '--ink'];
    expect(figure.match(/--[\w-]+(?=\))/g)).toEqual([...tones, ...tones]);
  });

  it('has the mean rate around each moment, right up to both ends, also before the first sample', () => {
    const ratesOf = (samples: Sample[]) => linesOf(figureOf(samples)).at(-1)?.points ?? [];
    const rateAt = (at: number) => ratesOf(sweep).find(([share = 0]) => share >= at / 95)?.[1];
    expect([0, 1, 8, 40, 72, 79, 95].map(rateAt)).toEqual([0, 0, 1, 1, 1, 0, 0]);
    const even = sweep.map((one) => ({ ...one, requests: one.seconds * 2 }));
    for (const samples of [even, even.slice(60)])
      expect(new Set(ratesOf(samples).map(([, height]) => height))).toEqual(new Set([1]));
  });

  it.each([
    ['no samples', [], 95],
    ['two at one moment', [0, 7].map((n) => ({ ...none, seconds: 3, done: n, requests: n })), 95],
    ['a run of no duration', [none], 0],
    ['a run of a month', [none, { ...none, seconds: 2_600_000, requests: 5e9 }], 2_600_000],
  ])('has only numbers and few labels with %s', (_, samples, seconds) => {
    const figure = figureOf(samples, seconds);
    expect(figure).not.toMatch(/NaN|Infinity|undefined|null|\[object/);
    expect(contents(figure, '<text class="(?:time|value)"').length).toBeLessThan(20);
  });

  it.each([
    [0.45, 'mean over 5s', '0 0.1s 0.2s 0.3s 0.4s', 0, '0.0 0.5 1.0'],
    [60, 'mean over 5s', '0 10s 20s 30s 40s 50s 1m', 0.03, '0.00 0.01 0.02 0.03'],
    [95, 'mean over 5s', '0 30s 1m 1m 30s', 1.98, '0.0 0.5 1.0 1.5 2.0'],
    [27_500, 'mean over 9m 10s', '0 2h 4h 6h', 4.4, '0 2 4 6'],
    [9 * 86_400, 'mean over 4h 19m', '0 2d 4d 6d 8d', 650, '0 200 400 600 800'],
  ])('of %d seconds has round times and counts', (seconds, mean, times, rate, counts) => {
    const figure = figureOf([{ ...none, seconds, requests: rate * seconds }], seconds);
    expect(contents(figure, '<text class="time"').join(' ')).toBe(`${times} time since the start`);
    expect(contents(figure, '<text class="value"').join(' ')).toBe(`0% 25% 50% 75% 100% ${counts}`);
    expect(figure).toContain(`requests a second (${mean})`);
  });
});

describe('what a page hears', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
  afterEach(() => void vi.useRealTimers());

  /** Walks for so many seconds, a step and a request in each. */
  function walk(take: Tell, label: string, seconds: number): void {
    take({ kind: 'phase', label, done: 0, total: seconds });
    for (let done = 1; done <= seconds; done += 1) {
      vi.advanceTimersByTime(1_000);
      take({ kind: 'request' });
      take({ kind: 'step', label, done, total: seconds });
    }
  }

  it('are the moments of a run, with its requests', () => {
    const { take, samples } = startSamples();
    walk(take, 'walking jockeys', 3);
    vi.advanceTimersByTime(100);
    take({ kind: 'phase', label: 'sweeping', done: 0, total: 9 });
    take({ kind: 'step', label: 'sweeping', done: 3, total: 9 });
    take({ kind: 'step', label: 'sweeping', done: 4, total: 4 });
    expect(samples.map((one) => [one.seconds, one.label, one.done, one.total, one.requests])).toEqual([
      ...[0, 1, 2, 3].map((second) => [second, 'walking jockeys', second, 3, second]),
      ...[0, 4].map((done) => [3.1, 'sweeping', done, done === 0 ? 9 : 4, 3]),
    ]);
  });

  it('are not too many in 8 hours, with each phase’s start and end', () => {
    const { take, samples } = startSamples();
    for (const label of ['long', 'brief', 'longer']) walk(take, label, label === 'brief' ? 1 : 14_400);
    expect(samples.length).toBeGreaterThan(1_000);
    expect(samples.length).toBeLessThan(2_500);
    const [long, brief] = linesOf(figureOf(samples));
    expect(long?.title).toBe('long: 14,400 of 14,400, from 0.0s to 4h 00m');
    expect(brief?.title).toBe('brief: 1 of 1, from 4h 00m to 4h 00m');
  });

  it.each(entityTypes)('are the ten $name with most wins, then with fewer runs, who win at all', (type) => {
    const page = startPage();
    for (const one of entityTypes) page.take({ kind: 'batch', type: one, written: [], failures: [] });
    const others = Array.from({ length: 8 }, (_, index) => `e${index} 1 ${20 + index}`);
    for (const one of ['c 5 9', 'none 0 9', 'b 7 9', 'd 5 9', 'a 7 8', ...others]) {
      const [id = '', wins, runs] = one.split(' ');
      const figures = { recent_30d_wins: Number(wins), [`recent_30d_${type.words.runs}`]: Number(runs) };
      const entity = { id, name: `Name ${id}`, lastDate: null, recentRuns: 0, statsUpdatedAtMs: null };
      const written = [{ entity, row: { id, ...figures, recent_30d_win_rate: 12.5 } }];
      page.take({ kind: 'batch', type, written, failures: [] });
    }
    const markup = page.ended(reportWith());
    const order = ['a 7 8', 'b 7 9', 'c 5 9', 'd 5 9', ...others.slice(0, 6)];
    const shown = order.map((figures, index) => `${index + 1} Name ${figures} 12.50% `);
    const heading = ['Most successful in the last 30 days', type.name, `# name wins ${type.words.runs} win rate `];
    expect(text(markup)).toContain(['', ...heading, ...shown, 'Failures', ''].join('\n'));
    expect(markup).toContain('title="a"');
  });
});
