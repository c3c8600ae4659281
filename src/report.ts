import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { EntityType, EntityTypeName } from './entity-types.js';
import { type ExitCode, exitCodes, FatalError } from './errors.js';
import { rounded } from './format.js';
import { claimFile, removeQuietly, writeWholeFile } from './whole-file.js';

/** One entity that was selected and is not written. */
export interface Failure {
  entity_type: EntityTypeName;
  id: string;
  name: string;
  reason: string;
}

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
  strategy: 'walk' | 'sweep' | null;
  requests: number;
  exit_code: ExitCode;
  /** Why the run ended before its end, for people. */
  stopped_by: string | null;
  failures: Failure[];
}

/** Which entities a run is to take, as the report tells it. */
export interface Selectors {
  types: readonly EntityType[];
  /** At most so many entities of each type; null for all. */
  limit: number | null;
  dryRun: boolean;
  skipExisting: boolean;
  /** Leaves out entities with statistics younger than this; null for none. `skipExisting` is its limit case. */
  staleAfter: { text: string; ms: number } | null;
  resume: boolean;
}

/** The report of a run that has only begun. */
export function newReport(selectors: Selectors, startedAt: Date): Report {
  const { types, dryRun, skipExisting, staleAfter, resume, limit } = selectors;
  return {
    timestamp: startedAt.toISOString(),
    started_at: startedAt.toISOString(),
    entity_types: types.map(({ name }) => name),
    mode: dryRun ? 'dry_run' : 'production',
    options: { skip_existing: skipExisting, stale_after: staleAfter?.text ?? null, resume, limit },
    statistics: {},
    overall: { total_entities: 0, total_processed: 0, total_successful: 0, total_failed: 0, duration: 0 },
    strategy: null,
    requests: 0,
    exit_code: exitCodes.allWritten,
    stopped_by: null,
    failures: [],
  };
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

/** Sets `overall` to the sums of the types. */
export function sumUp(report: Report, durationSeconds: number): void {
  const types = Object.values(report.statistics);
  const sum = (key: keyof TypeStatistics) => types.reduce((total, one) => total + one[key], 0);
  report.overall = {
    total_entities: sum('total'),
    total_processed: sum('processed'),
    total_successful: sum('successful'),
    total_failed: sum('failed'),
    duration: rounded(durationSeconds, 2),
  };
}

/** How a run ends, by what it was stopped with (a FatalError, or a bug of ours) and by its failures. */
export function exitCodeOf(report: Report, stop: AbortSignal): ExitCode {
  if (stop.aborted) return stop.reason instanceof FatalError ? stop.reason.exitCode : exitCodes.ownBug;
  return report.failures.length > 0 ? exitCodes.someFailed : exitCodes.allWritten;
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
