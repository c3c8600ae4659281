import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FileLock } from './file-lock.js';
import { filesUnusable } from './whole-file.js';

/**
 * A hundredth slower than allowed: requests that we start evenly arrive a few milliseconds early or late, and
 * the API counts arrivals.
 */
const safetyFactor = 1.01;
const pollMs = 10;

/**
 * The account's requests per second, shared by every process that works in the same directory: whoever holds the
 * lock waits until the next request is due, notes when it starts, and passes the lock on.
 */
export class RequestBudget {
  private readonly intervalMs: number;
  private readonly statePath: string;
  private readonly lock: FileLock;

  constructor(directory: string, requestsPerSecond: number) {
    this.intervalMs = (1000 / requestsPerSecond) * safetyFactor;
    this.statePath = join(directory, 'request_budget');
    this.lock = new FileLock(`${this.statePath}.lock`, 2_000 + 2 * this.intervalMs);
  }

  /**
   * Resolves when the account's next request may start, which it then has to do at once.
   * @throws FatalError when the folder is unusable; the signal's reason when it is aborted
   */
  async take(signal: AbortSignal): Promise<void> {
    try {
      await this.waitForTurn(signal);
    } catch (error) {
      signal.throwIfAborted();
      throw filesUnusable(`The request budget ${this.statePath} cannot be kept`, error);
    }
  }

  private async waitForTurn(signal: AbortSignal): Promise<void> {
    for (;;) {
      // Nothing is due so soon after our last request: give another process its chance at the lock.
      if (this.intervalMs > 100) await sleep(2 * pollMs, undefined, { signal });
      while (this.lock.tryAcquire() !== undefined) await sleep(pollMs, undefined, { signal });
      try {
        const waitMs = this.lastStartMs() + this.intervalMs - monotonicMs();
        // Never longer than the interval: the clock begins anew when the machine does.
        if (waitMs > 0) await sleep(Math.ceil(Math.min(waitMs, this.intervalMs)), undefined, { signal });
        if (!this.lock.isOurs()) continue;
        writeFileSync(this.statePath, String(monotonicMs()));
        return;
      } finally {
        this.lock.release();
      }
    }
  }

  private lastStartMs(): number {
    try {
      const lastMs = Number.parseFloat(readFileSync(this.statePath, 'utf8'));
      // A process killed while writing leaves nothing: somebody's request may just have started.
      return Number.isNaN(lastMs) ? monotonicMs() : lastMs;
    } catch {
      return Number.NEGATIVE_INFINITY;
    }
  }
}

/** The machine's clock since its start: the same for every process, and never set back as the time of day is. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
