import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ExitCode, exitCodes } from '../src/errors.js';
import { countTicks, timeLabel, timeTicks } from '../src/show/page/axis-ticks.js';
import { type HtmlReportInput, htmlReport } from '../src/show/page/html-report.js';
import { failures, fullInput, reportWith, sweepSamples } from './html-report-input.js';

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
    .replace(/&(amp|lt|gt|quot|#39);/g, (entity) => unescaped[entity] ?? entity);
}

const unescaped: Record<string, string> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#39;': "'",
};

function pageOf(changes: Partial<HtmlReportInput> = {}): string {
  return htmlReport({ ...fullInput(), ...changes });
}

/** The points of the line with this class, in the box of 1000 by the panel's height. */
function linesOf(page: string, name: string): number[][][] {
  const boxes = page.matchAll(new RegExp(`<svg class="${name}".*?class="line" d="M([^"]*)"`, 'gs'));
  return [...boxes].map(([, path = '']) => path.split('L').map((point) => point.split(' ').map(Number)));
}

describe('the page', () => {
  it('needs no network and no script, and forbids both', () => {
    const page = pageOf();
    expect(page).toMatch(/^<!doctype html>\n<html lang="en">/);
    expect(page).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`);
    expect(page).not.toMatch(/<(script|link|img|iframe|object|base|form)|https?:|url\(|@import|\son[a-z]+=/i);
  });

  it('is light or dark as the system is', () => {
    expect(pageOf()).toContain('@media (prefers-color-scheme: dark)');
    expect(pageOf()).toContain('<meta name="color-scheme" content="light dark">');
  });

  it('closes every element that it opens', () => {
    const open: string[] = [];
    for (const [, slash, name = '', rest] of pageOf().matchAll(/<(\/?)([a-z][a-z0-9]*)([^>]*)>/g)) {
      if (slash) expect(open.pop()).toBe(name);
      else if (name !== 'meta' && !rest?.endsWith('/')) open.push(name);
    }
    expect(open).toEqual([]);
  });

  it('tells when, how long, how and with what outcome', () => {
    const page = text(pageOf());
    expect(page).toContain('Statistics run of 2026-11-23 05:00:12 UTC: finished, some entities failed');
    for (const fact of ['duration1m 35s', 'modeproduction', 'strategysweep', 'API requests135'])
      expect(page).toContain(fact);
    expect(page).toContain('entities written54,429 of 54,429');
    expect(page).toContain('finished, some entities failed (exit code 3)');
    expect(page).toContain('30 failed: run again with --resume to try them again.');
    expect(page).toContain('Written 2026-11-23 05:01:47 UTC');
  });

  it('has words for every exit code', () => {
    const meanings = Object.values(exitCodes).map((exit_code) => {
      const [, meaning] = /<strong>(.+)<\/strong>/.exec(pageOf({ report: reportWith({ exit_code }) })) ?? [];
      return meaning;
    });
    expect(new Set(meanings).size).toBe(Object.keys(exitCodes).length);
    expect(meanings).not.toContain('undefined');
  });

  it('tells what stopped the run, line by line', () => {
    const report = reportWith({ exit_code: 130, stopped_by: 'Interrupted.\nRun again with --resume.' });
    const page = pageOf({ report });
    expect(page).toContain('<div class="outcome bad">');
    expect(text(page)).toContain(
      'interrupted (SIGINT), state saved (exit code 130)\nStopped by: Interrupted.\nRun again with --resume.',
    );
  });

  it('tells that a dry run wrote nothing', () => {
    const report = reportWith({ mode: 'dry_run', strategy: null, requests: 0 });
    const page = text(pageOf({ report, leaders: {} }));
    expect(page).toContain('a dry run, nothing is written (exit code 0)');
    expect(page).toContain('modedry run');
    expect(page).toContain('strategynone');
    expect(page).toContain('No winner was written in this run.');
  });
});

describe('the tables', () => {
  it('have the outcome of each type and of all', () => {
    const page = text(pageOf());
    expect(page).toContain('type total successful failed skipped duration rate');
    expect(page).toContain('jockeys 3,483 3,483 0 0 1m 14s 47/s');
    expect(page).toContain('trainers 2,781 2,781 0 12 1m 16s 37/s');
    expect(page).toContain('owners 48,165 48,165 0 0 1m 34s 512/s');
    expect(page).toContain('all 54,429 54,429 0 12 1m 35s 573/s');
  });

  it('have captions, and headers with a scope', () => {
    expect(pageOf().match(/<table>\n<caption>/g)).toHaveLength(5);
    expect(pageOf()).not.toMatch(/<th(?!ead| scope=")/);
  });

  it('count a jockey’s rides and the others’ runs', () => {
    const page = text(pageOf());
    expect(page.match(/# name wins (rides|runs) win rate/g)).toEqual([
      '# name wins rides win rate',
      '# name wins runs win rate',
      '# name wins runs win rate',
    ]);
    expect(page).toContain('1 Number 1 40 160 25.00%');
    expect(page).toContain("9 Billy O'Loughnane 32 160 20.00%");
  });

  it('show only the types that have leaders, and no rate where there is none', () => {
    const leader = { id: 'own_1', name: 'Sole', wins: 0, runs: 0, winRate: null };
    const page = text(pageOf({ leaders: { jockeys: [], owners: [leader] } }));
    expect(page).toContain('1 Sole 0 0 –');
    expect(page.match(/# name/g)).toHaveLength(1);
  });

  it('list every failure, 10,000 of them too', () => {
    const page = text(pageOf({ report: reportWith({ exit_code: 3, failures: failures(10_000) }) }));
    expect(page).toContain('10,000 entities were selected and not written');
    expect(page.match(/^owners own_\d+ Owner \d+ The Racing API did not answer/gm)).toHaveLength(10_000);
    expect(text(pageOf({ report: reportWith({ failures: failures(1) }) }))).toContain(
      '1 entity was selected',
    );
  });

  it('give way to a sentence where there is nothing', () => {
    const page = text(pageOf({ report: reportWith({ statistics: {} }), samples: [], leaders: {} }));
    expect(page).toContain('The run ended before any entity was selected.');
    expect(page).toContain('No progress was recorded.');
    expect(page).toContain('No winner was written in this run.');
    expect(page).toContain('No entity failed.');
  });
});

/** A page with one text in every place that takes one from outside. */
function pageWith(hostile: string): string {
  const failure = { entity_type: 'owners' as const, id: hostile, name: hostile, reason: hostile };
  return htmlReport({
    report: reportWith({ exit_code: 6, stopped_by: hostile, failures: [failure] }),
    samples: [{ seconds: 1, phase: hostile, done: 1, total: 2, requests: 1 }],
    leaders: { jockeys: [{ id: hostile, name: hostile, wins: 1, runs: 1, winRate: 100 }] },
  });
}

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
    expect(tags(page)).toEqual(tags(pageWith('plain')));
    expect(page.split('"').length).toBe(pageWith('plain').split('"').length);
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
    );
  });
});

describe('the plot', () => {
  it('follows each phase from 0 to 100 percent, one after the other', () => {
    const page = pageOf();
    const [selecting, sweeping, writing] = [0, 1, 2].map((index) => linesOf(page, `phase-${index}`)[0]);
    expect(selecting?.[0]).toEqual([0, 160]);
    expect(selecting?.at(-1)).toEqual([52.6, 16]);
    expect(sweeping?.[0]).toEqual([52.6, 160]);
    expect(sweeping).toContainEqual([421.1, 80]);
    expect(writing?.at(-1)).toEqual([1000, 0]);
    expect(text(page)).toContain('sweeping: 139 of 140, from 5.0s to 1m 15s');
    expect(text(page)).toMatch(/selecting 5\.0s\s*sweeping 1m 10s\s*writing owners 20s\s*requests a second/);
  });

  it('has the requests a second, the mean of a window, inside the run only', () => {
    const [rates = []] = linesOf(pageOf(), 'rate');
    const rateAt = (seconds: number) => 2 - ((rates[Math.round((seconds / 95) * 250)]?.[1] ?? 0) / 90) * 2;
    expect(rates).toHaveLength(251);
    for (const seconds of [8, 40, 72]) expect(rateAt(seconds)).toBeCloseTo(2);
    for (const seconds of [0, 1, 79, 95]) expect(rateAt(seconds)).toBeCloseTo(0);
    expect(rateAt(5)).toBeCloseTo(1, 0);
    expect(text(pageOf())).toContain('At most 2.00 requests a second.');
  });

  it('has the rate right up to both ends, also before the first sample', () => {
    const samples = sweepSamples().map((one) => ({ ...one, requests: one.seconds * 2 }));
    const [rates = []] = linesOf(pageOf({ samples: samples.slice(60) }), 'rate');
    expect(new Set(rates.map(([, y]) => y))).toEqual(new Set([0]));
  });

  it('keeps a phase that was stopped where it was until the run’s end', () => {
    const samples = sweepSamples().filter(({ seconds }) => seconds <= 40);
    const [sweeping = []] = linesOf(pageOf({ samples }), 'phase-1');
    expect(sweeping.slice(-2)).toEqual([
      [421.1, 80],
      [1000, 80],
    ]);
  });

  it('draws one sample as a line to the run’s end', () => {
    const samples = [{ seconds: 19, phase: 'selecting', done: 1, total: 4, requests: 0 }];
    expect(linesOf(pageOf({ samples }), 'phase-0')).toEqual([
      [
        [200, 120],
        [1000, 120],
      ],
    ]);
  });

  it('takes a phase of nothing as done, and a total that was too low as 100 percent', () => {
    const samples = [
      { seconds: 0, phase: 'selecting', done: 0, total: 0, requests: 0 },
      { seconds: 19, phase: 'sweeping', done: 9, total: 4, requests: 0 },
    ];
    const page = pageOf({ samples });
    expect(linesOf(page, 'phase-0')[0]?.map(([, y]) => y)).toEqual([0, 0]);
    expect(linesOf(page, 'phase-1')[0]?.map(([, y]) => y)).toEqual([0, 0]);
  });

  it('gives a phase that comes back its colour again', () => {
    const samples = ['sweeping', 'walking jockeys', 'sweeping'].map((phase, seconds) => {
      return { seconds, phase, done: 1, total: 2, requests: seconds };
    });
    const page = pageOf({ samples });
    expect(linesOf(page, 'phase-0')).toHaveLength(2);
    expect(linesOf(page, 'phase-1')).toHaveLength(1);
    expect(page.match(/<li /g)).toHaveLength(3);
  });

  it('thins out many samples without losing a phase or its end', () => {
    const samples = Array.from({ length: 100_000 }, (_, index) => {
      const phase = index === 50_000 ? 'brief' : index < 50_000 ? 'walking jockeys' : 'walking owners';
      return { seconds: index / 4, phase, done: index % 50_000, total: 49_999, requests: index / 2 };
    });
    const page = pageOf({ samples });
    expect(page.length).toBeLessThan(100_000);
    expect(text(page)).toContain('walking jockeys: 49,999 of 49,999, from 0.0s to 3h 28m');
    expect(text(page)).toContain('brief: 0 of 49,999');
    expect(linesOf(page, 'phase-2')[0]?.[0]).toEqual([500, 160]);
    expect(text(page)).toContain('At most 2.00 requests a second.');
  });

  it.each<[string, Partial<HtmlReportInput>]>([
    ['no samples', { samples: [] }],
    ['one sample at 0', { samples: [{ seconds: 0, phase: 'selecting', done: 0, total: 0, requests: 0 }] }],
    ['two at one moment', { samples: [0, 7].map((n) => ({ ...sample, done: n, requests: n })) }],
    ['a run of no duration', { report: withoutDuration(), samples: [{ ...sample, seconds: 0 }] }],
  ])('has only numbers with %s', (_, changes) => {
    expect(pageOf(changes)).not.toMatch(/NaN|Infinity|undefined|null|\[object/);
  });
});

const sample = { seconds: 3, phase: 'sweeping', done: 1, total: 140, requests: 1 };

function withoutDuration() {
  const none = {
    total: 0,
    processed: 0,
    successful: 0,
    failed: 0,
    skipped: 0,
    duration: 0,
    rate: Number.NaN,
  };
  const overall = {
    total_entities: 0,
    total_processed: 0,
    total_successful: 0,
    total_failed: 0,
    duration: 0,
  };
  const exit_code: ExitCode = exitCodes.databaseFailed;
  return reportWith({ exit_code, stopped_by: 'The database failed.', statistics: { owners: none }, overall });
}

describe('an axis', () => {
  it('has round times', () => {
    const labels = (end: number) => timeTicks(end).map(({ label }) => label);
    expect(labels(0.45)).toEqual(['0', '0.1s', '0.2s', '0.3s', '0.4s']);
    expect(labels(95)).toEqual(['0', '30s', '1m', '1m 30s']);
    expect(labels(27_500)).toEqual(['0', '2h', '4h', '6h']);
    expect(labels(9 * 86_400)).toEqual(['0', '2d', '4d', '6d', '8d']);
    expect(timeLabel(550)).toBe('9m 10s');
  });

  it('has round counts up to the highest', () => {
    const labels = (highest: number) => countTicks(highest).ticks.map(({ label }) => label);
    expect(labels(1.98)).toEqual(['0.0', '0.5', '1.0', '1.5', '2.0']);
    expect(labels(4.4)).toEqual(['0', '2', '4', '6']);
    expect(labels(0.03)).toEqual(['0.00', '0.01', '0.02', '0.03']);
    expect(labels(0)).toEqual(['0.0', '0.5']);
  });

  it('has few labels, which differ, and room for the highest value', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.001, max: 1e7, noNaN: true }), (value) => {
        const times = timeTicks(value);
        const counts = countTicks(value);
        expect(times.length).toBeLessThanOrEqual(7);
        expect(counts.ticks.length).toBeLessThanOrEqual(6);
        expect(times.at(-1)?.value).toBeLessThanOrEqual(value);
        expect(counts.max).toBeGreaterThanOrEqual(value * 0.99);
        expect(counts.ticks.at(-1)?.value).toBe(counts.max);
        for (const ticks of [times, counts.ticks])
          expect(new Set(ticks.map(({ label }) => label)).size).toBe(ticks.length);
      }),
    );
  });
});
