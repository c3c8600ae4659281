import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import type { EntityTypeName } from '../entity-types.js';
import { type ExitCode, exitCodes, FatalError } from '../errors.js';
import type { Batch, Failure, RunEvent, Strategy } from '../events.js';
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
  overall: ReturnType<typeof sumUp>;
  strategy: Strategy | null;
  requests: number;
  /** What a witness contradicts and --force had written all the same. */
  forced: string[];
  exit_code: ExitCode;
  /** Why the run ended before its end, for people. */
  stopped_by: string | null;
  failures: Failure[];
}

/** How a run ended. */
export interface EndedRun {
  report: Report;
  /** Null if the report could not be written. */
  reportPath: string | null;
  /** The report as a page, if that was asked for and could be written. */
  pagePath?: string;
}

/** What a report gathers as the run goes on. */
type Gathered = Pick<Report, 'statistics' | 'strategy' | 'requests' | 'forced' | 'failures'>;

/** The report of a run, which grows as it listens. */
export function startReport(options: PopulateOptions, startedAt: Date) {
  const startedAtMs = performance.now();
  const gathered: Gathered = { statistics: {}, strategy: null, requests: 0, forced: [], failures: [] };
  const { statistics, forced, failures } = gathered;
  const sinceMs = new Map<EntityTypeName, number>();
  let gatheringMs = startedAtMs;

  function take(event: RunEvent): void {
    if (event.kind === 'request') gathered.requests += 1;
    else if (event.kind === 'forced') forced.push(event.what);
    else if (event.kind === 'selected') {
      statistics[event.type.name] = { ...noFigures, total: event.total, skipped: event.skipped };
    } else if (event.kind === 'gathering') {
      gathered.strategy = event.strategy;
      gatheringMs = performance.now();
    } else if (event.kind === 'batch') {
      const { name } = event.type;
      failures.push(...event.failures);
      // A sweep serves all types: its time is part of each. A walk comes to one type after the other.
      const since = sinceMs.get(name) ?? gatheringMs;
      sinceMs.set(name, since);
      if (gathered.strategy === 'walk') gatheringMs = performance.now();
      const before = statistics[name] ?? noFigures;
      statistics[name] = figuresAfter(before, event, (performance.now() - since) / 1000);
    }
  }

  /** The report as it stands; a run stopped by an error has that one's exit code and message. */
  const ended = (stop: AbortSignal): Report => ({
    timestamp: new Date().toISOString(),
    started_at: startedAt.toISOString(),
    ...askedOf(options),
    exit_code: exitCodeOf(failures, stop),
    stopped_by: stop.aborted ? stop.reason.message : null,
    overall: sumUp(statistics, (performance.now() - startedAtMs) / 1000),
    ...gathered,
  });
  return { take, ended };
}

function askedOf(options: PopulateOptions): Pick<Report, 'entity_types' | 'mode' | 'options'> {
  const { entities, limit = null, skipExisting, staleAfter, resume, dryRun } = options;
  return {
    entity_types: entities.map(({ name }) => name),
    mode: dryRun ? 'dry_run' : 'production',
    options: { skip_existing: skipExisting, stale_after: staleAfter?.text ?? null, resume, limit },
  };
}

const noFigures = { total: 0, processed: 0, successful: 0, failed: 0, skipped: 0, duration: 0, rate: 0 };

/** A type's figures after another batch, so many seconds since its start. */
function figuresAfter(before: TypeStatistics, batch: Batch, seconds: number): TypeStatistics {
  const { written, failures, passedOver = 0 } = batch;
  const total = before.total - passedOver;
  const successful = before.successful + written.length;
  const failed = before.failed + failures.length;
  const processed = successful + failed;
  const duration = Number(seconds.toFixed(2));
  const rate = Number((processed / Math.max(seconds, 0.001)).toFixed(3));
  return { ...before, total, successful, failed, processed, duration, rate };
}

