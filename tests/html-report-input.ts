import type { Failure } from '../src/events.js';
import type { Report } from '../src/files/report.js';
import type { HtmlReportInput, Leader, Sample } from '../src/show/page/html-report.js';

/** The report of a sweep of 95 seconds in which nothing failed, with changes. */
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
      owners: { ...figures, total: 48165, successful: 48165, duration: 94, rate: 512.4 },
    },
    overall: {
      total_entities: 54429,
      total_processed: 54429,
      total_successful: 54429,
      total_failed: 0,
      duration: 95,
    },
    strategy: 'sweep',
    requests: 135,
    exit_code: 0,
    stopped_by: null,
    failures: [],
    ...changes,
  };
}

/** Two samples a second: 5 seconds of selecting, 70 of sweeping at two requests a second, 20 of writing. */
export function sweepSamples(): Sample[] {
  return Array.from({ length: 191 }, (_, index) => {
    const seconds = index / 2;
    const requests = Math.min(140, Math.max(0, (seconds - 5) * 2));
    if (seconds < 5) return { seconds, phase: 'selecting', done: seconds * 200, total: 1000, requests };
    if (seconds < 75) return { seconds, phase: 'sweeping', done: requests, total: 140, requests };
    return { seconds, phase: 'writing owners', done: (seconds - 75) * 50, total: 1000, requests };
  });
}

/** Ten of a type; the last name is long, and not all fit for a page as they are. */
export function leadersOf(prefix: string): Leader[] {
  const names = [
    'Éire & Sons',
    "Billy O'Loughnane",
    'Maximilian von Hohenlohe-Langenburg zu Waldburg-Wolfegg',
  ];
  return Array.from({ length: 10 }, (_, index) => ({
    id: `${prefix}_${100 + index}`,
    name: names[9 - index] ?? `Number ${index + 1}`,
    wins: 40 - index,
    runs: 160,
    winRate: (40 - index) / 1.6,
  }));
}

export function failures(count: number): Failure[] {
  return Array.from({ length: count }, (_, index) => ({
    entity_type: 'owners',
    id: `own_${index}`,
    name: `Owner ${index}`,
    reason: 'The Racing API did not answer: 503 Service Unavailable.',
  }));
}

/** Every part of the page has something to show. */
export function fullInput(): HtmlReportInput {
  return {
    report: reportWith({ exit_code: 3, failures: failures(30) }),
    samples: sweepSamples(),
    leaders: { jockeys: leadersOf('jky'), trainers: leadersOf('trn'), owners: leadersOf('own') },
  };
}
