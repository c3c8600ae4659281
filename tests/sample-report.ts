import { type EntityType, entityTypes } from '../src/entity-types.js';
import type { Batch, Failure } from '../src/events.js';
import type { Report } from '../src/files/report.js';
import type { PastRun } from '../src/files/saved-reports.js';
import { runPage, startPeople } from '../src/show/page.js';
import type { Sample } from '../src/show/page-look.js';

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
    changed: 1234,
    forced: [],
    exit_code: 0,
    stopped_by: null,
    failures: [],
    rows_from: null,
    after_killed: null,
    ...changes,
  };
}

export function failures(count: number, changes: Partial<Failure> = {}): Failure[] {
  const reason = 'The Racing API did not answer: 503 Service Unavailable.';
  return Array.from({ length: count }, (_, index) => {
    return { entity_type: 'owners', id: `own_${index}`, name: `Owner ${index}`, reason, ...changes };
  });
}

/** Two samples a second: 5 seconds of selecting, 70 of sweeping and 20 of writing. */
export function sweepSamples(): Sample[] {
  return Array.from({ length: 191 }, (_, index) => {
    const seconds = index / 2;
    if (seconds < 5) return { seconds, label: 'selecting', done: seconds * 200, total: 1000 };
    if (seconds < 75) return { seconds, label: 'sweeping', done: (seconds - 5) * 2, total: 140 };
    return { seconds, label: 'writing owners', done: (seconds - 75) * 50, total: 1000 };
  });
}

/** Who was written: a name and wins of the last 30 days, of 160 runs; and the figures before, unless it is new. */
export interface Person {
  id: string;
  name: string;
  wins: number;
  lastWin?: string | null;
  before?: { wins: number; lastWin: string | null };
}

/** As a run tells of a batch. */
export function batchOf(type: EntityType, people: readonly Person[]): Batch {
  const written = people.map(({ id, name, wins, lastWin = null, before }) => {
    const recent = { [`recent_30d_${type.words.runs}`]: 160, recent_30d_wins: wins, recent_30d_win_rate: wins / 1.6 };
    return {
      entity: {
        ...{ id, name, lastDate: null, recentRuns: 160, recentWins: before?.wins ?? 0 },
        ...{ lastWinDate: before?.lastWin ?? null, statsUpdatedAtMs: before ? 1 : null },
      },
      row: { id, ...recent, last_win_date: lastWin },
    };
  });
  return { kind: 'batch', type, written, failures: [] };
}

const ten = Array.from({ length: 10 }, (_, index): Person => {
  const name = index === 4 ? 'Maximilian von Hohenlohe-Langenburg zu Waldburg-Wolfegg' : `Number ${index + 1}`;
  const lastWin = '2026-11-22';
  const before = { wins: 35, lastWin: ['2026-11-21', null, '2026-05-01'][index % 3] ?? null };
  return { id: `id_${index}`, name, wins: 40 - index, lastWin, before };
});

/** The 14 daily runs before, the first two with a page. */
export const runsBefore = Array.from({ length: 14 }, (_, index): PastRun => {
  const day = `202611${22 - index}_050147`;
  const { mode, strategy, requests, statistics, overall } = reportWith();
  const page = index < 2 ? `statistics_population_report_${day}.html` : undefined;
  const timestamp = `2026-11-${String(22 - index).padStart(2, '0')}T05:01:47.000Z`;
  return { timestamp, mode, strategy, requests, statistics, overall, exit_code: 3, changed: 99, path: '', page };
});

interface PageInput {
  report?: Partial<Report>;
  samples?: readonly Sample[];
  /** Of each type. */
  people?: readonly Person[];
  before?: readonly PastRun[];
}

/** A page on which every part has something to show, unless the input says otherwise. */
export function pageOf({ report, samples = sweepSamples(), people = ten, before = runsBefore }: PageInput = {}) {
  const told = startPeople();
  for (const type of entityTypes) {
    const batch = batchOf(type, people);
    told.add(type, batch.written);
  }
  const changed = { exit_code: 3, failures: failures(30), ...report } as const;
  return runPage(reportWith(changed), samples, told.people, before);
}

/** A page with one text in every place that takes one from outside. */
export function pageWith(hostile: string): string {
  const failed = failures(1, { id: hostile, name: hostile, reason: hostile });
  const person = { name: hostile, wins: 1, lastWin: '2026-11-22', before: { wins: 0, lastWin: null } };
  return pageOf({
    report: { exit_code: 6, stopped_by: hostile, failures: failed },
    samples: [{ seconds: 1, label: hostile, done: 1, total: 2 }],
    people: [hostile, `${hostile}!`].map((id) => ({ ...person, id })),
  });
}
