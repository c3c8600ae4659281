import { exitCodes, FatalError } from './errors.js';
import { formatDuration } from './format.js';

/**
 * How long to hold back after each refusal in a row, unless Retry-After asks for longer; the last one repeats.
 * Short at first for a rate exceeded by chance, then aimed just past the API's cooling-off of 5 and of 30 minutes
 * (reference: "Rate Limits" of its documentation): six probes in the first half hour.
 */
const pausesMs = [2, 6, 17, 50, 235, 690, 810, 900].map((seconds) => seconds * 1000);
const longestSilenceMs = 90 * 60 * 1000;
const longestSleepMs = 250;

export interface CoolingOffOptions {
  /** Milliseconds of a clock that is never set back. */
  clock: () => number;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  log: (line: string) => void;
}

interface Pause {
  sinceMs: number;
  untilMs: number;
  refusals: number;
  /** Requests with a lower number were on their way before the pause began and say nothing about its end. */
  firstProbe: number;
  probing: boolean;
}

/** Holds all requests back after a 429, then lets one at a time probe until the API answers again. */
export class CoolingOff {
  private readonly options: CoolingOffOptions;
  private nextRequest = 0;
  private pause: Pause | undefined;

  constructor(options: CoolingOffOptions) {
    this.options = options;
  }

  /** Resolves when a request could start. */
  async wait(signal: AbortSignal): Promise<void> {
    const { clock, sleep } = this.options;
    while (this.isHeldBack()) {
      const remainingMs = (this.pause?.untilMs ?? 0) - clock();
      await sleep(remainingMs > 0 ? Math.min(remainingMs, longestSleepMs) : longestSleepMs, signal);
    }
  }

  /** The number of a request that starts now, as the probe if there is a pause; undefined if it has to wait. */
  start(): number | undefined {
    if (this.isHeldBack()) return undefined;
    if (this.pause) this.pause.probing = true;
    this.nextRequest += 1;
    return this.nextRequest - 1;
  }

  answered(request: number): void {
    if (this.pause === undefined || request < this.pause.firstProbe) return;
    const seconds = (this.options.clock() - this.pause.sinceMs) / 1000;
    this.pause = undefined;
    this.options.log(`The Racing API answers again after ${formatDuration(seconds)}; going on.`);
  }

  /** The API answered 429. Throws a FatalError when it has been refusing for too long. */
  refused(request: number, retryAfterMs = 0): void {
    const nowMs = this.options.clock();
    if (this.pause && request < this.pause.firstProbe) {
      const longest = this.pause.sinceMs + longestSilenceMs;
      this.pause.untilMs = Math.min(Math.max(this.pause.untilMs, nowMs + retryAfterMs), longest);
      return;
    }
    const begins = this.pause === undefined;
    this.pause ??= {
      sinceMs: nowMs,
      untilMs: nowMs,
      refusals: 0,
      firstProbe: this.nextRequest,
      probing: false,
    };
    const ownMs = (pausesMs[this.pause.refusals] ?? pausesMs.at(-1) ?? 0) * (1 + Math.random() / 20);
    const pauseMs = Math.max(ownMs, retryAfterMs);
    this.pause.refusals += 1;
    this.pause.probing = false;
    const lastProbeMs = this.pause.sinceMs + longestSilenceMs;
    // The last probe is due when the longest silence ends.
    this.pause.untilMs = Math.min(nowMs + pauseMs, lastProbeMs);
    if (nowMs >= lastProbeMs || nowMs + retryAfterMs > lastProbeMs) {
      throw new FatalError(
        exitCodes.apiUnavailable,
        `The Racing API still refuses requests (429), and waiting on would take more than ${formatDuration(longestSilenceMs / 1000)}. ` +
          'Nothing is lost: run again with --resume later, when no other program uses the account.',
      );
    }
    if (begins) {
      this.options.log(
        `The Racing API refuses requests (429 Too Many Requests): all of them pause for ${formatDuration(pauseMs / 1000)}, and longer if it goes on.`,
      );
    }
  }

  /** The request met no answer at all: a probe that failed, so the pause goes on. */
  unanswered(request: number): void {
    if (this.pause && request >= this.pause.firstProbe) this.refused(request);
  }

  private isHeldBack(): boolean {
    return this.pause !== undefined && (this.pause.probing || this.options.clock() < this.pause.untilMs);
  }
}
