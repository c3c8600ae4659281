import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Config, loadConfig } from './config.js';
import { createDatabase } from './database.js';
import { type ExitCode, exitCodes, FatalError } from './errors.js';
import { createEvents, type Events } from './events.js';
import { createExchange } from './exchange.js';
import { startReport } from './files/report.js';
import { shareRequestBudget } from './files/request-budget.js';
import { runBefore, saveReport } from './files/saved-reports.js';
import { makeFolder } from './files/whole-file.js';
import { wrapped } from './format.js';
import type { PopulateOptions, Request, StatusOptions, VerifyOptions } from './options.js';
import { createPace } from './pace.js';
import { createRacingApi } from './racing-api.js';
import { run } from './run.js';
import { createNotifications, type Notifications } from './show/notifications.js';
import { type Abilities, abilitiesOf, columnsOf, complain, createScreen } from './show/screen.js';
import { checkStatus, describeStatus, readStatus } from './show/status.js';
import { closingWords, summarize, watchPace } from './show/summary.js';
import { verifyStatistics } from './verify.js';

/** What a stopped run may still take to write what it has gathered. */
const lastWritesMs = 7_000;

/** Builds what a command works with, lets it work, and returns its exit code. Throws FatalError, or a bug of ours. */
export async function carryOut(request: Request): Promise<ExitCode> {
  if (request.command === 'populate') return await populate(request.options);
  if (request.command === 'verify') return await verify(request.options);
  return status(request.options);
}

async function populate(options: PopulateOptions): Promise<ExitCode> {
  const startedAt = new Date();
  let notifications: Notifications | undefined;
  try {
    const config = loadConfig(process.cwd(), process.env, options.rate, options.force);
    // Nobody need know of a dry run.
    if (!options.dryRun) notifications = createNotifications(config.notifications, console.error);
    return await runAndTell(config, options, startedAt, notifications);
  } catch (error) {
    if (error instanceof FatalError) await tellNotBegun(error, options, startedAt, notifications);
    throw error;
  }
}

/** Tells of a run that did not even begin. Status and a monitor learn of it from its report. */
async function tellNotBegun(
  error: FatalError,
  options: PopulateOptions,
  startedAt: Date,
  notifications: Notifications | undefined,
): Promise<void> {
  const started = startReport(options, startedAt);
  if (options.refresh) started.take({ kind: 'gathering', strategy: 'refresh' });
  const report = started.ended(AbortSignal.abort(error));
  if (options.json) printJson(report);
  // That another one is active is nothing to worry about.
  if (options.dryRun || error.exitCode === exitCodes.alreadyRunning) return;
  // Where no run ever was, this is perhaps the wrong folder.
  const ended = existsSync(options.logDir) ? saveReport(options.logDir, report) : { report, reportPath: null };
  await notifications?.ended(ended);
}

async function runAndTell(
  config: Config,
  options: PopulateOptions,
  startedAt: Date,
  notifications: Notifications | undefined,
): Promise<ExitCode> {
  const { logDir: directory, quiet, json } = options;
  const unsaid: string[] = [];
  const abilities = quiet
    ? { output: { write: (text: string) => unsaid.push(text) }, isAnimated: false, isColored: false }
    : abilitiesOf(json ? process.stderr : process.stdout, process.env);
  const services = openServices(config, options, abilities);
  const { events, screen } = services;
  const pace = watchPace(options.rate, services.allowedPerSecond, () => performance.now());
  events.listen(pace.take);
  // While all else is prepared.
  if (!options.dryRun) void services.connect();
  try {
    const ended = await run({ ...services, options, directory, startedAt, onStart: notifications?.started });
    const { exit_code: exitCode } = ended.report;
    screen.take({ kind: 'line', line: summarize(ended, columnsOf(abilities.output), pace.described()) });
    if (exitCode !== exitCodes.allWritten) process.stderr.write(unsaid.join(''));
    const words = closingWords(ended.report);
    if (words !== undefined && exitCode !== exitCodes.ownBug) complain(words);
    if (json) printJson(ended.report);
    await notifications?.ended(ended, runBefore(directory, ended));
    if (exitCode === exitCodes.ownBug) throw services.stop.signal.reason;
    return exitCode;
  } finally {
    await services.close();
  }
}

