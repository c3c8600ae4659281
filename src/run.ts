import { mkdirSync } from 'node:fs';
import { openCheckpoint } from './checkpoint.js';
import type { Database } from './database.js';
import type { EntityType } from './entity-types.js';
import { type ExitCode, exitCodes, FatalError } from './errors.js';
import { formatEntities } from './format.js';
import { planRun, type Strategy } from './plan.js';
import { Population } from './population.js';
import type { Progress } from './progress.js';
import type { RacingApi } from './racing-api.js';
import { type Report, saveReport, sumUp } from './report.js';
import type { RequestPacer } from './request-pacer.js';
import { RunLock } from './run-lock.js';
import { type Selection, selectEntities } from './selection.js';
import { statisticsWindow } from './statistics.js';
import { describeSelection, sampleTable, summaryTable } from './summary.js';
import { filesUnusable } from './whole-file.js';

/** What the user asked for. */
export interface RunOptions {
  types: readonly EntityType[];
  /** At most so many entities of each type; null for all. */
  limit: number | null;
  dryRun: boolean;
  skipExisting: boolean;
  resume: boolean;
  clearCheckpoints: boolean;
  strategy: Strategy | 'auto';
  requestsPerSecond: number;
  /** Passes the sweep's safety brake. */
  force: boolean;
}

/** What a run works with. */
export interface RunParts {
  api: RacingApi;
  pacer: RequestPacer;
  database: Database;
  progress: Progress;
  /** The folder of locks, checkpoints and reports. */
  directory: string;
  startedAt: Date;
  /** Aborted, with a FatalError, to stop the run. */
  stop: AbortController;
}

/**
 * The whole job: selects, plans, gathers, writes and reports. Returns the report.
 * @throws FatalError when another run is active or the folder is unusable; anything else is a bug of ours
 */
export async function runPopulation(options: RunOptions, parts: RunParts): Promise<Report> {
  const { directory, progress, startedAt, pacer, stop } = parts;
  const startedAtMs = performance.now();
  makeDirectory(directory);
  const lock = new RunLock(directory, options.types);
  if (!options.dryRun)
    lock.acquire({ since: startedAt.toISOString(), strategy: null, phase: 'selecting', done: 0, total: 0 });
  const report = newReport(options, startedAt);
  try {
    await selectAndPopulate(options, parts, lock, report);
  } catch (error) {
    // The first cause decides: what fails after a stop fails because of it.
    stop.abort(error);
  } finally {
    progress.close();
    lock.release();
  }
  if (stop.signal.aborted && !(stop.signal.reason instanceof FatalError)) throw stop.signal.reason;
  report.exit_code = exitCodeOf(report, stop.signal);
  report.stopped_by = stop.signal.aborted ? stop.signal.reason.message : null;
  report.requests = pacer.started;
  sumUp(report, (performance.now() - startedAtMs) / 1000);
  finish(report, parts);
  return report;
}

async function selectAndPopulate(
  options: RunOptions,
  parts: RunParts,
  lock: RunLock,
  report: Report,
): Promise<void> {
  const { types, dryRun, limit, skipExisting } = options;
  const { database, progress, directory, startedAt, stop, pacer } = parts;
  const checkpointOptions = { resume: options.resume, clear: options.clearCheckpoints, readOnly: dryRun };
  const resumed = new Map(
    types.map((type) => [
      type,
      openCheckpoint(directory, type, checkpointOptions, (line) => progress.log(line)),
    ]),
  );
  await Promise.all(types.map((type) => database.checkColumns(type)));
  const selections = await Promise.all(
    types.map((type) => {
      const writtenIds = resumed.get(type) ?? new Set();
      return selectEntities(database, type, { skipExisting, writtenIds, limit }, stop.signal);
    }),
  );
  const window = statisticsWindow(startedAt.toISOString().slice(0, 10));
  const population = new Population(
    { ...parts, lock, window, walkConcurrency: pacer.maxInFlight, resumed, force: options.force, report },
    selections,
  );
  for (const selection of selections) progress.log(describeSelection(selection));
  const selected = selections.reduce((sum, { entities }) => sum + entities.length, 0);
  if (selected === 0) return;
  const plan = planRun(options.strategy, selected, options.requestsPerSecond);
  progress.log(plan.description);
  if (dryRun) showSample(selections, progress);
  else await population.run(plan);
}

function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true });
  } catch (error) {
    throw filesUnusable(`The folder ${directory} cannot be made`, error);
  }
}

function newReport(options: RunOptions, startedAt: Date): Report {
  return {
    timestamp: startedAt.toISOString(),
    started_at: startedAt.toISOString(),
    entity_types: options.types.map(({ name }) => name),
    mode: options.dryRun ? 'dry_run' : 'production',
    options: { skip_existing: options.skipExisting, resume: options.resume, limit: options.limit },
    statistics: {},
    overall: { total_entities: 0, total_processed: 0, total_successful: 0, total_failed: 0, duration: 0 },
    strategy: null,
    requests: 0,
    exit_code: exitCodes.allWritten,
    stopped_by: null,
    failures: [],
  };
}

function exitCodeOf(report: Report, stop: AbortSignal): ExitCode {
  if (stop.aborted) return stop.reason.exitCode;
  return report.failures.length > 0 ? exitCodes.someFailed : exitCodes.allWritten;
}

function showSample(selections: readonly Selection[], progress: Progress): void {
  for (const selection of selections) {
    if (selection.entities.length > 0) progress.log(sampleTable(selection));
  }
  progress.log('Dry run: nothing was asked of The Racing API and no row was written.');
}

/** Shows the outcome and saves the report; that this fails is the outcome unless there is a worse one. */
function finish(report: Report, { directory, progress }: RunParts): void {
  if (report.mode === 'production' && Object.keys(report.statistics).length > 0)
    progress.log(summaryTable(report));
  if (report.failures.length > 0) {
    progress.log(
      `${formatEntities(report.failures.length)} failed: run again with --resume to try them again.`,
    );
  }
  report.timestamp = new Date().toISOString();
  try {
    progress.log(`Report: ${saveReport(directory, report)}`);
  } catch (error) {
    if (!(error instanceof FatalError)) throw error;
    if (report.stopped_by !== null) return;
    report.exit_code = error.exitCode;
    report.stopped_by = error.message;
  }
}
