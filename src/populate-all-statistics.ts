#!/usr/bin/env node
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { type Config, loadConfig } from './config.js';
import { type ExitCode, exitCodes, FatalError } from './errors.js';
import { createEvents, type Tell } from './events.js';
import { shareRequestBudget } from './files/request-budget.js';
import { makeFolder } from './files/whole-file.js';
import { type PopulateOptions, parseCommandLine, type VerifyOptions } from './options.js';
import { traceOf } from './own-bug.js';
import { createPace } from './pace.js';
import { createScreen, type ScreenOptions } from './show/progress.js';
import { summarize } from './show/summary.js';

// What asks the API or the database is imported where it is used: --help and --version start without it.

// On a machine with much memory V8 lets garbage pile up to several times what is in use, and each page of results
// leaves about 10 MB of it. We are a guest on that machine and have time: collect early instead. Measured by
// `npm run bench`.
setFlagsFromString('--optimize-for-size');
setFlagsFromString('--semi-space-growth-factor=1');

/** Locks, checkpoints and reports, in the working directory. */
const directory = 'logs';
/** What a stopped run may still take to write what it has gathered. */
const lastWritesMs = 7_000;

async function main(): Promise<ExitCode> {
  const request = parseCommandLine(process.argv);
  switch (request?.command) {
    case undefined:
      return exitCodes.allWritten;
    case 'populate':
      return await populate(request.options);
    case 'verify':
      return await verify(request.options);
    case 'status':
      return await status(request.options.json);
  }
}

async function populate(options: PopulateOptions): Promise<ExitCode> {
  const startedAt = new Date();
  const config = loadConfig(process.cwd(), process.env);
  const { createNotifications } = await import('./show/notifications.js');
  const notifications = createNotifications(config.notifications, (line) => console.error(line));
  const unsaid: string[] = [];
  const output = options.quiet ? { write: (text: string) => unsaid.push(text) } : process.stdout;
  const services = await openServices(config, options.rate, output, 'Run again with --resume to go on.');
  const { screen, stop } = services;
  const onStart = () => {
    if (!options.dryRun) notifications.started();
  };
  try {
    const { run } = await import('./run.js');
    const ended = await run(options, { ...services, directory, startedAt, onStart });
    const { exit_code: exitCode, stopped_by: stoppedBy } = ended.report;
    screen.take({ kind: 'line', line: summarize(ended, screen.columns()) });
    if (exitCode !== exitCodes.allWritten) process.stderr.write(unsaid.join(''));
    if (exitCode === exitCodes.ownBug) explain(stop.signal.reason);
    else if (stoppedBy !== null) console.error(stoppedBy);
    if (!options.dryRun) await notifications.ended(ended);
    return exitCode;
  } catch (error) {
    // The run did not even begin. That another one is active is nothing to worry about.
    if (!options.dryRun && error instanceof FatalError && error.exitCode !== exitCodes.alreadyRunning) {
      const { startReport } = await import('./files/report.js');
      const report = startReport(options, startedAt).ended(AbortSignal.abort(error));
      await notifications.ended({ report, reportPath: null });
    }
    throw error;
  } finally {
    await services.close();
  }
}

async function verify(options: VerifyOptions): Promise<ExitCode> {
  const config = loadConfig(process.cwd(), process.env);
  const services = await openServices(config, options.rate, process.stdout, 'Nothing was changed.');
  try {
    const { verifyStatistics } = await import('./verify.js');
    // For the request budget that it shares with runs.
    makeFolder(directory);
    return await verifyStatistics(options, { ...services, tell: services.events.tell });
  } finally {
    await services.close();
  }
}

async function status(json: boolean): Promise<ExitCode> {
  const { describeStatus, readStatus } = await import('./show/status.js');
  const found = readStatus(directory, new Date());
  console.log(json ? JSON.stringify(found, null, 2) : describeStatus(found));
  return exitCodes.allWritten;
}

/** The screen, the API and the database, and what stops them; `advice` says how to go on after a signal. */
async function openServices(config: Config, rate: number, output: ScreenOptions['output'], advice: string) {
  const { createRacingApi } = await import('./racing-api.js');
  const { createDatabase } = await import('./database.js');
  const stop = new AbortController();
  const writing = new AbortController();
  const events = createEvents();
  const { tell } = events;
  const clock = () => performance.now();
  // https://no-color.org
  const screen = createScreen({ output, clock, now: () => new Date(), color: !process.env.NO_COLOR });
  events.listen(screen.take);
  handleSignals(stop, writing, advice, tell);
  const pace = createPace({
    requestsPerSecond: rate,
    takeTurn: shareRequestBudget(directory, rate),
    clock,
    sleep: (ms, signal) => sleep(ms, undefined, { signal }),
    tell,
    signal: stop.signal,
  });
  const api = createRacingApi({ ...config.racingApi, pace, signal: stop.signal });
  const database = createDatabase({ ...config.supabase, tell, signal: writing.signal });
  const close = async () => {
    screen.close();
    // Ends what nobody waits for any more, such as the other pages of an entity that has failed.
    stop.abort();
    writing.abort();
    await api.close();
  };
  return { api, database, events, screen, stop, close };
}

/** The first SIGINT or SIGTERM ends the run in good order, the second at once. SIGHUP stops nothing. */
function handleSignals(stop: AbortController, writing: AbortController, advice: string, tell: Tell): void {
  let stopping = false;
  const onSignal = (signal: 'SIGINT' | 'SIGTERM', exitCode: 130 | 143) => {
    if (stopping) process.exit(exitCode);
    stopping = true;
    const line = `${signal}: writing what is gathered, then ending. Once more ends it at once.`;
    tell({ kind: 'line', line });
    stop.abort(new FatalError(exitCode, `Interrupted by ${signal}. ${advice}`));
    setTimeout(() => writing.abort(stop.signal.reason), lastWritesMs).unref();
  };
  process.on('SIGINT', () => onSignal('SIGINT', exitCodes.interrupted));
  process.on('SIGTERM', () => onSignal('SIGTERM', exitCodes.terminated));
  // nohup has the kernel ignore SIGHUP, which Node undoes when it starts.
  process.on('SIGHUP', () => {});
}

/** No stack trace for what is not our own bug. */
function explain(error: unknown): ExitCode {
  if (error instanceof FatalError) {
    if (error.message !== '') console.error(error.message);
    return error.exitCode;
  }
  console.error('This is a bug of populate-all-statistics; nothing uncertain was written. Please report it:');
  console.error(traceOf(error));
  return exitCodes.ownBug;
}

// A reader that closes our output, such as head, stops nothing.
for (const output of [process.stdout, process.stderr]) output.on('error', () => {});
// What is thrown where nobody waits for it.
process.on('uncaughtException', (error) => process.exit(explain(error)));
try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = explain(error);
}
