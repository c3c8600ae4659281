import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { type EntityType, entityTypes } from '../entity-types.js';
import { exitCodeMeanings, exitCodes, FatalError, isInterruption } from '../errors.js';
import { readCheckpoint } from '../files/checkpoint.js';
import { lockingRun, type RunNote } from '../files/locks.js';
import { type ByType, sumOf, type TypeStatistics } from '../files/report.js';
import { readReport, refreshReport, type SavedReport, savedReports, takesAll } from '../files/saved-reports.js';
import { firstSentence, formatAgo, formatCount, formatDuration, formatEntities, printable } from '../format.js';

/** What the local files tell about one entity type; instants are ISO text. */
export interface TypeStatus {
  running: ReturnType<typeof runningNow>;
  /** The last run where that was killed, as far as it had come; also where only runs of a few have ended well since. */
  killed: (Omit<RunNote, 'phase' | 'phase_since' | 'paused'> & { phase: string | null }) | null;
  last_run: LastRun | null;
  /** The last run in which every selected entity was processed. */
  last_completed: LastRun | null;
  /** The same of a run that took the whole table. */
  last_full: LastRun | null;
  /** The last run, of more than a few, that ended with 0. */
  last_success: LastRun | null;
  /** The last run, where that failed, whatever a refresh has done since: it does not try again what failed. */
  failed_run: LastRun | null;
  /** The end of the first of the runs that have failed since the last success. */
  failing_since: string | null;
  /** What --resume would leave out. */
  resume: ReturnType<typeof resumable>;
}

interface LastRun extends Pick<TypeStatistics, 'total' | 'successful' | 'failed'> {
  /** When; or the end of the day of its oldest rows. */
  ended: string;
  exit_code: number | null;
  stopped_by: string | null;
  /** The path of its report. */
  report: string;
  /** What those before it had written that it resumed. */
  resumed: number;
  /** What it wrote, resumed, what failed and what it did not come to, of all its types. */
  of_all: { successful: number; resumed: number; failed: number; left: number };
}

/** By type, of those that were asked for. */
export type Status = ByType<TypeStatus>;

const aheadMs = 60_000;

/** Reads the locks, checkpoints and reports in `directory`; changes nothing. Throws FatalError (files unusable). */
export function readStatus(directory: string, now: Date, types: readonly EntityType[] = entityTypes): Status {
  const refresh = readReport(join(directory, refreshReport), true) ?? [];
  const all = [...savedReports(directory, true)].concat(refresh);
  // One of a clock that was ahead would hide all that has come after it.
  const reports = all.filter(({ timestamp }) => !(Date.parse(timestamp) > now.getTime() + aheadMs));
  reports.sort((a, b) => (a.timestamp < b.timestamp ? 1 : -1));
  const statusOf = (type: EntityType): TypeStatus => {
    const locking = lockingRun(directory, type);
    const last = lastRuns(reports, type);
    const killed = killedLast(locking) ?? last.killed;
    return { ...last, running: runningNow(locking, now), killed, resume: resumable(directory, type) };
  };
  return Object.fromEntries(types.map((type) => [type.name, statusOf(type)]));
}

type LockingRun = ReturnType<typeof lockingRun>;

/** Its rate in steps a second of the phase; when it ends nobody knows while it is paused. */
function runningNow(run: LockingRun, now: Date) {
  if (!run?.isAlive) return null;
  const { pid, phase_since, isAlive: _, ...note } = run;
  const seconds = Math.max(1, (now.getTime() - Date.parse(phase_since)) / 1000);
  const rate = note.done / seconds;
  const isPaused = note.paused !== null;
  return { pid, ...note, rate, seconds_left: rate > 0 && !isPaused ? (note.total - note.done) / rate : null };
}

function killedLast(run: LockingRun): TypeStatus['killed'] {
  if (run === undefined || run.isAlive) return null;
  const { since, strategy, phase, done, total } = run;
  return { since, strategy, phase, done, total };
}

type LastRuns = Omit<TypeStatus, 'running' | 'resume'>;

/** From the reports, newest first. */
function lastRuns(reports: SavedReport[], { name }: EntityType): LastRuns {
  const found: LastRuns = {
    killed: null,
    last_run: null,
    last_completed: null,
    last_full: null,
    last_success: null,
    failed_run: null,
    failing_since: null,
  };
  let good: 'nothing' | 'a few' | 'all' = 'nothing';
  for (const report of ofType(reports, name)) {
    const { strategy, statistics, after_killed } = report;
    const run = lastRun(report, name);
    const isOfAll = takesAll(report);
    const isCompleted = statistics[name]?.processed === run.total && strategy !== 'refresh';
    found.last_run ??= run;
    if (isCompleted) found.last_completed ??= run;
    if (isCompleted && isOfAll && run.total + run.resumed > 0) found.last_full ??= run;
    if (!isFailed(run) && isOfAll) found.last_success ??= run;
    // The newest of them tells whether something is wrong, the oldest since when.
    const isMadeGood = good === 'all' || (good === 'a few' && !isOfAll);
    if (isFailed(run) && !isMadeGood) {
      found.failed_run ??= run;
      found.failing_since = run.ended;
    }
    if (!isFailed(run) && strategy !== 'refresh' && good !== 'all') good = isOfAll ? 'all' : 'a few';
    // A refresh writes anew what that one may have written.
    if (after_killed && found.last_success === null) found.killed ??= { ...killedBefore, since: after_killed };
  }
  return found;
}

