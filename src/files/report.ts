import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { EntityTypeName } from '../entity-types.js';
import { type ExitCode, exitCodes, FatalError } from '../errors.js';
import type { Failure, RunEvent, Strategy, Tell } from '../events.js';
import { rounded } from '../format.js';
import type { PopulateOptions } from '../options.js';
import { claimFile, removeQuietly, writeWholeFile } from './whole-file.js';

/** A type's part of the report; durations in seconds, rate in entities a second. */
export interface TypeStatistics {
  /** The entities selected for this run. */
  total: number;
  processed: number;
  successful: number;
  failed: number;
  /** The entities that --skip-existing, --stale-after or --resume left out. */
  skipped: number;
  duration: number;
  rate: number;
}

/** The run report, a format that other programs read: keys may be added, none renamed. */
export interface Report {
  /** When it was written; ISO instant, as `started_at`. */
  timestamp: string;
  started_at: string;
  entity_types: EntityTypeName[];
  mode: 'production' | 'dry_run';
  options: { skip_existing: boolean; stale_after: string | null; resume: boolean; limit: number | null };
  statistics: Partial<Record<EntityTypeName, TypeStatistics>>;
  overall: {
    total_entities: number;
    total_processed: number;
    total_successful: number;
    total_failed: number;
    duration: number;
  };
  strategy: Strategy | null;
  requests: number;
  exit_code: ExitCode;
  /** Why the run ended before its end, for people. */
  stopped_by: string | null;
  failures: Failure[];
}

/** The report of a run, which grows as it listens. */
export interface GrowingReport {
  take: Tell;
  /** The report as it stands; a run stopped by an error has that one's exit code and message. */
  ended(stop: AbortSignal): Report;
}

export function startReport(options: PopulateOptions, startedAt: Date): GrowingReport {
  const { entities, limit = null, skipExisting, staleAfter, resume, dryRun } = options;
  const statistics: Report['statistics'] = {};
  const failures: Failure[] = [];
  const timer = typeTimer();
  let strategy: Strategy | null = null;
  let requests = 0;

  function take(event: RunEvent): void {
    timer.take(event);
    if (event.kind === 'request') requests += 1;
    else if (event.kind === 'gathering') strategy = event.strategy;
    else if (event.kind === 'selected') {
      const { total, skipped } = event;
      statistics[event.type.name] = { ...noFigures, total, skipped };
    } else if (event.kind === 'batch') {
      failures.push(...event.failures);
      const figures = statistics[event.type.name] ?? noFigures;
      const successful = figures.successful + event.written.length;
      const failed = figures.failed + event.failures.length;
      const processed = successful + failed;
      statistics[event.type.name] = { ...figures, successful, failed, processed };
    }
  }

  return {
    take,
    ended: (stop) => ({
      timestamp: new Date().toISOString(),
      started_at: startedAt.toISOString(),
      entity_types: entities.map(({ name }) => name),
      mode: dryRun ? 'dry_run' : 'production',
      options: { skip_existing: skipExisting, stale_after: staleAfter?.text ?? null, resume, limit },
      statistics: timer.timed(statistics),
      overall: sumUp(statistics, timer.seconds()),
      strategy,
      requests,
      exit_code: exitCodeOf(failures, stop),
      stopped_by: stop.aborted ? stop.reason.message : null,
      failures,
    }),
  };
}

const noFigures = { total: 0, processed: 0, successful: 0, failed: 0, skipped: 0, duration: 0, rate: 0 };

