import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import * as z from 'zod';
import { type EntityTypeName, entityTypes } from '../entity-types.js';
import { type ExitCode, errorCode, exitCodes, FatalError, isInterruption } from '../errors.js';
import type { Batch, Failure, RunEvent, Strategy, Written } from '../events.js';
import type { PopulateOptions } from '../options.js';
import { columnOf, lastDateColumn, utcDate } from '../statistics.js';
import { claimFile, filesUnusable, removeQuietly, writeWholeFile } from './whole-file.js';

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

export type ByType<Value> = Partial<Record<EntityTypeName, Value>>;

/** The run report, a format that other programs read: keys may be added, none renamed. */
export interface Report {
  /** When it was written; ISO instant, as `started_at`. */
  timestamp: string;
  started_at: string;
  entity_types: EntityTypeName[];
  mode: 'production' | 'dry_run';
  options: { skip_existing: boolean; stale_after: string | null; resume: boolean; limit: number | null };
  statistics: ByType<TypeStatistics>;
  overall: Record<'total_entities' | 'total_processed' | 'total_successful' | 'total_failed' | 'duration', number>;
  strategy: Strategy | null;
  requests: number;
  /** The rows written that tell other last dates, or other runs or wins of the last 30 days, than before. */
  changed: number;
  /** What a witness contradicts and --force had written all the same. */
  forced: string[];
  exit_code: ExitCode;
  /** Why the run ended before its end, for people. */
  stopped_by: string | null;
  failures: Failure[];
  /** The UTC day of the oldest rows that it left as they are, for --resume; null if they are of its own day. */
  rows_from: string | null;
  /** When the run before began, where that was killed (ISO instant). */
  after_killed: string | null;
}

/** How a run ended. */
export interface EndedRun {
  report: Report;
  /** Null if the report could not be written. */
  reportPath: string | null;
  /** The report as a page, if that was asked for and could be written. */
  pagePath?: string;
}

/** So many runs' reports and pages are kept, a year's and more of daily ones. */
const keptRuns = 400;
/** So many of them a page tells. */
const toldRuns = 14;
/** A report, page or lock before it is whole, which takes an instant: an old one is a killed run's. */
const draftName =
  /^(statistics_population_report_\d{8}_\d{6}|run_\w+\.lock|request_budget\.lock|season\.json\.gz)\..*tmp$/;
const draftMs = 60 * 60 * 1000;

/** What a report gathers as the run goes on. */
type Gathered = Pick<Report, 'statistics' | 'strategy' | 'requests' | 'changed' | 'forced' | 'failures' | 'rows_from'>;

/** The report of a run, which grows as it listens. `after_killed`: see the Report. */
export function startReport(options: PopulateOptions, startedAt: Date, after_killed: string | null = null) {
  const { entities, limit = null, skipExisting, staleAfter, resume, dryRun } = options;
  const startedAtMs = performance.now();
  const today = utcDate(startedAt.getTime());
  const none = { statistics: {}, strategy: null, requests: 0, changed: 0, forced: [], failures: [], rows_from: null };
  const gathered: Gathered = none;
  const { statistics, forced, failures } = gathered;
  const sinceMs = new Map<EntityTypeName, number>();
  let gatheringMs = startedAtMs;

  function take(event: RunEvent): void {
    if (event.kind === 'request') gathered.requests += 1;
    else if (event.kind === 'forced') forced.push(event.what);
    else if (event.kind === 'selected') {
      statistics[event.type.name] = { ...noFigures, total: event.total, skipped: event.skipped };
      const { rowsFrom = today } = event;
      if (rowsFrom < (gathered.rows_from ?? today)) gathered.rows_from = rowsFrom;
    } else if (event.kind === 'gathering') {
      gathered.strategy = event.strategy;
      gatheringMs = performance.now();
    } else if (event.kind === 'batch') {
      const { name } = event.type;
      failures.push(...event.failures);
      gathered.changed += changedRows(event);
      // A sweep serves all types: its time is part of each. A walk comes to one type after the other.
      const since = sinceMs.get(name) ?? gatheringMs;
      sinceMs.set(name, since);
      if (gathered.strategy === 'walk') gatheringMs = performance.now();
      statistics[name] = figuresAfter(statistics[name], event, (performance.now() - since) / 1000);
    }
  }

  /** The report as it stands; a run stopped by an error has that one's exit code and message. */
  const ended = (stop: AbortSignal): Report => ({
    timestamp: new Date().toISOString(),
    started_at: startedAt.toISOString(),
    entity_types: entities.map(({ name }) => name),
    mode: dryRun ? 'dry_run' : 'production',
    options: { skip_existing: skipExisting, stale_after: staleAfter?.text ?? null, resume, limit },
    exit_code: exitCodeOf(failures, stop),
    stopped_by: stop.aborted ? `${stop.reason.message}${nextAfter(stop.reason, gathered, resume)}` : null,
    overall: overallOf(statistics, performance.now() - startedAtMs),
    ...gathered,
    after_killed,
  });
  return { take, ended };
}

