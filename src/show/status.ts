import { basename, join, resolve } from 'node:path';
import { type EntityType, entityTypes } from '../entity-types.js';
import { exitCodeMeanings, exitCodes, FatalError } from '../errors.js';
import { readCheckpoint } from '../files/checkpoint.js';
import { activeRun } from '../files/locks.js';
import {
  type ByType,
  readReport,
  refreshReport,
  type SavedReport,
  savedReports,
  sumOf,
  type TypeStatistics,
} from '../files/report.js';
import { formatAgo, formatCount, formatDuration, formatEntities } from '../format.js';

/** What the local files tell about one entity type; instants are ISO text. */
export interface TypeStatus {
  running: ReturnType<typeof runningNow>;
  last_run: LastRun | null;
  /** The last run in which every selected entity was processed. */
  last_completed: LastRun | null;
  /** The same of a run that took the whole table. */
  last_full: LastRun | null;
  /** The last run, of more than a few, that ended with 0. */
  last_success: LastRun | null;
  /** The end of the first of the runs that have failed since. */
  failing_since: string | null;
  /** What --resume would leave out. */
  resume: ReturnType<typeof resumable>;
}

interface LastRun extends Pick<TypeStatistics, 'total' | 'successful' | 'failed'> {
  ended: string;
  exit_code: number | null;
  stopped_by: string | null;
  /** The path of its report. */
  report: string;
  /** What it wrote, what failed and what it did not come to, of all its types. */
  of_all: { successful: number; failed: number; left: number };
}

/** By type, of those that were asked for. */
export type Status = ByType<TypeStatus>;

/** Reads the locks, checkpoints and reports in `directory`; changes nothing. Throws FatalError (files unusable). */
export function readStatus(directory: string, now: Date, types: readonly EntityType[] = entityTypes): Status {
  const refresh = readReport(join(directory, refreshReport)) ?? [];
  const reports = [...savedReports(directory)].concat(refresh);
  reports.sort((a, b) => (a.timestamp < b.timestamp ? 1 : -1));
  const statusOf = (type: EntityType): TypeStatus => ({
    running: runningNow(directory, type, now),
    ...lastRuns(reports, type),
    resume: resumable(directory, type),
  });
  return Object.fromEntries(types.map((type) => [type.name, statusOf(type)]));
}

/** Its rate in steps a second of the phase. */
function runningNow(directory: string, type: EntityType, now: Date) {
  const run = activeRun(directory, type);
  if (run === undefined) return null;
  const { pid, phase_since, ...note } = run;
  const seconds = Math.max(1, (now.getTime() - Date.parse(phase_since)) / 1000);
  const rate = note.done / seconds;
  return { pid, ...note, rate, seconds_left: rate > 0 ? (note.total - note.done) / rate : null };
}

/** From the reports, newest first. */
function lastRuns(reports: SavedReport[], { name }: EntityType): Omit<TypeStatus, 'running' | 'resume'> {
  const none = { last_run: null, last_completed: null, last_full: null, last_success: null, failing_since: null };
  const found: Omit<TypeStatus, 'running' | 'resume'> = none;
  for (const { timestamp: ended, exit_code = null, stopped_by = null, path, statistics, ...more } of reports) {
    const { [name]: figures } = statistics;
    // One that ended before it had selected has no figures.
    if (more.mode !== 'production' || !(figures || more.entity_types?.includes(name))) continue;
    const { total = 0, successful = 0, failed = 0 } = figures ?? {};
    const of_all = {
      successful: sumOf(statistics, 'successful'),
      failed: sumOf(statistics, 'failed'),
      left: sumOf(statistics, 'total') - sumOf(statistics, 'processed'),
    };
    const run: LastRun = { ended, exit_code, total, successful, failed, stopped_by, report: path, of_all };
    const takesAll = (more.options?.limit ?? null) === null && !more.options?.skip_existing;
    const isCompleted = figures?.processed === total && more.strategy !== 'refresh';
    found.last_run ??= run;
    if (isCompleted) found.last_completed ??= run;
    if (isCompleted && takesAll && total > 0) found.last_full ??= run;
    if (!isFailed(run) && takesAll) found.last_success ??= run;
    if (isFailed(found.last_run) && isFailed(run) && !found.last_success) found.failing_since = ended;
  }
  return found;
}

/** A report of the original program has no exit code. */
function isFailed({ exit_code, failed }: LastRun): boolean {
  return exit_code === null ? failed > 0 : exit_code !== 0;
}

function resumable(directory: string, type: EntityType) {
  try {
    const found = readCheckpoint(directory, type);
    if (found === undefined || 'unusable' in found) return found ?? null;
    return { written: found.ids.size, saved: found.timestamp ?? null };
  } catch (error) {
    // One that cannot be read hides nothing else.
    if (error instanceof FatalError) return { unusable: error.message };
    throw error;
  }
}

/** After so long a table that is written daily is stale. */
const staleSeconds = 26 * 3600;

/** The status for people, in a few lines: what is the same of several types is told once. */
export function describeStatus(status: Status, directory: string, now: Date): string {
  const types = Object.entries(status);
  const isUnused = types.every(([, { running, last_run, resume }]) => !running && !last_run && !resume);
  const described = [describeRunning, describeFullRun, describeLastRun, describeResume].flatMap((describe) =>
    byValue(types, (one) => describe(one, now)),
  );
  const lines = isUnused ? ['No run yet.', 'Next: populate-all-statistics --all'] : described;
  return [...lines, `Files: ${resolve(directory)}`].join('\n');
}