function sumUp(statistics: Report['statistics'], seconds: number) {
  const types = Object.values(statistics);
  const sum = (key: keyof TypeStatistics) => types.reduce((total, one) => total + one[key], 0);
  return {
    total_entities: sum('total'),
    total_processed: sum('processed'),
    total_successful: sum('successful'),
    total_failed: sum('failed'),
    duration: Number(seconds.toFixed(2)),
  };
}

/** How a run ends, by what it was stopped with (a FatalError, or a bug of ours) and by its failures. */
function exitCodeOf(failures: readonly Failure[], stop: AbortSignal): ExitCode {
  if (stop.aborted) return stop.reason instanceof FatalError ? stop.reason.exitCode : exitCodes.ownBug;
  return failures.length > 0 ? exitCodes.someFailed : exitCodes.allWritten;
}

/** A report of this program, or of the original one, as far as others need it. */
const savedReportSchema = z.object({
  timestamp: z.string(),
  mode: z.string(),
  statistics: z.partialRecord(
    z.enum(['jockeys', 'trainers', 'owners']),
    z.object({ total: z.number(), processed: z.number(), successful: z.number(), failed: z.number() }),
  ),
  strategy: z.string().nullable().optional(),
  requests: z.number().optional(),
  exit_code: z.number().optional(),
  stopped_by: z.string().nullable().optional(),
  failures: z.array(z.object({ id: z.string() })).optional(),
});

/** The ids of those that have failed in a run whose report is there. */
export function lastFailures(directory: string): Set<string> {
  const reports = [...savedReports(directory)];
  return new Set(reports.flatMap(({ failures = [] }) => failures.map(({ id }) => id)));
}

/** The reports in a folder, newest first; files that are none are passed over. */
export function* savedReports(directory: string) {
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

/** How many requests the last complete sweep took, and of how many entities it was; undefined if there is none. */
export function lastSweep(directory: string): { requests: number; entities: number } | undefined {
  for (const { strategy, exit_code, requests = 0, statistics } of savedReports(directory)) {
    const isComplete = exit_code === exitCodes.allWritten || exit_code === exitCodes.someFailed;
    const entities = Object.values(statistics).reduce((sum, { total }) => sum + total, 0);
    if (strategy === 'sweep' && isComplete) return { requests, entities };
  }
  return undefined;
}

/**
 * Writes the report under its timestamp (UTC), or a later one's name, never over another one but a refresh's over that
 * of the one before, and `page` of it beside it. That either cannot be written is the run's outcome if nothing worse is.
 */
export function saveReport(directory: string, report: Report, page?: (report: Report) => string): EndedRun {
  let path = '';
  try {
    const isRefresh = report.strategy === 'refresh';
    path = isRefresh ? join(directory, refreshReport) : claimName(directory, report.timestamp);
    writeReport(path, report);
  } catch (error) {
    removeQuietly(path);
    return { report: failedToSave(report, error), reportPath: null };
  }
  if (page === undefined) return { report, reportPath: path };
  try {
    const pagePath = path.replace(/json$/, 'html');
    writeWholeFile(pagePath, page(report));
    return { report, reportPath: path, pagePath };
  } catch (error) {
    const failed = failedToSave(report, error);
    try {
      writeReport(path, failed);
    } catch {
      // The one that is there tells of the run too.
    }
    return { report: failed, reportPath: path };
  }
}

/** Of each refresh in place of the one before: there may be one every five minutes. */
const refreshReport = 'statistics_refresh_report.json';

function writeReport(path: string, report: Report): void {
  writeWholeFile(path, `${JSON.stringify(report, null, 2)}\n`);
}

function claimName(directory: string, timestamp: string): string {
  for (let at = Date.parse(timestamp); ; at += 1000) {
    const time = new Date(at).toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '_');
    const path = join(directory, `statistics_population_report_${time}.json`);
    if (claimFile(path)) return path;
  }
}

function failedToSave(report: Report, error: unknown): Report {
  if (!(error instanceof FatalError)) throw error;
  if (report.stopped_by !== null) return report;
  return { ...report, exit_code: error.exitCode, stopped_by: error.message };
}
