import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { EntityTypeName } from './entity-types.js';
import type { ExitCode } from './errors.js';
import { writeWholeFile } from './whole-file.js';

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
  /** The entities that --skip-existing or --resume left out. */
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
  options: { skip_existing: boolean; resume: boolean; limit: number | null };
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

/** Sets `overall` to the sums of the types. */
export function sumUp(report: Report, durationSeconds: number): void {
  const types = Object.values(report.statistics);
  const sum = (key: keyof TypeStatistics) => types.reduce((total, one) => total + one[key], 0);
  report.overall = {
    total_entities: sum('total'),
    total_processed: sum('processed'),
    total_successful: sum('successful'),
    total_failed: sum('failed'),
    duration: durationSeconds,
  };
}

/** Writes the report under its timestamp (UTC), or a later one's name, never over another one. Returns its path. */
export function saveReport(directory: string, report: Report): string {
  for (let at = Date.parse(report.timestamp); ; at += 1000) {
    const [date, time] = new Date(at).toISOString().split(/[T.]/);
    const name = `statistics_population_report_${date?.replaceAll('-', '')}_${time?.replaceAll(':', '')}.json`;
    const path = join(directory, name);
    if (existsSync(path)) continue;
    writeWholeFile(path, `${JSON.stringify(report, null, 2)}\n`);
    return path;
  }
}
