import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { exitCodes } from '../src/errors.js';
import type { RunEvent, Written } from '../src/events.js';
import { startPage } from '../src/show/page.js';
import { plot, type Sample, startSamples } from '../src/show/plot.js';
import { failures, pageOf, pageWith, reportWith, sweepSamples } from './html-report-input.js';

/** The page's tags in their order, without attributes. */
function tags(page: string): string[] {
  return page.match(/<\/?[a-z!][a-z0-9]*/gi) ?? [];
}

/** What people read, a line for each table row. */
function text(page: string): string {
  return page
    .replace(/<style>.*<\/style>/s, '')
    .replace(/<\/(td|th)>/g, ' ')
    .replace(/<[^>]*>/g, '')
    .replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code));
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

  it('closes every element that it opens', () => {
    const open: string[] = [];
    for (const [, slash, name = '', rest] of pageOf().matchAll(/<(\/?)([a-z][a-z0-9]*)([^>]*)>/g)) {
      if (slash) expect(open.pop()).toBe(name);
      else if (name !== 'meta' && !rest?.endsWith('/')) open.push(name);
    }
    expect(open).toEqual([]);
  });

  it('has words for every exit code', () => {
    const meanings = Object.values(exitCodes).flatMap((exit_code) =>
      contents(pageOf({ report: { exit_code } }), '<strong'),
    );
    expect(new Set(meanings).size).toBe(Object.keys(exitCodes).length);
    expect(meanings).not.toContain('undefined');
  });

  const dryRun = { mode: 'dry_run', strategy: null, requests: 0, exit_code: 0, failures: [] } as const;
  const limited = { skip_existing: false, stale_after: null, resume: false, limit: 1_500 };
  it.each<[string, Partial<ReturnType<typeof reportWith>>, string[]]>([
    [
      'when, how long, how and with what outcome',
      {},
      [
        'Statistics run of 2026-11-23 05:00:12 UTC: finished, some entities failed\n',
        ...['duration1m 35s', 'modeproduction', 'strategysweep', 'API requests135'],
        'entities written54,334 of 54,429',
        'finished, some entities failed (exit code 3)',
        '30 failed: run again with --resume to try them again.',
        'Written 2026-11-23 05:01:47 UTC',
      ],
    ],
    [
      'what stopped the run, line by line',
      { exit_code: 130, stopped_by: 'Interrupted.\nRun again with --resume.' },
      [
        'interrupted (SIGINT), state saved (exit code 130)\nStopped by: Interrupted.\nRun again with --resume.',
      ],
    ],
    ['that one failed', { failures: failures(1) }, ['1 failed: run again with --resume to try it again.']],
    ['the limit', { options: limited }, ['limit a type1,500']],
    [
      'that a dry run wrote nothing',
      dryRun,
      ['a dry run, nothing is written (exit code 0)', 'modedry run', 'strategynone', 'API requests0'],
    ],
    ['that a dry run was refused', { ...dryRun, exit_code: 6 }, ['database refused or unreachable (exit']],
  ])('tells %s', (_, report, expected) => {
    for (const part of expected) expect(text(pageOf({ report }))).toContain(part);
  });

  it.each([
    [0, null, 'good'],
    [3, null, 'fair'],
    [130, 'Interrupted.', 'bad'],
  ] as const)('with exit code %i, stopped by %s, looks %s', (exit_code, stopped_by, tone) => {
    const page = pageOf({ report: { exit_code, stopped_by } });
    expect(page).toContain(`<div class="outcome" style="--tone: var(--${tone})">`);
    expect(page).toContain(`--${tone}: `);
  });
});