/** Measures how long each type takes. A sweep serves all types: its time is part of each. */
function typeTimer() {
  const startedAtMs = performance.now();
  const milliseconds = new Map<EntityTypeName, number>();
  let gatheringSinceMs = startedAtMs;
  let sweepMs = 0;
  let sweeping = false;
  let current: { name: EntityTypeName; sinceMs: number } | undefined;

  const endCurrent = () => {
    if (current) milliseconds.set(current.name, sweepMs + performance.now() - current.sinceMs);
  };
  return {
    take: (event: RunEvent) => {
      if (event.kind === 'gathering') {
        gatheringSinceMs = performance.now();
        sweeping = event.strategy === 'sweep';
      } else if (event.kind === 'populating') {
        if (current === undefined && sweeping) sweepMs = performance.now() - gatheringSinceMs;
        endCurrent();
        current = { name: event.type.name, sinceMs: performance.now() };
      }
    },
    seconds: () => (performance.now() - startedAtMs) / 1000,
    timed: (statistics: Report['statistics']): Report['statistics'] => {
      endCurrent();
      const types = Object.entries(statistics) as [EntityTypeName, TypeStatistics][];
      return Object.fromEntries(
        types.map(([name, figures]) => {
          const seconds = (milliseconds.get(name) ?? 0) / 1000;
          const rate = seconds > 0 ? rounded(figures.processed / seconds, 3) : 0;
          return [name, { ...figures, duration: rounded(seconds, 2), rate }];
        }),
      );
    },
  };
}

function sumUp(statistics: Report['statistics'], seconds: number): Report['overall'] {
  const types = Object.values(statistics);
  const sum = (key: keyof TypeStatistics) => types.reduce((total, one) => total + one[key], 0);
  return {
    total_entities: sum('total'),
    total_processed: sum('processed'),
    total_successful: sum('successful'),
    total_failed: sum('failed'),
    duration: rounded(seconds, 2),
  };
}

/** How a run ends, by what it was stopped with (a FatalError, or a bug of ours) and by its failures. */
function exitCodeOf(failures: readonly Failure[], stop: AbortSignal): ExitCode {
  if (stop.aborted) return stop.reason instanceof FatalError ? stop.reason.exitCode : exitCodes.ownBug;
  return failures.length > 0 ? exitCodes.someFailed : exitCodes.allWritten;
}

const savedReportSchema = z.object({
  timestamp: z.string(),
  mode: z.string(),
  statistics: z.partialRecord(
    z.enum(['jockeys', 'trainers', 'owners']),
    z.object({ total: z.number(), processed: z.number(), successful: z.number(), failed: z.number() }),
  ),
  exit_code: z.number().optional(),
  stopped_by: z.string().nullable().optional(),
});

/** A report of this program, or of the original one, as far as others need it. */
export type SavedReport = z.infer<typeof savedReportSchema> & { path: string };

/** The reports in a folder, newest first; files that are none are passed over. */
export function* savedReports(directory: string): Generator<SavedReport> {
  const names = existsSync(directory) ? readdirSync(directory) : [];
  const reports = names.filter((name) => /^statistics_population_report_\d{8}_\d{6}\.json$/.test(name));
  for (const name of reports.sort().reverse()) {
    const path = join(directory, name);
    try {
      yield { ...savedReportSchema.parse(JSON.parse(readFileSync(path, 'utf8'))), path };
    } catch {
      // Another program's file, or one that is being written.
    }
  }
}

/** Writes the report under its timestamp (UTC), or a later one's name, never over another one. Returns its path. */
export function saveReport(directory: string, report: Report): string {
  for (let at = Date.parse(report.timestamp); ; at += 1000) {
    const [date, time] = new Date(at).toISOString().split(/[T.]/);
    const name = `statistics_population_report_${date?.replaceAll('-', '')}_${time?.replaceAll(':', '')}.json`;
    const path = join(directory, name);
    if (!claimFile(path)) continue;
    try {
      writeReport(path, report);
      return path;
    } catch (error) {
      removeQuietly(path);
      throw error;
    }
  }
}

/** Writes the report to a path that is its own. Throws a FatalError (files unusable). */
export function writeReport(path: string, report: Report): void {
  writeWholeFile(path, `${JSON.stringify(report, null, 2)}\n`);
}
