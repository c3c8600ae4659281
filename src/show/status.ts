import { type EntityType, type EntityTypeName, entityTypes } from '../entity-types.js';
import { readCheckpoint } from '../files/checkpoint.js';
import { type SavedReport, savedReports } from '../files/report.js';
import { activeRun } from '../files/run-lock.js';
import { formatCount, formatDuration, formatRate } from '../format.js';

/** What the local files tell about one entity type; instants are ISO text. */
export interface TypeStatus {
  running: {
    pid: number;
    since: string;
    strategy: string | null;
    phase: string;
    done: number;
    total: number;
    /** Steps a second in this phase. */
    rate: number;
    seconds_left: number | null;
  } | null;
  last_run: EndedRun | null;
  /** The last run in which every selected entity was processed. */
  last_completed: EndedRun | null;
  /** What --resume would leave out. */
  resume: { written: number; saved: string | null } | { unusable: string } | null;
}

export interface EndedRun {
  ended: string;
  exit_code: number | null;
  total: number;
  successful: number;
  failed: number;
  stopped_by: string | null;
  report: string;
}

export type Status = Record<EntityTypeName, TypeStatus>;

/** Reads the locks, checkpoints and reports in `directory`; changes nothing. */
export function readStatus(directory: string, now: Date): Status {
  const status = Object.fromEntries(
    entityTypes.map((type) => [
      type.name,
      {
        running: runningNow(directory, type, now),
        last_run: null,
        last_completed: null,
        resume: resumable(directory, type),
      },
    ]),
  ) as Status;
  for (const report of savedReports(directory)) {
    if (report.mode === 'production') for (const { name } of entityTypes) enterRun(status[name], report, name);
    if (entityTypes.every(({ name }) => status[name].last_completed)) break;
  }
  return status;
}

/** The reports come newest first: the first one of a kind is the last run. */
function enterRun(status: TypeStatus, report: SavedReport, name: EntityTypeName): void {
  const figures = report.statistics[name];
  if (figures === undefined) return;
  const { total, processed, successful, failed } = figures;
  const run: EndedRun = {
    ended: report.timestamp,
    exit_code: report.exit_code ?? null,
    total,
    successful,
    failed,
    stopped_by: report.stopped_by ?? null,
    report: report.path,
  };
  status.last_run ??= run;
  if (processed === total) status.last_completed ??= run;
}

function runningNow(directory: string, type: EntityType, now: Date): TypeStatus['running'] {
  const run = activeRun(directory, type);
  if (run === undefined) return null;
  const { pid, since, strategy, phase, done, total } = run;
  const seconds = Math.max(1, (now.getTime() - Date.parse(run.phase_since)) / 1000);
  const rate = done / seconds;
  return {
    pid,
    since,
    strategy,
    phase,
    done,
    total,
    rate,
    seconds_left: rate > 0 ? (total - done) / rate : null,
  };
}

function resumable(directory: string, type: EntityType): TypeStatus['resume'] {
  const found = readCheckpoint(directory, type);
  if (found === undefined || 'unusable' in found) return found ?? null;
  return { written: found.ids.size, saved: found.timestamp ?? null };
}

/** The status for people: a paragraph a type. */
export function describeStatus(status: Status): string {
  return entityTypes.map(({ name }) => describeType(name, status[name])).join('\n\n');
}

function describeType(name: EntityTypeName, { running, last_run, last_completed, resume }: TypeStatus): string {
  const lines: string[] = [name];
  if (running) {
    const left = running.seconds_left === null ? '' : `, ${formatDuration(running.seconds_left)} left`;
    lines.push(
      `  running         pid ${running.pid} since ${running.since}${running.strategy ? `, ${running.strategy}` : ''}`,
      `                  ${running.phase} ${formatCount(running.done)}/${formatCount(running.total)}, ${formatRate(running.rate)}${left}`,
    );
  } else {
    lines.push('  running         no');
  }
  lines.push(`  last run        ${last_run ? describeRun(last_run) : 'none'}`);
  if (last_completed?.report !== last_run?.report) {
    lines.push(`  last completed  ${last_completed ? describeRun(last_completed) : 'none'}`);
  }
  lines.push(`  --resume        ${describeResume(resume)}`);
  return lines.join('\n');
}

function describeRun({ ended, exit_code, total, successful, failed, stopped_by }: EndedRun): string {
  const code = exit_code === null ? '' : `, exit code ${exit_code}`;
  const figures = `${formatCount(successful)} of ${formatCount(total)} written, ${formatCount(failed)} failed`;
  return `${ended}${code}: ${figures}${stopped_by === null ? '' : `\n                  ${stopped_by}`}`;
}

function describeResume(resume: TypeStatus['resume']): string {
  if (resume === null) return 'would start from the beginning: no checkpoint';
  if ('unusable' in resume) return `would refuse: the checkpoint cannot be used, ${resume.unusable}`;
  return `would leave out ${formatCount(resume.written)} written, saved ${resume.saved ?? 'at an unknown time'}`;
}
