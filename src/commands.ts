import { setTimeout as sleep } from 'node:timers/promises';
import { type Config, isLoopback, loadConfig } from './config.js';
import { createDatabase } from './database.js';
import { type ExitCode, exitCodes, FatalError } from './errors.js';
import { createEvents, type Tell } from './events.js';
import { createExchange } from './exchange.js';
import { startReport } from './files/report.js';
import { shareRequestBudget } from './files/request-budget.js';
import { makeFolder } from './files/whole-file.js';
import type { PopulateOptions, Request, VerifyOptions } from './options.js';
import { createPace } from './pace.js';
import { createRacingApi } from './racing-api.js';
import { run } from './run.js';
import { createNotifications } from './show/notifications.js';
import { createScreen, type ScreenOptions } from './show/progress.js';
import { describeStatus, readStatus } from './show/status.js';
import { summarize } from './show/summary.js';
import { verifyStatistics } from './verify.js';

/** Locks, checkpoints and reports, in the working directory. */
const directory = 'logs';
/** What a stopped run may still take to write what it has gathered. */
const lastWritesMs = 7_000;

/** Builds what a command works with, lets it work, and returns its exit code. Throws FatalError, or a bug of ours. */
export async function carryOut(request: Request): Promise<ExitCode> {
  if (request.command === 'populate') return await populate(request.options);
  if (request.command === 'verify') return await verify(request.options);
  return status(request.options.json);
}

/** Refuses rates for which the API bans addresses. Throws a FatalError (usage). */
function checkRate(rate: number, { racingApi }: Config, force = false): void {
  const refused = (advice: string) => new FatalError(exitCodes.usage, `--rate ${rate} is too much: ${advice}`);
  if (isLoopback(new URL(racingApi.baseUrl).hostname)) return;
  if (rate > 10)
    throw refused('the API bans addresses that send more than 100 requests in ten seconds. Use 5 or less.');
  if (rate > 5 && !force) throw refused('the API documents at most 5 requests a second. --force passes, up to 10.');
}

async function populate(options: PopulateOptions): Promise<ExitCode> {
  const startedAt = new Date();
  const config = loadConfig(process.cwd(), process.env);
  checkRate(options.rate, config, options.force);
  // Nobody need know of a dry run.
  const recipients = options.dryRun ? { email: null, heartbeatUrl: null } : config.notifications;
  const notifications = createNotifications(recipients, (line) => console.error(line));
  const unsaid: string[] = [];
  const output = options.quiet ? { write: (text: string) => unsaid.push(text) } : process.stdout;
  const services = openServices(config, options.rate, output, 'Run again with --resume to go on.');
  const { screen, stop } = services;
  // While all else is prepared.
  if (!options.dryRun) void services.connect();
  try {
    const ended = await run({ ...services, options, directory, startedAt, onStart: notifications.started });
    const { exit_code: exitCode, stopped_by: stoppedBy } = ended.report;
    screen.take({ kind: 'line', line: summarize(ended, screen.columns()) });
    if (exitCode !== exitCodes.allWritten) process.stderr.write(unsaid.join(''));
    if (exitCode !== exitCodes.ownBug && stoppedBy !== null) console.error(stoppedBy);
    await notifications.ended(ended);
    if (exitCode === exitCodes.ownBug) throw stop.signal.reason;
    return exitCode;
  } catch (error) {
    // The run did not even begin. That another one is active is nothing to worry about.
    if (error instanceof FatalError && error.exitCode !== exitCodes.alreadyRunning) {
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
  checkRate(options.rate, config);
  const services = openServices(config, options.rate, process.stdout, 'Nothing was changed.');
  try {
    // For the request budget that it shares with runs.
    makeFolder(directory);
    return await verifyStatistics(options, { ...services, tell: services.events.tell });
  } finally {
    await services.close();
  }
}

function status(json: boolean): ExitCode {
  const found = readStatus(directory, new Date());
  console.log(json ? JSON.stringify(found, null, 2) : describeStatus(found));
  return exitCodes.allWritten;
}

/** The screen, the API and the database, and what stops them; `advice` says how to go on after a signal. */
function openServices(config: Config, rate: number, output: ScreenOptions['output'], advice: string) {
  const stop = new AbortController();
  const writing = new AbortController();
  const events = createEvents();
  const { tell } = events;
  const clock = () => performance.now();
  // https://no-color.org
  const screen = createScreen({ output, clock, now: () => new Date(), color: !process.env.NO_COLOR });
  events.listen(screen.take);
  handleSignals(stop, writing, advice, tell);
  const { signal } = stop;
  const exchange = createExchange({ ...config.racingApi, signal });
  const pace = createPace({
    requestsPerSecond: rate,
    budget: shareRequestBudget(directory, rate),
    connected: exchange.connected,
    clock,
    sleep: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted()),
    tell,
    signal,
  });
  const api = createRacingApi({ baseUrl: config.racingApi.baseUrl, exchange, pace, tell, signal });
  const database = createDatabase({ ...config.supabase, tell, signal: writing.signal });
  const close = async () => {
    screen.close();
    // Ends what nobody waits for any more, such as the other pages of an entity that has failed.
    stop.abort();
    writing.abort();
    await exchange.close();
  };
  return { api, database, events, screen, stop, connect: exchange.connected, close };
}

/** The first SIGINT or SIGTERM ends the run in good order, the second at once. SIGHUP stops nothing. */
function handleSignals(stop: AbortController, writing: AbortController, advice: string, tell: Tell): void {
  let stopping = false;
  const onSignal = (signal: 'SIGINT' | 'SIGTERM', exitCode: 130 | 143) => {
    if (stopping) process.exit(exitCode);
    stopping = true;
    tell({ kind: 'line', line: `${signal}: writing what is gathered, then ending. Once more ends it at once.` });
    stop.abort(new FatalError(exitCode, `Interrupted by ${signal}. ${advice}`));
    setTimeout(() => writing.abort(stop.signal.reason), lastWritesMs).unref();
  };
  process.on('SIGINT', () => onSignal('SIGINT', exitCodes.interrupted));
  process.on('SIGTERM', () => onSignal('SIGTERM', exitCodes.terminated));
  // nohup has the kernel ignore SIGHUP, which Node undoes when it starts.
  process.on('SIGHUP', () => {});
}
