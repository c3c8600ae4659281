import type { EntityTypeName } from '../entity-types.js';
import { type ExitCode, exitCodes, FatalError, isInterruption } from '../errors.js';
import type { Batch, Failure, RunEvent, Strategy, Written } from '../events.js';
import type { PopulateOptions } from '../options.js';
import { columnOf, lastDateColumn, utcDate } from '../statistics.js';

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

/** What a report gathers as the run goes on. */
type Gathered = Pick<Report, 'statistics' | 'strategy' | 'requests' | 'changed' | 'forced' | 'failures' | 'rows_from'>;

const nothingYet = (): Gathered => ({
  statistics: {},
  strategy: null,
  requests: 0,
  changed: 0,
  forced: [],
  failures: [],
  rows_from: null,
});

/** The report of a run, which grows as it listens. `after_killed`: see the Report. */
export function startReport(options: PopulateOptions, startedAt: Date, after_killed: string | null = null) {
  const { entities, limit = null, skipExisting, staleAfter, resume, dryRun } = options;
  const startedAtMs = performance.now();
  const today = utcDate(startedAt.getTime());
  const gathered = nothingYet();
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