const printJson = (value: object) => console.log(JSON.stringify(value, null, 2));

async function verify(options: VerifyOptions): Promise<ExitCode> {
  const { rate, json, logDir } = options;
  let close: (() => Promise<void>) | undefined;
  try {
    const config = loadConfig(process.cwd(), process.env, rate);
    const services = openServices(config, options, abilitiesOf(json ? process.stderr : process.stdout, process.env));
    close = services.close;
    // For the request budget that it shares with runs.
    makeFolder(logDir);
    const found = await verifyStatistics(options, { ...services, tell: services.events.tell });
    if (json) printJson(found);
    return found.exit_code;
  } catch (error) {
    if (json && error instanceof FatalError) printJson({ exit_code: error.exitCode, stopped_by: error.message });
    throw error;
  } finally {
    await close?.();
  }
}

function status({ logDir, entities, json, check, maxAge }: StatusOptions): ExitCode {
  const now = new Date();
  const found = readStatus(logDir, now, entities);
  if (check) {
    const { isWell, line } = checkStatus(found, maxAge, now);
    console.log(wrapped(line, columnsOf(process.stdout)));
    return isWell ? exitCodes.allWritten : exitCodes.notWell;
  }
  if (json) printJson(found);
  else console.log(wrapped(describeStatus(found, logDir, now), columnsOf(process.stdout)));
  return exitCodes.allWritten;
}

/** The screen, the API and the database, and what stops them. */
function openServices(
  config: Config,
  { rate, verbose, logDir }: Pick<PopulateOptions, 'rate' | 'verbose' | 'logDir'>,
  abilities: Abilities,
) {
  const stop = new AbortController();
  const writing = new AbortController();
  const events = createEvents();
  const { tell } = events;
  const clock = () => performance.now();
  const screen = createScreen({ ...abilities, isVerbose: verbose, clock, now: () => new Date() });
  events.listen(screen.take);
  handleSignals(stop, writing, events, screen.close);
  const { signal } = stop;
  const exchange = createExchange({ ...config.racingApi, signal });
  const budget = shareRequestBudget(logDir, rate);
  const pace = createPace({
    requestsPerSecond: rate,
    budget,
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
  const { allowedPerSecond } = budget;
  return { api, database, events, screen, stop, allowedPerSecond, connect: exchange.connected, close };
}

/**
 * The first SIGINT or SIGTERM ends the run in good order, the second without the writes under way; one more, or one
 * when all is over, at once. SIGHUP stops nothing.
 */
function handleSignals(stop: AbortController, writing: AbortController, events: Events, close: () => void): void {
  let stopping = false;
  /** Rows that are written, or soon could be. */
  let hasRows = false;
  let isOver = false;
  events.listen((event) => {
    if (event.kind === 'gathering' || event.kind === 'over') isOver = event.kind === 'over';
    if (event.kind === 'phase') hasRows ||= event.label === 'writing';
    if (event.kind === 'step') hasRows ||= event.written !== undefined && event.done > 0;
  });
  const onSignal = (signal: 'SIGINT' | 'SIGTERM', exitCode: 130 | 143) => {
    if ((stopping && isOver) || writing.signal.aborted) {
      close();
      process.exit(exitCode);
    }
    if (stopping) return writing.abort(stop.signal.reason);
    stopping = true;
    const what = hasRows ? 'writing what is gathered, then ending' : 'ending, with nothing to write';
    events.tell({ kind: 'line', line: `${signal}: ${what}. Once more ends it at once.` });
    stop.abort(new FatalError(exitCode, `Interrupted by ${signal}.${hasRows ? '' : ' Nothing was changed.'}`));
    if (hasRows) setTimeout(() => writing.abort(stop.signal.reason), lastWritesMs).unref();
    else writing.abort(stop.signal.reason);
  };
  process.on('SIGINT', () => onSignal('SIGINT', exitCodes.interrupted));
  process.on('SIGTERM', () => onSignal('SIGTERM', exitCodes.terminated));
  // nohup has the kernel ignore SIGHUP, which Node undoes when it starts.
  process.on('SIGHUP', () => {});
}