function overallOf(statistics: Report['statistics'], durationMs: number): Report['overall'] {
  return {
    total_entities: sumOf(statistics, 'total'),
    total_processed: sumOf(statistics, 'processed'),
    total_successful: sumOf(statistics, 'successful'),
    total_failed: sumOf(statistics, 'failed'),
    duration: Number((durationMs / 1000).toFixed(2)),
  };
}

const noFigures = { total: 0, processed: 0, successful: 0, failed: 0, skipped: 0, duration: 0, rate: 0 };

/** A type's figures after another batch, so many seconds since its start. */
function figuresAfter(before: TypeStatistics = noFigures, batch: Batch, seconds: number): TypeStatistics {
  const { written, failures, passedOver = 0 } = batch;
  const total = before.total - passedOver;
  const successful = before.successful + written.length;
  const failed = before.failed + failures.length;
  const processed = successful + failed;
  const duration = Number(seconds.toFixed(2));
  const rate = Number((processed / Math.max(seconds, 0.001)).toFixed(3));
  return { ...before, total, successful, failed, processed, duration, rate };
}

function changedRows({ type, written }: Batch): number {
  const [lastDate, runs] = [lastDateColumn(type), columnOf(type, 'recent_30d_{runs}')];
  const isAsBefore = ({ entity, row }: Written) =>
    row[lastDate] === entity.lastDate &&
    row.last_win_date === entity.lastWinDate &&
    row[runs] === entity.recentRuns &&
    row.recent_30d_wins === entity.recentWins;
  return written.filter((one) => !isAsBefore(one)).length;
}

/** A figure of a report's types, summed up. */
export function sumOf<Figure extends string>(statistics: ByType<Record<Figure, number>>, figure: Figure): number {
  return Object.values(statistics).reduce((sum, one) => sum + one[figure], 0);
}

/** How a run ends, by what it was stopped with (a FatalError, or a bug of ours) and by its failures. */
function exitCodeOf(failures: readonly Failure[], stop: AbortSignal): ExitCode {
  if (stop.aborted) return stop.reason instanceof FatalError ? stop.reason.exitCode : exitCodes.ownBug;
  return failures.length > 0 ? exitCodes.someFailed : exitCodes.allWritten;
}

/** What to do next, beside what the reason says: only a run that has written rows has left checkpoints of its own. */
function nextAfter(reason: unknown, { strategy, statistics }: Gathered, resume: boolean): string {
  if (!(reason instanceof FatalError) || reason.exitCode === exitCodes.filesUnusable) return '';
  const written = sumOf(statistics, 'successful');
  const isResumable = strategy !== 'refresh' && (written > 0 || (resume && sumOf(statistics, 'skipped') > 0));
  if (!isInterruption(reason.exitCode))
    return isResumable ? ' With --resume the next run leaves out what is written.' : '';
  if (written > 0 && written === sumOf(statistics, 'total')) return ' Everything was written by then.';
  return isResumable ? ' Run again with --resume to go on.' : written > 0 ? ' Run again.' : '';
}

/** A report of this program, or of the original one, as far as others need it. */
const savedReportSchema = z.object({
  timestamp: z.string(),
  mode: z.string(),
  entity_types: z.array(z.string()).optional(),
  options: z
    .object({
      skip_existing: z.boolean(),
      stale_after: z.string().nullable(),
      resume: z.boolean(),
      limit: z.number().nullable(),
    })
    .partial()
    .optional(),
  statistics: z.partialRecord(
    z.enum(entityTypes.map(({ name }) => name)),
    z.object({
      total: z.number(),
      processed: z.number(),
      successful: z.number(),
      failed: z.number(),
      skipped: z.number().default(0),
    }),
  ),
  strategy: z.string().nullable().optional(),
  requests: z.number().optional(),
  changed: z.number().optional(),
  overall: z.object({ duration: z.number() }).optional(),
  exit_code: z.number().optional(),
  stopped_by: z.string().nullable().optional(),
  failures: z.array(z.object({ id: z.string() })).optional(),
  rows_from: z.string().nullable().optional(),
  after_killed: z.string().nullable().optional(),
});

export type SavedReport = z.infer<typeof savedReportSchema> & { path: string };

/** A report or a page, and its run's time. */
const savedName = /^statistics_population_report_(\d{8}_\d{6})\.(json|html)$/;

/** Whether a run was to write every row, at once or by going on from a checkpoint. */
export const takesAll = ({
  options: { limit = null, skip_existing, stale_after = null } = {},
}: Pick<SavedReport, 'options'>) => limit === null && !skip_existing && stale_after === null;

/** The ids of those that have failed in a run whose report is there. */
export function lastFailures(directory: string): Set<string> {
  const reports = [...savedReports(directory)];
  return new Set(reports.flatMap(({ failures = [] }) => failures.map(({ id }) => id)));
}

