import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import * as z from 'zod';
import { entityTypes } from '../entity-types.js';
import { errorCode, exitCodes, FatalError } from '../errors.js';
import { type EndedRun, type Report, sumOf } from './report.js';
import { claimFile, filesUnusable, removeQuietly, writeWholeFile } from './whole-file.js';

/** So many runs' reports and pages are kept, a year's and more of daily ones. */
const keptRuns = 400;
/** So many of them a page tells. */
const toldRuns = 14;
/** A report, page or lock before it is whole, which takes an instant: an old one is a killed run's. */
const draftName =
  /^(statistics_population_report_\d{8}_\d{6}|run_\w+\.lock|request_budget\.lock|season\.json\.gz)\..*tmp$/;
const draftMs = 60 * 60 * 1000;

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
function* runsBefore(directory: string, ownPath: string | null): Generator<PastRun> {
  for (const report of savedReports(directory)) {
    if (report.path === ownPath || report.mode !== 'production') continue;
    const page = basename(report.path).replace(/json$/, 'html');
    yield { ...report, page: existsSync(join(directory, page)) ? page : undefined };
  }
}

/** The run before the one whose report this is, of the same types; undefined if there is none. */
export function runBefore(directory: string, { report, reportPath }: EndedRun): SavedReport | undefined {
  const types = report.entity_types.join();
  for (const run of runsBefore(directory, reportPath)) if (run.entity_types?.join() === types) return run;
  return undefined;
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
