import { join, resolve } from 'node:path';
import { type EntityType, type EntityTypeName, entityTypes } from '../entity-types.js';
import { FatalError } from '../errors.js';
import { readCheckpoint } from '../files/checkpoint.js';
import { readReport, type SavedReport, savedReports, type TypeStatistics } from '../files/report.js';
import { activeRun } from '../files/run-lock.js';
import { formatAgo, formatCount, formatDuration } from '../format.js';

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
}

/** By type, of those that were asked for. */
export type Status = Partial<Record<EntityTypeName, TypeStatus>>;

const refreshReport = 'statistics_refresh_report.json';

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
  const found: Omit<TypeStatus, 'running' | 'resume'> = { ...noRuns };
  for (const report of reports) {
    const { timestamp: ended, exit_code = null, stopped_by = null, path, options } = report;
    const figures = report.statistics[name];
    // One that ended before it had selected has no figures.
    if (report.mode !== 'production' || !(figures || report.entity_types?.includes(name))) continue;
    const { total, processed, successful, failed } = figures ?? noFigures;
    const run: LastRun = { ended, exit_code, total, successful, failed, stopped_by, report: path };
    const takesAll = (options?.limit ?? null) === null && !options?.skip_existing;
    const isCompleted = figures !== undefined && processed === total && !path.endsWith(refreshReport);
    found.last_run ??= run;
    if (isCompleted) found.last_completed ??= run;
    if (isCompleted && takesAll && total > 0) found.last_full ??= run;
    if (!isFailed(run) && takesAll) found.last_success ??= run;
    if (isFailed(found.last_run) && isFailed(run) && !found.last_success) found.failing_since = ended;
  }
  return found;
}

const noRuns = { last_run: null, last_completed: null, last_full: null, last_success: null, failing_since: null };
const noFigures = { total: 0, processed: 0, successful: 0, failed: 0 };

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

/** The status for people, in a few lines: what concerns several types alike is told once. */
export function describeStatus(status: Status, directory: string, now: Date): string {
  const folder = `Files: ${resolve(directory)}`;
  const types = Object.entries(status);
  const isUnused = types.every(([, { running, last_run, resume }]) => !running && !last_run && !resume);
  if (isUnused) return `No run yet.\nNext: populate-all-statistics --all\n${folder}`;
  const running = byValue(types, ({ running }) => running && describeRunning(running, now));
  return [
    ...running.map(([what, names]) => `Running for ${names}: ${what}`),
    ...describeFullRuns(types, now),
    ...describeLastRuns(types, now),
    ...describeResume(types),
    folder,
  ].join('\n');
}

type Types = [name: string, status: TypeStatus][];

/** The distinct values of types, each with the types that have it, by name; null is none. */
function byValue(types: Types, describe: (status: TypeStatus) => string | null) {
  const names = new Map<string, string[]>();
  for (const [name, status] of types) {
    const value = describe(status);
    if (value !== null) names.set(value, [...(names.get(value) ?? []), name]);
  }
  return [...names].map(([value, some]): [string, string] => [value, some.join(', ')]);
}

function describeRunning(run: NonNullable<TypeStatus['running']>, now: Date): string {
  const { pid, since, phase, done, total, seconds_left } = run;
  const count = total > 0 ? ` ${formatCount(done)}/${formatCount(total)}` : '';
  const left = seconds_left === null ? '' : `, ${formatDuration(seconds_left)} left`;
  return `pid ${pid}, began ${formatAgo(secondsSince(since, now))}, ${phase}${count}${left}`;
}

function secondsSince(instant: string, now: Date): number {
  return Math.max(0, (now.getTime() - Date.parse(instant)) / 1000);
}