/** The reports in a folder, newest first; files that are none are passed over. Throws as `readReport` does. */
export function* savedReports(directory: string, mustRead = false): Generator<SavedReport> {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    if (errorCode(error) === undefined) throw error;
    throw filesUnusable(`The folder ${directory} cannot be read`, error);
  }
  for (const name of names.sort().reverse()) {
    if (savedName.exec(name)?.[2] !== 'json') continue;
    const report = readReport(join(directory, name), mustRead);
    if (report) yield report;
  }
}

/**
 * The report at `path`; undefined if it is another program's file, or one that is being written. Throws a FatalError
 * (files unusable) where whoever asks `mustRead` it and may not.
 */
export function readReport(path: string, mustRead = false): SavedReport | undefined {
  try {
    return { ...savedReportSchema.parse(JSON.parse(readFileSync(path, 'utf8'))), path };
  } catch (error) {
    if (mustRead && errorCode(error) === 'EACCES') throw filesUnusable(`${path} cannot be read`, error);
    return undefined;
  }
}

/** A run before this one; `page` is the name of its page, where there is one. */
export type PastRun = SavedReport & { page: string | undefined };

/** The runs other than the one whose report is at `ownPath`, newest first. */
export function* runsBefore(directory: string, ownPath: string | null): Generator<PastRun> {
  for (const report of savedReports(directory)) {
    if (report.path === ownPath || report.mode !== 'production') continue;
    const page = basename(report.path).replace(/json$/, 'html');
    yield { ...report, page: existsSync(join(directory, page)) ? page : undefined };
  }
}

/** How many requests the last complete sweep took, and of how many entities it was; undefined if there is none. */
export function lastSweep(directory: string): { requests: number; entities: number } | undefined {
  for (const { strategy, exit_code, requests = 0, statistics } of savedReports(directory)) {
    const isComplete = exit_code === exitCodes.allWritten || exit_code === exitCodes.someFailed;
    if (strategy === 'sweep' && isComplete) return { requests, entities: sumOf(statistics, 'total') };
  }
  return undefined;
}

/**
 * Removes the reports and pages of all but the latest runs and the last that went well, and the drafts that killed
 * runs have left. Checkpoints stay.
 */
function removeOld(directory: string): void {
  const names = readdirSync(directory);
  const timeOf = (name: string) => savedName.exec(name)?.[1];
  const times = [...new Set(names.flatMap((name) => timeOf(name) ?? []))].sort();
  const old = new Set(times.slice(0, -keptRuns));
  for (const report of old.size > 0 ? runsBefore(directory, null) : []) {
    if (report.exit_code !== exitCodes.allWritten || !takesAll(report)) continue;
    old.delete(timeOf(basename(report.path)) ?? '');
    break;
  }
  for (const name of names) {
    const path = join(directory, name);
    const ageMs = () => Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    const isAbandoned = draftName.test(name) && ageMs() > draftMs;
    if (isAbandoned || old.has(timeOf(name) ?? '')) removeQuietly(path);
  }
}

/**
 * Writes the report under its timestamp (UTC), or a later one's name, never over another one but a refresh's over that
 * of the one before, and `page` of it beside it. That either cannot be written is the run's outcome if nothing worse
 * is. Old ones are removed.
 */
export function saveReport(
  directory: string,
  report: Report,
  page?: (report: Report, before: readonly PastRun[]) => string,
): EndedRun {
  let path = '';
  try {
    path = writeReport(directory, report);
  } catch (error) {
    return { report: failedToSave(report, error), reportPath: null };
  }
  removeOld(directory);
  if (page === undefined) return { report, reportPath: path };
  try {
    const pagePath = path.replace(/json$/, 'html');
    const before: PastRun[] = [];
    for (const run of runsBefore(directory, path)) if (before.push(run) === toldRuns) break;
    const markup = page(report, before);
    writeWholeFile(pagePath, markup);
    const isFull = report.mode === 'production' && report.strategy !== 'refresh' && takesAll(report);
    if (isFull) writeWholeFile(join(directory, 'latest.html'), markup);
    return { report, reportPath: path, pagePath };
  } catch (error) {
    const failed = failedToSave(report, error);
    try {
      writeWholeFile(path, textOf(failed));
    } catch {
      // The one that is there tells of the run too.
    }
    return { report: failed, reportPath: path };
  }
}

/** Of each refresh in place of the one before: there may be one every five minutes. */
export const refreshReport = 'statistics_refresh_report.json';

const textOf = (report: Report) => `${JSON.stringify(report, null, 2)}\n`;

/** Returns its path. Throws a FatalError (files unusable). */
function writeReport(directory: string, report: Report): string {
  if (report.strategy === 'refresh') {
    const path = join(directory, refreshReport);
    writeWholeFile(path, textOf(report));
    return path;
  }
  for (let at = Date.parse(report.timestamp); ; at += 1000) {
    const time = new Date(at).toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '_');
    const path = join(directory, `statistics_population_report_${time}.json`);
    if (claimFile(path, textOf(report), true)) return path;
  }
}

function failedToSave(report: Report, error: unknown): Report {
  if (!(error instanceof FatalError)) throw error;
  if (report.stopped_by !== null) return report;
  return { ...report, exit_code: error.exitCode, stopped_by: error.message };
}
