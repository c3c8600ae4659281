#!/usr/bin/env node
import { setTimeout as sleep } from 'node:timers/promises';
import { parseCommandLine, type Request } from './command-line.js';
import { loadConfig } from './config.js';
import { CoolingOff } from './cooling-off.js';
import { Database } from './database.js';
import { type ExitCode, exitCodes, FatalError } from './errors.js';
import { createProgress } from './progress.js';
import { RacingApi } from './racing-api.js';
import { RequestBudget } from './request-budget.js';
import { RequestPacer } from './request-pacer.js';
import { runPopulation } from './run.js';
import { handleSignals } from './signals.js';
import { verifyStatistics } from './verification.js';

const directory = 'logs';

async function main(): Promise<ExitCode> {
  const startedAt = new Date();
  const request = parseCommandLine(process.argv);
  if (request === undefined) return exitCodes.allWritten;
  const config = loadConfig(process.cwd(), process.env);
  const { requestsPerSecond } = request.options;

  const stop = new AbortController();
  const writing = new AbortController();
  const clock = () => performance.now();
  const progress = createProgress({
    output: process.stdout,
    clock,
    now: () => new Date(),
    requests: () => pacer.started,
  });
  const log = (line: string) => progress.log(line);
  handleSignals({ stop, writing }, log);
  const coolingOff = new CoolingOff({ clock, sleep: (ms, signal) => sleep(ms, undefined, { signal }), log });
  const budget = new RequestBudget(directory, requestsPerSecond);
  const pacer = new RequestPacer({ requestsPerSecond, budget, coolingOff, signal: stop.signal });
  const api = new RacingApi({ ...config.racingApi, pacer, signal: stop.signal });
  const database = new Database({ ...config.supabase, log, signal: writing.signal });
  try {
    return await perform(request, { api, pacer, database, progress, stop, startedAt });
  } finally {
    progress.close();
    await api.close();
  }
}

async function perform(
  request: Request,
  parts: Omit<Parameters<typeof runPopulation>[1], 'directory'>,
): Promise<ExitCode> {
  if (request.command === 'verify') {
    const { pacer, stop } = parts;
    return await verifyStatistics(request.options, {
      ...parts,
      concurrency: pacer.maxInFlight,
      signal: stop.signal,
    });
  }
  const report = await runPopulation(request.options, { ...parts, directory });
  if (report.stopped_by !== null) console.error(report.stopped_by);
  return report.exit_code;
}

/** No stack trace for what is not our own bug. */
function explain(error: unknown): ExitCode {
  if (error instanceof FatalError) {
    if (error.message !== '') console.error(error.message);
    return error.exitCode;
  }
  console.error('This is a bug of populate-all-statistics; nothing uncertain was written. Please report it:');
  console.error(error);
  return exitCodes.ownBug;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = explain(error);
}
