import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FatalError } from '../errors.js';
import { createFileLock } from './file-lock.js';
import { filesUnusable } from './whole-file.js';

/**
 * A hundredth slower than allowed: requests that we start evenly arrive a few milliseconds early or late, and
 * the API counts arrivals.
 */
const safetyFactor = 1.01;
const pollMs = 10;

/**
 * The account's requests per second, shared by every process that works in the same directory: whoever holds the
 * lock waits until the next request is due, notes when it starts, and passes the lock on. The returned function
 * resolves when the account's next request may start, which it then has to do at once; it throws a FatalError when
 * the folder is unusable, and the signal's reason when that is aborted.
 */
export function shareRequestBudget(directory: string, requestsPerSecond: number) {
  const intervalMs = (1000 / requestsPerSecond) * safetyFactor;
  const statePath = join(directory, 'request_budget');
  const lock = createFileLock(`${statePath}.lock`, 2_000 + 2 * intervalMs);

  async function waitForTurn(signal: AbortSignal): Promise<void> {
    for (;;) {
      // Nothing is due so soon after our last request: give another process its chance at the lock.
      if (intervalMs > 100) await sleep(2 * pollMs, undefined, { signal });
      while (lock.tryAcquire() !== undefined) await sleep(pollMs, undefined, { signal });
      try {
        const waitMs = lastStartMs(statePath) + intervalMs - monotonicMs();
        // Never longer than the interval: the clock begins anew when the machine does.
        if (waitMs > 0) await sleep(Math.ceil(Math.min(waitMs, intervalMs)), undefined, { signal });
        if (!lock.isOurs()) continue;
        writeFileSync(statePath, String(monotonicMs()));
        return;
      } finally {
        lock.release();
      }
    }
  }

  return (signal: AbortSignal): Promise<void> =>
    waitForTurn(signal).catch((error) => {
      signal.throwIfAborted();
      throw error instanceof FatalError
        ? error
        : filesUnusable(`The request budget ${statePath} cannot be kept`, error);
    });
}

function lastStartMs(statePath: string): number {
  try {
    const lastMs = Number.parseFloat(readFileSync(statePath, 'utf8'));
    // A process killed while writing leaves nothing: somebody's request may just have started.
    return Number.isNaN(lastMs) ? monotonicMs() : lastMs;
  } catch {
    return Number.NEGATIVE_INFINITY;
  }
}

/** The machine's clock since its start: the same for every process, and never set back as the time of day is. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