describe('the tables', () => {
  it('have captions, and headers with a scope', () => {
    expect(pageOf().match(/<table>\n<caption>/g)).toHaveLength(5);
    expect(pageOf()).not.toMatch(/<th(?!ead| scope=")/);
  });

  it.each([
    'type total successful failed skipped duration rate',
    'jockeys 3,483 3,483 0 0 1m 14s 47/s',
    'trainers 2,781 2,781 0 12 1m 16s 37/s',
    'owners 48,165 48,070 30 0 1m 34s 512/s',
    'all 54,429 54,334 30 12 1m 35s 572/s',
    '# name wins rides win rate \n1 Number 1 40 160 25.00%',
    "9 Billy O'Loughnane 32 160 20.00%",
    'type id name reason \nowners own_0 Owner 0 The Racing API did not answer',
  ])('have the row %s', (row) => {
    expect(text(pageOf()).replaceAll(/\n+/g, '\n')).toContain(`\n${row}`);
  });

  it('mark what failed, and only that', () => {
    expect(contents(pageOf(), '<td class="failed"')).toEqual(['30', '30']);
  });

  it('count a jockey’s rides and the others’ runs, of the types that have leaders', () => {
    const headers = (page: string) => text(page).match(/# name wins \w+ win rate/g);
    const runs = '# name wins runs win rate';
    expect(headers(pageOf())).toEqual(['# name wins rides win rate', runs, runs]);
    const owners = [{ id: 'own_1', name: 'Sole', wins: 1_234, runs: 2_345, winRate: 52.6 }];
    const page = pageOf({ leaders: { jockeys: [], owners } });
    expect(headers(page)).toEqual([runs]);
    expect(text(page)).toContain('1 Sole 1,234 2,345 52.60%');
    expect(page).toContain('title="own_1"');
  });

  it('list every failure, 10,000 of them too', () => {
    const page = text(pageOf({ report: { failures: failures(10_000) } }));
    expect(page).toContain('10,000 entities were selected and not written');
    expect(page.match(/^owners own_\d+ Owner \d+ The Racing API did not answer/gm)).toHaveLength(10_000);
    expect(text(pageOf({ report: { failures: failures(1) } }))).toContain('1 entity was selected');
  });

  it('give way to a sentence where there is nothing', () => {
    const page = pageOf({ report: { statistics: {}, failures: [] }, samples: [], leaders: {} });
    expect(contents(page, '<p class="nothing"')).toEqual([
      'The run ended before any entity was selected.',
      'No progress was recorded.',
      'No winner was written in this run.',
      'No entity failed.',
    ]);
  });
});

describe('texts from outside', () => {
  it.each([
    '<script>alert(1)</script>',
    '</style></title></svg><img src=x onerror=alert(1)>',
    '" onmouseover="alert(1)',
    "' style='display:none",
    '&lt;b&gt; & &amp;',
    '-->]]><!--',
    'Łukasz Þórr 北京 🏇 e\u0301',
    '$& $1 $$',
  ])('are shown as they are: %s', (hostile) => {
    const page = pageWith(hostile);
    expect(page.split("'").length).toBe(pageWith('plain').split("'").length);
    expect(text(page).split(hostile).length).toBe(text(pageWith('plain')).split('plain').length);
  });

  it('lose control characters and those that turn the direction', () => {
    const page = pageWith('a\u0000b\u001b[2Jc\u007f\u0085d\u202ee\u2066f');
    expect(text(page)).toContain('a b [2Jc  d e f');
    expect(page).not.toMatch(/(?!\n)[\p{Cc}\u202e\u2066]/u);
  });

  it('never become markup, whatever they are', () => {
    const plain = pageWith('plain');
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (hostile) => {
        const page = pageWith(hostile);
        expect(tags(page)).toEqual(tags(plain));
        expect(page.split('"').length).toBe(plain.split('"').length);
      }),
      { examples: [['<script>'], ['"'], ['</title></svg>']] },
    );
  });
});

/** The figure's lines by their titles, as shares of the run and of the panel's height. */
function linesOf(figure: string): Map<string, [number, number][]> {
  const panels = figure.split('<svg width="100%"').slice(1);
  const lines = panels.flatMap((panel) => {
    const [, height] = /viewBox="0 0 1000 (\d+)"/.exec(panel) ?? [];
    return [...panel.matchAll(/<title>(.*?)<\/title>.*?class="line" d="M(.*?)"/gs)].map(
      ([, title = '', path = '']) => {
        const points = path.split('L').map((point): [number, number] => {
          const [x = 0, y = 0] = point.split(' ').map(Number);
          return [x / 1000, Number((1 - y / Number(height)).toFixed(2))];
        });
        return [title, points] as const;
      },
    );
  });
  return new Map(lines);
}

function figureOf(samples: readonly Sample[], durationSeconds = 95): string {
  return plot(samples, durationSeconds).markup;
}

describe('the plot', () => {
  it('has a line, a colour and a title for each phase, in their order, and one for the requests', () => {
    const figure = figureOf(sweepSamples());
    const titles = [
      'selecting: 900 of 1,000, from 0.0s to 5.0s',
      'sweeping: 139 of 140, from 5.0s to 1m 15s',
      'writing owners: 1,000 of 1,000, from 1m 15s to 1m 35s',
    ];
    expect([...linesOf(figure).keys()]).toEqual([...titles, 'requests a second']);
    expect(text(figure)).toContain(`${titles.join('; ')}. At most 2.00 requests a second.`);
    expect(text(figure)).toMatch(
      /selecting 5\.0s\s*sweeping 1m 10s\s*writing owners 20s\s*requests a second/,
    );
    const tones = ['--phase-0', '--phase-1', '--phase-2', '--ink'];
    expect(figure.match(/--[\w-]+(?=\))/g)).toEqual([...tones, ...tones]);
  });

  it('follows each phase from nothing to what it reached, one after the other', () => {
    const [selecting, sweeping, writing, rates] = [...linesOf(figureOf(sweepSamples())).values()];
    const ends = [selecting, sweeping, writing].map((line) => [line?.[0]?.[1], line?.at(-1)?.[1]]);
    expect(ends).toEqual([0.9, 0.99, 1].map((reached) => [0, reached]));
    expect(selecting?.at(-1)?.[0]).toBe(sweeping?.[0]?.[0]);
    expect(sweeping?.at(-1)?.[0]).toBe(writing?.[0]?.[0]);
    expect(writing?.at(-1)?.[0]).toBe(1);
    const rateAt = (seconds: number) => rates?.find(([share]) => share >= seconds / 95)?.[1];
    expect([0, 1, 8, 40, 72, 79, 95].map(rateAt)).toEqual([0, 0, 1, 1, 1, 0, 0]);
  });

  it('has the rate right up to both ends, also before the first sample', () => {
    const samples = sweepSamples().map((one) => ({ ...one, requests: one.seconds * 2 }));
    const rates = linesOf(figureOf(samples.slice(60))).get('requests a second');
    expect(new Set(rates?.map(([, share]) => share))).toEqual(new Set([1]));
  });

  it('keeps a phase that was stopped where it was until the run’s end', () => {
    const samples = sweepSamples().filter(({ seconds }) => seconds <= 40);
    const sweeping = linesOf(figureOf(samples)).get('sweeping: 70 of 140, from 5.0s to 1m 35s');
    expect(sweeping?.slice(-2).map(([, share]) => share)).toEqual([0.5, 0.5]);
    expect(sweeping?.at(-1)?.[0]).toBe(1);
  });

  it('takes a phase of nothing as done, and a total that was too low as 100 percent', () => {
    const samples = [
      { seconds: 0, label: 'selecting', done: 0, total: 0, requests: 0 },
      { seconds: 19, label: 'sweeping', done: 9, total: 4, requests: 0 },
    ];
    const [selecting, sweeping] = [...linesOf(figureOf(samples)).values()];
    for (const line of [selecting, sweeping]) expect(line?.map(([, share]) => share)).toEqual([1, 1]);
  });

  const sample = { seconds: 0, label: 'sweeping', done: 0, total: 0, requests: 0 };
  it.each([
    ['no samples', [], 95],
    ['one sample at 0', [sample], 95],
    ['two at one moment', [0, 7].map((n) => ({ ...sample, seconds: 3, done: n, requests: n })), 95],
    ['a run of no duration', [sample], 0],
    ['a run of a month', [sample, { ...sample, seconds: 2_600_000, requests: 5e9 }], 2_600_000],
  ])('has only numbers and few labels with %s', (_, samples, seconds) => {
    const figure = figureOf(samples, seconds);
    expect(figure).not.toMatch(/NaN|Infinity|undefined|null|\[object/);
    expect(contents(figure, '<text class="(?:time|value)"').length).toBeLessThanOrEqual(8 + 5 + 6);
  });

  it.each([
    [0.45, ['0', '0.1s', '0.2s', '0.3s', '0.4s'], 'mean over 5s'],
    [60, ['0', '10s', '20s', '30s', '40s', '50s', '1m'], 'mean over 5s'],
    [95, ['0', '30s', '1m', '1m 30s'], 'mean over 5s'],
    [27_500, ['0', '2h', '4h', '6h'], 'mean over 9m 10s'],
    [9 * 86_400, ['0', '2d', '4d', '6d', '8d'], 'mean over 4h 19m'],
  ])('of %d seconds has round times', (seconds, labels, mean) => {
    const figure = figureOf([{ ...sample, seconds }], seconds);
    expect(contents(figure, '<text class="time"')).toEqual([...labels, 'time since the start']);
    expect(figure).toContain(`requests a second (${mean})`);
  });

  it.each([
    [1.98, ['0.0', '0.5', '1.0', '1.5', '2.0']],
    [4.4, ['0', '2', '4', '6']],
    [0.03, ['0.00', '0.01', '0.02', '0.03']],
    [0, ['0.0', '0.5', '1.0']],
    [650, ['0', '200', '400', '600', '800']],
  ])('of at most %d requests a second has round counts up to there', (rate, labels) => {
    const figure = figureOf([{ ...sample, seconds: 100, requests: rate * 100 }], 100);
    const percent = ['0%', '25%', '50%', '75%', '100%'];
    expect(contents(figure, '<text class="value"')).toEqual([...percent, ...labels]);
  });
});

describe('what a page hears', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
  afterEach(() => void vi.useRealTimers());

  /** Walks for so many seconds, a step and two requests in each. */
  function walk(take: (event: RunEvent) => void, label: string, seconds: number): void {
    take({ kind: 'phase', label, total: seconds });
    for (let done = 1; done <= seconds; done += 1) {
      vi.advanceTimersByTime(1_000);
      for (let request = 0; request < 2; request += 1) take({ kind: 'request' });
      take({ kind: 'step', done, failed: 0 });
    }
  }

  it('are the moments of a run, with its requests', () => {
    const { take, samples } = startSamples();
    take({ kind: 'step', done: 1 });
    walk(take, 'walking jockeys', 3);
    vi.advanceTimersByTime(100);
    take({ kind: 'phase', label: 'sweeping', total: 9 });
    take({ kind: 'step', done: 3 });
    take({ kind: 'step', done: 4, total: 4 });
    expect(
      samples.map(({ seconds, label, done, total, requests }) => [seconds, label, done, total, requests]),
    ).toEqual([
      ...[0, 1, 2, 3].map((second) => [second, 'walking jockeys', second, 3, second * 2]),
      ...[0, 4].map((done) => [3.1, 'sweeping', done, done === 0 ? 9 : 4, 6]),
    ]);
  });

  it('are not too many in 8 hours, with each phase’s start and end', () => {
    const { take, samples } = startSamples();
    for (const label of ['long', 'brief', 'longer']) walk(take, label, label === 'brief' ? 1 : 14_400);
    expect(samples.length).toBeGreaterThan(1_000);
    expect(samples.length).toBeLessThan(2_500);
    expect(text(figureOf(samples))).toContain(
      'long: 14,400 of 14,400, from 0.0s to 4h 00m; brief: 1 of 1, from 4h 00m to 4h 00m; longer: 14,400 of 14,400',
    );
  });

  function written(type: EntityType, id: string, wins: number, runs: number): Written {
    const row = { recent_30d_wins: wins, [`recent_30d_${type.words.runs}`]: runs, recent_30d_win_rate: 12.5 };
    return {
      entity: { id, name: `Name ${id}`, lastDate: null, statsUpdatedAtMs: null },
      row: { id, ...row },
    };
  }

  it.each(entityTypes)('are the ten $name with most wins, then with fewer runs, who win at all', (type) => {
    const page = startPage();
    const rows = [
      ...[written(type, 'c', 5, 9), written(type, 'none', 0, 9), written(type, 'b', 7, 9)],
      ...[written(type, 'd', 5, 9), written(type, 'a', 7, 8)],
      ...Array.from({ length: 8 }, (_, index) => written(type, `e${index}`, 1, 20 + index)),
    ];
    for (const one of rows) page.take({ kind: 'batch', type, written: [one], failures: [] });
    const shown = text(page.ended(reportWith())).match(/^\d+ Name .*$/gm);
    const order = [
      'a 7 8',
      'b 7 9',
      'c 5 9',
      'd 5 9',
      ...[0, 1, 2, 3, 4, 5].map((at) => `e${at} 1 ${20 + at}`),
    ];
    expect(shown).toEqual(order.map((figures, index) => `${index + 1} Name ${figures} 12.50% `));
  });
});