/** All that is known of a killed run when others have run since. */
const killedBefore = { strategy: null, phase: null, done: 0, total: 0 };

/**
 * The reports of runs of a type, without those that say nothing of its rows: a resume that found nothing left to do
 * has made good only a run just before it that had written rows and failed, or was killed.
 */
function ofType(reports: SavedReport[], name: EntityType['name']): SavedReport[] {
  let before: LastRun | undefined;
  // One that ended before it had selected has no figures.
  const isOfType = ({ mode, statistics, entity_types }: SavedReport) =>
    mode === 'production' && (statistics[name] !== undefined || entity_types?.includes(name));
  const tells = (report: SavedReport) => {
    const run = lastRun(report, name);
    const isVain = report.options?.resume === true && run.total === 0 && !isFailed(run);
    const isToBeMadeGood = report.after_killed || (before && isFailed(before) && before.successful > 0);
    if (isVain && !isToBeMadeGood) return false;
    before = run;
    return true;
  };
  return reports.filter(isOfType).reverse().filter(tells).reverse();
}

/** A run as it is told of one of its types. */
function lastRun(report: SavedReport, name: EntityType['name']): LastRun {
  const { timestamp, exit_code, stopped_by, path, statistics, options, rows_from } = report;
  const { total = 0, successful = 0, failed = 0, skipped = 0 } = statistics[name] ?? {};
  const resumedOf = (count: number) => (options?.resume ? count : 0);
  const of_all = {
    successful: sumOf(statistics, 'successful'),
    resumed: resumedOf(sumOf(statistics, 'skipped')),
    failed: sumOf(statistics, 'failed'),
    left: sumOf(statistics, 'total') - sumOf(statistics, 'processed'),
  };
  // So old are the rows that it has left as they are.
  const ended = rows_from ? `${rows_from}T23:59:59.000Z` : timestamp;
  const told = { ended, exit_code: exit_code ?? null, stopped_by: stopped_by ?? null, report: path };
  return { ...told, total, successful, failed, resumed: resumedOf(skipped), of_all };
}

/** Whether something is wrong with the type's rows. A report of the original program has no exit code. */
function isFailed({ exit_code, total, successful, failed }: LastRun): boolean {
  if (exit_code === null || exit_code === exitCodes.someFailed) return failed > 0;
  const isWritten = total > 0 && successful === total;
  return exit_code !== exitCodes.allWritten && !(isInterruption(exit_code) && isWritten);
}

