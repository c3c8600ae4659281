#!/usr/bin/env node
import './small-heap.js';

import { type PopulateOptions, parseCommandLine } from './command-line.js';
import { loadConfig } from './config.js';
import { createProgress } from './console-progress.js';
import { type ExitCode, exitCodes, FatalError } from './errors.js';
import { Notifications } from './notifications.js';
import { newReport } from './report.js';
import { runPopulation } from './run.js';
import { createServices } from './services.js';
import { handleSignals } from './signals.js';
import { describeStatus, readStatus } from './status.js';
import { type VerificationOptions, verifyStatistics } from './verification.js';
import { makeFolder } from './whole-file.js';

/** Locks, checkpoints and reports, in the working directory. */
const directory = 'logs';

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
      return status(request.options.json);
  }
}

async function populate(options: PopulateOptions): Promise<ExitCode> {
  const startedAt = new Date();
  const unsaid: string[] = [];
  const output = options.quiet ? { write: (text: string) => unsaid.push(text) } : process.stdout;
  const prepared = prepare(options.requestsPerSecond, output, 'Run again with --resume to go on.');
  const { config, stop, progress, services } = prepared;
  const notifications = new Notifications({
    config: config.notifications,
    warn: (line) => console.error(line),
  });
  const onStart = () => {
    if (!options.dryRun) notifications.started();
  };
  try {
    const result = await runPopulation(options, {
      ...services,
      progress,
      directory,
      startedAt,
      stop,
      onStart,
    });
    const { exit_code: exitCode, stopped_by: stoppedBy } = result.report;
    if (exitCode !== exitCodes.allWritten) process.stderr.write(unsaid.join(''));
    if (result.bug !== undefined) explain(result.bug);
    else if (stoppedBy !== null) console.error(stoppedBy);
    if (!options.dryRun) await notifications.ended(result);
    return exitCode;
  } catch (error) {
    // The run did not even begin. That another one is active is nothing to worry about.
    if (!options.dryRun && error instanceof FatalError && error.exitCode !== exitCodes.alreadyRunning) {
      const { exitCode, message } = error;
      const report = { ...newReport(options, startedAt), exit_code: exitCode, stopped_by: message };
      await notifications.ended({ report, reportPath: null });
    }
    throw error;
  } finally {
    await prepared.close();
  }
}

async function verify(options: VerificationOptions & { requestsPerSecond: number }): Promise<ExitCode> {
  const prepared = prepare(options.requestsPerSecond, process.stdout, 'Nothing was changed.');
  const { stop, progress, services } = prepared;
  try {
    // For the request budget that it shares with runs.
    makeFolder(directory);
    const concurrency = services.pacer.maxInFlight;
    return await verifyStatistics(options, { ...services, progress, concurrency, stop });
  } finally {
    await prepared.close();
  }
}

function status(json: boolean): ExitCode {
  const found = readStatus(directory, new Date());
  console.log(json ? JSON.stringify(found, null, 2) : describeStatus(found));
  return exitCodes.allWritten;
}

/** What populating and verifying have in common. */
function prepare(
  requestsPerSecond: number,
  output: Parameters<typeof createProgress>[0]['output'],
  adviceWhenStopped: string,
) {
  const config = loadConfig(process.cwd(), process.env);
  const stop = new AbortController();
  const writing = new AbortController();
  const progress = createProgress({
    output,
    clock: () => performance.now(),
    now: () => new Date(),
    requests: () => services.pacer.started,
    // https://no-color.org
    color: !process.env.NO_COLOR,
  });
  const log = (line: string) => progress.log(line);
  handleSignals({ stop, writing }, adviceWhenStopped, log);
  const services = createServices({
    config,
    requestsPerSecond,
    directory,
    log,
    asking: stop.signal,
    writing: writing.signal,
  });
  const close = async () => {
    progress.close();
    // Ends what nobody waits for any more, such as the other pages of an entity that has failed.
    stop.abort();
    writing.abort();
    await services.api.close();
  };
  return { config, stop, progress, services, close };
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
