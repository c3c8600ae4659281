import type { Failure } from '../src/events.js';
import type { Report } from '../src/files/report.js';
import { type Leaders, runPage } from '../src/show/page.js';
import type { Sample } from '../src/show/plot.js';

/** The report of a sweep of 95 seconds that not all entities got through, with changes. */
export function reportWith(changes: Partial<Report> = {}): Report {
  const figures = { processed: 0, failed: 0, skipped: 0 };
  return {
    timestamp: '2026-11-23T05:01:47.000Z',
    started_at: '2026-11-23T05:00:12.345Z',
    entity_types: ['jockeys', 'trainers', 'owners'],
    mode: 'production',
    options: { skip_existing: false, stale_after: null, resume: false, limit: null },
    statistics: {
      jockeys: { ...figures, total: 3483, successful: 3483, duration: 74, rate: 47.07 },
      trainers: { ...figures, total: 2781, successful: 2781, skipped: 12, duration: 76, rate: 36.6 },
      owners: { ...figures, total: 48165, successful: 48070, failed: 30, duration: 94, rate: 512.4 },
    },
    overall: { total_entities: 54429, total_processed: 54364, total_successful: 54334, total_failed: 30, duration: 95 },
    strategy: 'sweep',
    requests: 135,
    forced: [],
    exit_code: 0,
    stopped_by: null,
    failures: [],
    ...changes,
  };
}

export function failures(count: number, changes: Partial<Failure> = {}): Failure[] {
  const reason = 'The Racing API did not answer: 503 Service Unavailable.';
  return Array.from({ length: count }, (_, index) => {
    return { entity_type: 'owners', id: `own_${index}`, name: `Owner ${index}`, reason, ...changes };
  });
}

/** Two samples a second: 5 seconds of selecting, 70 of sweeping at two requests a second, 20 of writing. */
export function sweepSamples(): Sample[] {
  return Array.from({ length: 191 }, (_, index) => {
    const seconds = index / 2;
    const requests = Math.min(140, Math.max(0, (seconds - 5) * 2));
    if (seconds < 5) return { seconds, label: 'selecting', done: seconds * 200, total: 1000, requests };
    if (seconds < 75) return { seconds, label: 'sweeping', done: requests, total: 140, requests };
    return { seconds, label: 'writing owners', done: (seconds - 75) * 50, total: 1000, requests };
  });
}

const tenLeaders = Array.from({ length: 10 }, (_, index) => {
  const name = index === 4 ? 'Maximilian von Hohenlohe-Langenburg zu Waldburg-Wolfegg' : `Number ${index + 1}`;
  const wins = 40 - index;
  return { id: `id_${index}`, name, wins, runs: 160, winRate: wins / 1.6 };
});
const allLeaders: Leaders = { jockeys: tenLeaders, trainers: tenLeaders, owners: tenLeaders };

type PageInput = { report?: Partial<Report>; samples?: readonly Sample[]; leaders?: Leaders };

/** A page on which every part has something to show, unless the input says otherwise. */
export function pageOf({ report, samples = sweepSamples(), leaders = allLeaders }: PageInput = {}): string {
  return runPage(reportWith({ exit_code: 3, failures: failures(30), ...report }), samples, leaders);
}

/** A page with one text in every place that takes one from outside. */
export function pageWith(hostile: string): string {
  const failed = failures(1, { id: hostile, name: hostile, reason: hostile });
  return pageOf({
    report: { exit_code: 6, stopped_by: hostile, failures: failed },
    samples: [{ seconds: 1, label: hostile, done: 1, total: 2, requests: 1 }],
    leaders: { jockeys: [{ id: hostile, name: hostile, wins: 1, runs: 1, winRate: 100 }] },
  });
}