function resumable(directory: string, type: EntityType) {
  try {
    const found = readCheckpoint(directory, type);
    if (found === undefined || 'unusable' in found) return found ?? null;
    return { written: found.ids.length, saved: found.timestamp ?? null };
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
  const all = Object.values(status);
  const isUnused = all.every((one) => !one.running && !one.killed && !one.last_run && !one.resume);
  if (isUnused) {
    const where = existsSync(directory) ? '' : '. There is no such folder: ask where the runs are started.';
    return `No run yet.\nNext: populate-all-statistics --all\nFiles: ${resolve(directory)}${where}`;
  }
  const describes = [
    describeRunning,
    describeKilled,
    describeFullRun,
    describeLastRun,
    describeFailedRun,
    describeResume,
  ];
  const described = describes.flatMap((describe) => byValue(types, (one) => describe(one, now, all)));
  return [...described, `Files: ${resolve(directory)}`].join('\n');
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
  const { pid, since, phase, done, total, paused, seconds_left } = running;
  const count = total > 0 ? ` ${formatCount(done)}/${formatCount(total)}` : '';
  const pausedSeconds = paused ? secondsSince(now.toISOString(), new Date(paused.until)) : 0;
  const pause = paused ? `, paused for ${formatDuration(pausedSeconds)}: ${printable(paused.reason)}` : '';
  const left = seconds_left === null ? pause : `, ${formatDuration(seconds_left)} left`;
  return `Running as pid ${pid}, began ${formatAgo(since, now)}: ${phase}${count}${left}.`;
}

function describeKilled({ killed, running }: TypeStatus, now: Date, all: readonly TypeStatus[]): string | null {
  if (killed === null) return null;
  const { since, phase, done, total } = killed;
  const count = total > 0 ? ` ${formatCount(done)}/${formatCount(total)}` : '';
  const isResumable = all.some((one) => one.killed?.since === since && isLeftOver(one));
  const what = phase ?? 'no run of all rows has ended well since then';
  // Whether something is to be done shows when the one that runs has ended.
  const next = running ? '' : `\n${nextStep(isResumable)}`;
  return `The run that began ${formatAgo(since, now)} was killed: ${what}${count}.${next}`;
}

const nextStep = (isResumable: boolean) => `Next: run again${isResumable ? ' with --resume' : ''}.`;

function secondsSince(instant: string, now: Date): number {
  return Math.max(0, (now.getTime() - Date.parse(instant)) / 1000);
}

function sumsOf({ successful, resumed, failed, left }: LastRun['of_all']): string {
  const before = resumed > 0 ? ` and ${formatCount(resumed)} before` : '';
  return `${formatCount(successful)} written${before}, ${formatCount(failed)} failed${left > 0 ? `, ${formatCount(left)} not done` : ''}`;
}

function describeFullRun({ last_full: run, failed_run }: TypeStatus, now: Date): string {
  if (run === null) return 'No full run yet.';
  // Why there is no newer one is told of a run that failed.
  const isStale = failed_run === null && secondsSince(run.ended, now) > staleSeconds;
  const advice = isStale ? ' Stale: see whether the daily run is scheduled.' : '';
  // What it left of other types is told of those.
  const sums = sumsOf(run.of_all.left > 0 ? { ...run, left: 0 } : run.of_all);
  return `Last full run ${formatAgo(run.ended, now)}: ${sums}.${advice}`;
}

/** The last run where that is not the full one and did not fail, for other types neither. */
function describeLastRun(
  { last_run: run, last_full }: TypeStatus,
  now: Date,
  all: readonly TypeStatus[],
): string | null {
  if (run === null || isFailed(run) || run.report === last_full?.report) return null;
  if (all.some(({ failed_run }) => failed_run?.report === run.report)) return null;
  return `Last ${kindOf(run)} ${formatAgo(run.ended, now)}: ${sumsOf(run.of_all)}.`;
}

const kindOf = ({ report }: LastRun) => (basename(report) === refreshReport ? 'refresh' : 'run');

/** The last run that failed: why, since when all do, and what to do next. */
function describeFailedRun(status: TypeStatus, now: Date, all: readonly TypeStatus[]): string | null {
  const { failed_run: run, last_run, failing_since } = status;
  if (run === null) return null;
  const isLast = run.report === last_run?.report || (last_run && kindOf(last_run) !== kindOf(run));
  const what = `${isLast ? 'Last' : 'The'} ${kindOf(run)} ${formatAgo(run.ended, now)}`;
  // What to do about it shows when the one that runs has ended.
  const stopped = status.running ? run.stopped_by && `${firstSentence(run.stopped_by)}.` : run.stopped_by;
  if (isInterruption(run.exit_code)) return `${what}: ${sumsOf(run.of_all)}.\n${stopped}`;
  const since = formatAgo(failing_since ?? run.ended, now);
  const series = since === formatAgo(run.ended, now) ? '' : `All runs have FAILED since ${since}. `;
  const isResumable =
    kindOf(run) === 'run' && all.some((one) => one.failed_run?.report === run.report && isLeftOver(one));
  // One next step: that of a later run that was killed.
  const next = status.killed || status.running ? '' : `${nextStep(isResumable)} `;
  const told = stopped ?? `${next}The reasons are in ${run.report}`;
  return `${series}${what} FAILED with exit code ${meaningOf(run)}: ${sumsOf(run.of_all)}.\n${told}`;
}

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
function isLeftOver({ running, resume, failed_run, last_run, last_completed, last_success }: TypeStatus): boolean {
  if (running !== null || resume === null || 'unusable' in resume) return false;
  if ((resume.saved ?? '') < (last_success?.ended ?? '') && failed_run === null) return false;
  if (last_completed === null || last_completed.failed > 0) return last_run === null || failed_run !== null;
  return (resume.saved ?? '') > last_completed.ended;
}

/**
 * Whether all is well, in one line for a monitor: each type's last run ended with 0, was not killed, and the newest
 * success is not older.
 */
export function checkStatus(status: Status, maxAge: { text: string; ms: number }, now: Date) {
  const problems = byValue(Object.entries(status), (one) => {
    const { killed, last_run, last_success: success, failed_run, failing_since } = one;
    if (last_run === null && killed === null) return 'no run yet';
    const last = `last success ${success ? formatAgo(success.ended, now) : 'never'}`;
    if (killed) return `the run that began ${formatAgo(killed.since, now)} was killed, ${last}`;
    if (failed_run) {
      const since = formatAgo(failing_since ?? failed_run.ended, now);
      return `failing since ${since}, exit code ${failed_run.exit_code ?? 'unknown'}, ${last}`;
    }
    const isOld = !success || secondsSince(success.ended, now) * 1000 > maxAge.ms;
    return isOld ? `${last}, allowed are ${maxAge.text}` : null;
  });
  if (problems.length > 0) return { isWell: false, line: `Not well: ${problems.join('; ')}.` };
  const [oldest = ''] = Object.values(status)
    .flatMap((one) => one.last_success?.ended ?? [])
    .sort();
  return { isWell: true, line: `All is well: last success ${formatAgo(oldest, now)}.` };
}
