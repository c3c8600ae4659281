import { openCheckpoint } from './checkpoint.js';
import type { Database } from './database.js';
import { FatalError } from './errors.js';
import { htmlReport } from './page/html-report.js';
import { planRun, type Strategy } from './plan.js';
import { Population } from './population.js';
import { observed, type PhaseNote, type Progress } from './progress.js';
import type { RacingApi } from './racing-api.js';
import {
  exitCodeOf,
  newReport,
  type Report,
  type Selectors,
  saveReport,
  sumUp,
  writeReport,
} from './report.js';
import type { RequestPacer } from './request-pacer.js';
import { RunHistory } from './run-history.js';
import { RunLock } from './run-lock.js';
import { recentSince } from './safety-brake.js';
import { type Selection, selectAll } from './selection.js';
import { statisticsWindow, utcDate } from './statistics.js';
import { describeSelection, sampleTable, summarize } from './summary.js';
import { makeFolder, writeWholeFile } from './whole-file.js';

/** What the user asked for. */
export interface RunOptions extends Selectors {
  clearCheckpoints: boolean;
  strategy: Strategy | 'auto';
  requestsPerSecond: number;
  /** Passes the sweep's safety brake. */
  force: boolean;
  /** Writes the report as a web page too. */
  html: boolean;
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
  /** Called when nothing stands in the run's way. */
  onStart?: () => void;
}

/** How a run ended. */
export interface RunResult {
  report: Report;
  /** Null if the report could not be written. */
  reportPath: string | null;
  /** What ended the run if it was a bug of ours. */
  bug?: unknown;
}

/**
 * The whole job: selects, plans, gathers, writes and reports.
 * @throws FatalError when another run is active or the folder is unusable
 */
export async function runPopulation(options: RunOptions, parts: RunParts): Promise<RunResult> {
  const { directory, progress, startedAt, pacer, stop } = parts;
  const startedAtMs = performance.now();
  makeFolder(directory);
  const report = newReport(options, startedAt);
  const lock = new RunLock(directory, options.types);
  const history = new RunHistory(() => pacer.started);
  const observe = (note: PhaseNote) => {
    history.observe(note);
    lock.update(report, note);
  };
  if (!options.dryRun) lock.acquire(report.started_at);
  parts.onStart?.();
  try {
    await selectAndPopulate(options, { ...parts, progress: observed(progress, observe) }, report, history);
  } catch (error) {
    // The first cause decides: what fails after a stop fails because of it.
    stop.abort(error);
  } finally {
    progress.close();
    lock.release();
  }
  report.exit_code = exitCodeOf(report, stop.signal);
  report.stopped_by = stop.signal.aborted ? stop.signal.reason.message : null;
  report.requests = pacer.started;
  sumUp(report, (performance.now() - startedAtMs) / 1000);
  const result = finish(report, parts, options.html ? history : undefined);
  const { reason } = stop.signal;
  return reason === undefined || reason instanceof FatalError ? result : { ...result, bug: reason };
}

async function selectAndPopulate(
  options: RunOptions,
  parts: RunParts,
  report: Report,
  history: RunHistory,
): Promise<void> {
  const { progress, directory, startedAt, pacer } = parts;
  const { resume, clearCheckpoints: clear, dryRun: readOnly, force } = options;
  const log = (line: string) => progress.log(line);
  const checkpoints = options.types.map((type) =>
    openCheckpoint(directory, type, { resume, clear, readOnly }, log),
  );
  const window = statisticsWindow(utcDate(startedAt.getTime()));
  const selectionOptions = {
    freshSinceMs: freshSince(options, startedAt),
    limit: options.limit,
    recentSince: recentSince(window),
  };
  const selections = await selectAll(checkpoints, selectionOptions, parts);
  // Together with a batch that waits to be written: no more than 100 entities are walked again after a crash.
  const walkConcurrency = Math.min(pacer.maxInFlight, 50);
  const population = new Population(
    { ...parts, window, walkConcurrency, force, report, history },
    selections,
  );
  for (const selection of selections) progress.log(describeSelection(selection));
  const selected = selections.reduce((sum, { entities }) => sum + entities.length, 0);
  if (selected === 0) return;
  const plan = planRun(options.strategy, selected, options.requestsPerSecond);
  progress.log(plan.description);
  if (options.dryRun) showSample(selections, progress);
  else await population.run(plan);
}

function freshSince({ skipExisting, staleAfter }: RunOptions, startedAt: Date): number | null {
  if (skipExisting) return Number.NEGATIVE_INFINITY;
  return staleAfter === null ? null : startedAt.getTime() - staleAfter.ms;
}

function showSample(selections: readonly Selection[], progress: Progress): void {
  for (const selection of selections) {
    if (selection.entities.length > 0) progress.log(sampleTable(selection));
  }
  progress.log('Dry run: nothing was asked of The Racing API and no row was written.');
}

/**
 * Saves the report, also as a page if there is a history, and shows the outcome. That the report cannot be saved is
 * the outcome if nothing worse is.
 */
function finish(
  report: Report,
  { directory, progress }: RunParts,
  history: RunHistory | undefined,
): RunResult {
  report.timestamp = new Date().toISOString();
  let reportPath: string | null = null;
  try {
    reportPath = saveReport(directory, report);
    if (history) {
      const { samples, leaders } = history;
      writeWholeFile(reportPath.replace(/json$/, 'html'), htmlReport({ report, samples, leaders }));
    }
  } catch (error) {
    if (!(error instanceof FatalError)) throw error;
    if (report.stopped_by === null) report.exit_code = error.exitCode;
    report.stopped_by ??= error.message;
    // Only the page failed: the report has to tell, if it can.
    if (reportPath !== null) tryToRewrite(reportPath, report);
  }
  progress.log(summarize(report, reportPath, progress.columns));
  return { report, reportPath };
}

function tryToRewrite(reportPath: string, report: Report): void {
  try {
    writeReport(reportPath, report);
  } catch {
    // Then it tells of the run without its page.
  }
}
