import type { CoolingOff } from './cooling-off.js';
import type { HttpAnswer } from './http-answer.js';

export interface RequestPacerOptions {
  requestsPerSecond: number;
  /** Resolves when the account's next request may start. */
  budget: { take(signal: AbortSignal): Promise<void> };
  coolingOff: CoolingOff;
  /** Aborted when the run is to ask nothing more; its reason is thrown to those who wait. */
  signal: AbortSignal;
}

/** Lets requests start evenly spaced, several in flight at once, and none while the API cools off (429). */
export class RequestPacer {
  /** How many requests were started so far. */
  started = 0;
  /** Enough to use the whole rate even when the API takes ten seconds for each answer. */
  readonly maxInFlight: number;
  private readonly options: RequestPacerOptions;
  private readonly inFlight = new Set<Promise<unknown>>();
  private lastAdmission: Promise<unknown> = Promise.resolve();

  constructor(options: RequestPacerOptions) {
    this.options = options;
    this.maxInFlight = Math.min(64, Math.max(8, Math.ceil(options.requestsPerSecond * 10)));
  }

  /** Runs `send` when its turn has come. Throws what `send` throws, or the signal's reason. */
  async run(send: () => Promise<HttpAnswer>): Promise<HttpAnswer> {
    const admission = this.lastAdmission.then(() => this.admit());
    this.lastAdmission = admission.catch(() => {});
    const request = await admission;
    const exchange = this.exchange(request, send);
    const landed = exchange.catch(() => {}).finally(() => this.inFlight.delete(landed));
    this.inFlight.add(landed);
    return await exchange;
  }

  private async admit(): Promise<number> {
    const { budget, coolingOff, signal } = this.options;
    while (this.inFlight.size >= this.maxInFlight) await Promise.race(this.inFlight);
    for (;;) {
      await coolingOff.wait(signal);
      await budget.take(signal);
      // Undefined if the API refused another request while this one waited for its turn.
      const request = coolingOff.start();
      if (request === undefined) continue;
      this.started += 1;
      return request;
    }
  }

  private async exchange(request: number, send: () => Promise<HttpAnswer>): Promise<HttpAnswer> {
    const { coolingOff } = this.options;
    let answer: HttpAnswer;
    try {
      answer = await send();
    } catch (error) {
      coolingOff.unanswered(request);
      throw error;
    }
    if (answer.status === 429) coolingOff.refused(request, answer.retryAfterMs);
    else coolingOff.answered(request);
    return answer;
  }
}