/** What is told of types, each text once: with the names of those that it is told of, unless it is of all. */
function byValue(types: [name: string, status: TypeStatus][], describe: (status: TypeStatus) => string | null) {
  const names = new Map<string, string[]>();
  for (const [name, status] of types) {
    const value = describe(status);
    if (value !== null) names.set(value, [...(names.get(value) ?? []), name]);
  }
  return [...names].map(([text, of]) => (of.length === types.length ? text : `${of.join(', ')}: ${text}`));
}

function describeRunning({ running }: TypeStatus, now: Date): string | null {
  if (running === null) return null;
  const { pid, since, phase, done, total, seconds_left } = running;
  const count = total > 0 ? ` ${formatCount(done)}/${formatCount(total)}` : '';
  const left = seconds_left === null ? '' : `, ${formatDuration(seconds_left)} left`;
  return `Running as pid ${pid}, began ${formatAgo(since, now)}: ${phase}${count}${left}.`;
}

function secondsSince(instant: string, now: Date): number {
  return Math.max(0, (now.getTime() - Date.parse(instant)) / 1000);
}

const sumsOf = ({ of_all: { successful, failed, left } }: LastRun) =>
  `${formatCount(successful)} written, ${formatCount(failed)} failed${left > 0 ? `, ${formatCount(left)} not done` : ''}`;

function describeFullRun({ last_full: run }: TypeStatus, now: Date): string {
  if (run === null) return 'No full run yet.';
  const isStale = secondsSince(run.ended, now) > staleSeconds;
  const advice = isStale ? ' Stale: see whether the daily run is scheduled.' : '';
  return `Last full run ${formatAgo(run.ended, now)}: ${sumsOf(run)}.${advice}`;
}

/** The last run where it is not the full one; of one that failed why, since when all do, and what to do next. */
function describeLastRun(status: TypeStatus, now: Date): string | null {
  const { last_run: run, last_full, failing_since } = status;
  if (run === null || (!isFailed(run) && run.report === last_full?.report)) return null;
  const isRefresh = basename(run.report) === refreshReport;
  const what = `Last ${isRefresh ? 'refresh' : 'run'} ${formatAgo(run.ended, now)}`;
  if (!isFailed(run)) return `${what}: ${sumsOf(run)}.`;
  const again = isRefresh || !isLeftOver(status) ? 'Next: run again.' : 'Next: run again with --resume.';
  if (isInterrupted(run)) return `${what} was interrupted: ${sumsOf(run)}.\n${again}`;
  const since = formatAgo(failing_since ?? run.ended, now);
  const series = since === formatAgo(run.ended, now) ? '' : `All runs have FAILED since ${since}. `;
  const next = run.stopped_by ?? `${again} The reasons are in ${run.report}`;
  return `${series}${what} FAILED with exit code ${meaningOf(run)}: ${sumsOf(run)}.\n${next}`;
}

const isInterrupted = ({ exit_code }: LastRun) =>
  exit_code === exitCodes.interrupted || exit_code === exitCodes.terminated;

function meaningOf({ exit_code }: LastRun): string {
  const [, meaning] = Object.entries(exitCodeMeanings).find(([code]) => Number(code) === exit_code) ?? [];
  return meaning === undefined ? 'unknown' : `${exit_code} (${meaning})`;
}

/** What --resume would do where a run, or one that was killed, has left something to do. */
function describeResume(status: TypeStatus): string | null {
  const { resume } = status;
  if (resume === null) return null;
  if ('unusable' in resume) return `The checkpoint cannot be used: ${resume.unusable}`;
  return isLeftOver(status) ? `--resume leaves out what is written: ${formatEntities(resume.written)}.` : null;
}

/** Whether a checkpoint is of a run that has left something: one is saved before its run's report. */
function isLeftOver({ running, resume, last_run, last_completed }: TypeStatus): boolean {
  if (running !== null || resume === null || 'unusable' in resume) return false;
  if (last_completed === null || last_completed.failed > 0) return last_run === null || isFailed(last_run);
  return (resume.saved ?? '') > last_completed.ended;
}

/** Whether all is well, in one line for a monitor: each type's last run ended with 0, the newest success is not older. */
export function checkStatus(status: Status, maxAge: { text: string; ms: number }, now: Date) {
  const problems = byValue(Object.entries(status), ({ last_run: run, last_success: success, failing_since }) => {
    if (run === null) return 'no run yet';
    const last = `last success ${success ? formatAgo(success.ended, now) : 'never'}`;
    const since = formatAgo(failing_since ?? run.ended, now);
    if (isFailed(run)) return `failing since ${since}, exit code ${run.exit_code ?? 'unknown'}, ${last}`;
    const isOld = !success || secondsSince(success.ended, now) * 1000 > maxAge.ms;
    return isOld ? `${last}, allowed are ${maxAge.text}` : null;
  });
  if (problems.length > 0) return { isWell: false, line: `Not well: ${problems.join('; ')}.` };
  const [oldest = ''] = Object.values(status)
    .flatMap((one) => one.last_success?.ended ?? [])
    .sort();
  return { isWell: true, line: `All is well: last success ${formatAgo(oldest, now)}.` };
}
