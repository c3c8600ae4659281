import { type EntityType, type EntityTypeName, entityTypes } from '../entity-types.js';
import { readCheckpoint } from '../files/checkpoint.js';
import { savedReports, type TypeStatistics } from '../files/report.js';
import { activeRun } from '../files/run-lock.js';
import { formatCount, formatDuration, formatRate } from '../format.js';

/** What the local files tell about one entity type; instants are ISO text. */
export interface TypeStatus {
  running: ReturnType<typeof runningNow>;
  last_run: LastRun | null;
  /** The last run in which every selected entity was processed. */
  last_completed: LastRun | null;
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

export type Status = Record<EntityTypeName, TypeStatus>;

/** Reads the locks, checkpoints and reports in `directory`; changes nothing. */
export function readStatus(directory: string, now: Date): Status {
  const statusOf = (type: EntityType): TypeStatus => ({
    running: runningNow(directory, type, now),
    ...lastRuns(directory, type),
    resume: resumable(directory, type),
  });
  return Object.fromEntries(entityTypes.map((type) => [type.name, statusOf(type)])) as Status;
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

function lastRuns(directory: string, { name }: EntityType): Pick<TypeStatus, 'last_run' | 'last_completed'> {
  let last_run: LastRun | null = null;
  // The newest comes first.
  for (const { mode, statistics, ...report } of savedReports(directory)) {
    const figures = statistics[name];
    if (mode !== 'production' || figures === undefined) continue;
    const { total, processed, successful, failed } = figures;
    const { timestamp: ended, exit_code = null, stopped_by = null, path } = report;
    const run = { ended, exit_code, total, successful, failed, stopped_by, report: path };
    last_run ??= run;
    if (processed === total) return { last_run, last_completed: run };
  }
  return { last_run, last_completed: null };
}

function resumable(directory: string, type: EntityType) {
  const found = readCheckpoint(directory, type);
  if (found === undefined || 'unusable' in found) return found ?? null;
  return { written: found.ids.size, saved: found.timestamp ?? null };
}

/** The status for people: a paragraph a type. */
export function describeStatus(status: Status): string {
  return entityTypes.map(({ name }) => [name, ...describeType(status[name])].join('\n')).join('\n\n');
}

function describeType({ running, last_run, last_completed, resume }: TypeStatus): string[] {
  const sameRun = last_completed?.report === last_run?.report;
  return [
    `  running         ${describeRunning(running)}`,
    `  last run        ${describeRun(last_run)}`,
    ...(sameRun ? [] : [`  last completed  ${describeRun(last_completed)}`]),
    `  --resume        ${describeResume(resume)}`,
  ];
}

const indent = ' '.repeat(18);

function describeRunning(run: TypeStatus['running']): string {
  if (run === null) return 'no';
  const { pid, since, strategy, phase, done, total, rate, seconds_left } = run;
  const left = seconds_left === null ? '' : `, ${formatDuration(seconds_left)} left`;
  const progress = `${phase} ${formatCount(done)}/${formatCount(total)}, ${formatRate(rate)}${left}`;
  return `pid ${pid} since ${since}${strategy ? `, ${strategy}` : ''}\n${indent}${progress}`;
}

function describeRun(run: LastRun | null): string {
  if (run === null) return 'none';
  const { ended, exit_code, total, successful, failed, stopped_by } = run;
  const code = exit_code === null ? '' : `, exit code ${exit_code}`;
  const figures = `${formatCount(successful)} of ${formatCount(total)} written, ${formatCount(failed)} failed`;
  return `${ended}${code}: ${figures}${stopped_by === null ? '' : `\n${indent}${stopped_by}`}`;
}

function describeResume(resume: TypeStatus['resume']): string {
  if (resume === null) return 'would start from the beginning: no checkpoint';
  if ('unusable' in resume) return `would refuse: the checkpoint cannot be used, ${resume.unusable}`;
  return `would leave out ${formatCount(resume.written)} written, saved ${resume.saved ?? 'at an unknown time'}`;
}
