import { exitCodes, FatalError } from './errors.js';

/** What a stopped run may still take to write what it has gathered. */
const lastWritesMs = 7_000;

export interface Stops {
  /** Aborted to stop asking the API. */
  stop: AbortController;
  /** Aborted when writing has to end too. */
  writing: AbortController;
}

/**
 * The first SIGINT or SIGTERM ends the run in good order, the second at once. SIGHUP (a closed terminal) and a
 * reader that closes our output stop nothing. `advice` says how to go on.
 */
export function handleSignals({ stop, writing }: Stops, advice: string, log: (line: string) => void): void {
  let stopping = false;
  const onSignal = (signal: 'SIGINT' | 'SIGTERM', exitCode: 130 | 143) => {
    if (stopping) process.exit(exitCode);
    stopping = true;
    log(`${signal}: writing what is gathered, then ending. Once more ends it at once.`);
    stop.abort(new FatalError(exitCode, `Interrupted by ${signal}. ${advice}`));
    setTimeout(() => writing.abort(stop.signal.reason), lastWritesMs).unref();
  };
  process.on('SIGINT', () => onSignal('SIGINT', exitCodes.interrupted));
  process.on('SIGTERM', () => onSignal('SIGTERM', exitCodes.terminated));
  // nohup has the kernel ignore SIGHUP, which Node undoes when it starts.
  process.on('SIGHUP', () => {});
  for (const output of [process.stdout, process.stderr]) output.on('error', () => {});
}