/** The runs that `pick` finds, each with its sums of the types concerned, and how many of all these are. */
function runsOf(types: Types, pick: (status: TypeStatus) => LastRun | null, now: Date) {
  return byValue(types, (status) => pick(status)?.report ?? null).map(([report, names]) => {
    const concerned = types.filter(([, status]) => pick(status)?.report === report).map(([, status]) => status);
    const sum = (key: 'successful' | 'failed') =>
      formatCount(concerned.reduce((total, status) => total + (pick(status)?.[key] ?? 0), 0));
    const [status] = concerned;
    const run = status && pick(status);
    const ageSeconds = secondsSince(run?.ended ?? '', now);
    const ofTypes = concerned.length === types.length ? '' : ` of ${names}`;
    const sums = `${sum('successful')} written, ${sum('failed')} failed`;
    return { run, since: status?.failing_since, ageSeconds, what: `${ofTypes} ${formatAgo(ageSeconds)}`, sums };
  });
}

function describeFullRuns(types: Types, now: Date): string[] {
  const found = runsOf(types, ({ last_full }) => last_full, now).map(({ ageSeconds, what, sums }) => {
    const stale = ageSeconds > staleSeconds ? ' Stale: see whether the daily run is scheduled.' : '';
    return `Last full run${what}: ${sums}.${stale}`;
  });
  const none = types.filter(([, { last_full }]) => last_full === null).map(([name]) => name);
  return none.length > 0 ? [...found, `No full run yet of ${none.join(', ')}.`] : found;
}

/** The last run where it is not the full one, and what fails since when. */
function describeLastRuns(types: Types, now: Date): string[] {
  const pick = ({ last_run: run, last_full }: TypeStatus) =>
    run && (isFailed(run) || run.report !== last_full?.report) ? run : null;
  return runsOf(types, pick, now).flatMap(({ run, since, what, sums }) => {
    if (!run || !isFailed(run)) return `Last run${what}: ${sums}.`;
    const first = since && since !== run.ended ? `, the first of several ${formatAgo(secondsSince(since, now))}` : '';
    return [
      `Last run${what} FAILED with exit code ${run.exit_code ?? 'unknown'}${first}: ${sums}.`,
      run.stopped_by ?? `Next: run again with --resume. The reasons are in ${run.report}`,
    ];
  });
}

/** What --resume would do where a run has left something to do. */
function describeResume(types: Types): string[] {
  const unusable = byValue(types, ({ resume }) => (resume && 'unusable' in resume ? resume.unusable : null));
  const resumed = types.flatMap(([name, { resume, last_run }]) => {
    const isOpen = last_run === null || isFailed(last_run);
    return isOpen && resume && 'written' in resume ? `${formatCount(resume.written)} ${name}` : [];
  });
  return [
    ...unusable.map(([why, names]) => `The checkpoint of ${names} cannot be used: ${why}`),
    ...(resumed.length > 0 ? [`--resume would leave out ${resumed.join(', ')}.`] : []),
  ];
}

/** Whether all is well, in one line for a monitor: each type's last run ended with 0, the newest success is not older. */
export function checkStatus(status: Status, maxAge: { text: string; ms: number }, now: Date) {
  const problems = byValue(Object.entries(status), ({ last_run: run, last_success: success, failing_since }) => {
    if (run === null) return 'no run yet';
    const ago = success ? formatAgo(secondsSince(success.ended, now)) : 'never';
    if (isFailed(run)) {
      const since = formatAgo(secondsSince(failing_since ?? run.ended, now));
      return `failing since ${since}, exit code ${run.exit_code ?? 'unknown'}, last success ${ago}`;
    }
    const isOld = !success || secondsSince(success.ended, now) * 1000 > maxAge.ms;
    return isOld ? `last success ${ago}, allowed are ${maxAge.text}` : null;
  });
  if (problems.length > 0) {
    return { isWell: false, line: `Not well: ${problems.map(([what, names]) => `${names}: ${what}`).join('; ')}.` };
  }
  const oldest = Math.max(...Object.values(status).map((one) => secondsSince(one.last_success?.ended ?? '', now)));
  return { isWell: true, line: `All is well: last success ${formatAgo(oldest)}.` };
}
