import { exitCodes, FatalError } from './errors.js';
import type { Tell } from './events.js';
import { formatDuration } from './format.js';

/** What the API answered, before anybody has looked at its meaning. */
export interface HttpAnswer {
  status: number;
  /** What a Retry-After header asks for. */
  retryAfterMs: number | undefined;
  body: string;
}

export interface PaceOptions {
  requestsPerSecond: number;
  /** Resolves when the account's next request may start, which it then has to do at once. */
  takeTurn: (signal: AbortSignal) => Promise<void>;
  /** Milliseconds of a clock that is never set back. */
  clock: () => number;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  tell: Tell;
  /** Aborted when the run is to ask nothing more; its reason is thrown to those who wait. */
  signal: AbortSignal;
}

export type Pace = ReturnType<typeof createPace>;

/** Lets requests start evenly spaced, several in flight at once, and none while the API cools off (429). */
export function createPace(options: PaceOptions) {
  const { requestsPerSecond, takeTurn, tell, signal } = options;
  const coolingOff = createCoolingOff(options);
  // Enough to use the whole rate even when the API takes ten seconds for each answer.
  const maxInFlight = Math.min(64, Math.max(8, Math.ceil(requestsPerSecond * 10)));
  const inFlight = new Set<Promise<unknown>>();
  let lastAdmission: Promise<unknown> = Promise.resolve();

  async function admit(): Promise<number> {
    while (inFlight.size >= maxInFlight) await Promise.race(inFlight);
    for (;;) {
      await coolingOff.wait();
      await takeTurn(signal);
      // Undefined if the API refused another request while this one waited for its turn.
      const request = coolingOff.start();
      if (request === undefined) continue;
      tell({ kind: 'request' });
      return request;
    }
  }

  async function exchange(request: number, send: () => Promise<HttpAnswer>): Promise<HttpAnswer> {
    const answer = await send().catch((error) => {
      coolingOff.unanswered(request);
      throw error;
    });
    if (answer.status === 429) coolingOff.refused(request, answer.retryAfterMs);
    else coolingOff.answered(request);
    return answer;
  }

  /** Runs `send` when its turn has come. Throws what `send` throws, or the signal's reason. */
  async function run(send: () => Promise<HttpAnswer>): Promise<HttpAnswer> {
    const admission = lastAdmission.then(admit);
    lastAdmission = admission.catch(() => {});
    const exchanged = exchange(await admission, send);
    const landed = exchanged.catch(() => {}).finally(() => inFlight.delete(landed));
    inFlight.add(landed);
    return await exchanged;
  }

  return { run, maxInFlight };
}

/**
 * How long to hold back after each refusal in a row, unless Retry-After asks for longer; the last one repeats.
 * Short at first for a rate exceeded by chance, then aimed just past the API's cooling-off of 5 and of 30 minutes
 * (reference: "Rate Limits" of its documentation): six probes in the first half hour.
 */
const pausesMs = [2, 6, 17, 50, 235, 690, 810, 900].map((seconds) => seconds * 1000);
const longestSilenceMs = 90 * 60 * 1000;
const longestSleepMs = 250;

interface Pause {
  sinceMs: number;
  untilMs: number;
  refusals: number;
  /** Requests with a lower number were on their way before the pause began and say nothing about its end. */
  firstProbe: number;
  probing: boolean;
}

/** Holds all requests back after a 429, then lets one at a time probe until the API answers again. */
function createCoolingOff({ clock, sleep, tell, signal }: PaceOptions) {
  let nextRequest = 0;
  let pause: Pause | undefined;

  const isHeldBack = () => pause !== undefined && (pause.probing || clock() < pause.untilMs);
  const beganBefore = (request: number) => pause !== undefined && request < pause.firstProbe;

  /** The API answered 429. Throws a FatalError when it has been refusing for too long. */
  function refused(request: number, retryAfterMs = 0): void {
    const nowMs = clock();
    if (pause && beganBefore(request)) {
      const longest = pause.sinceMs + longestSilenceMs;
      pause.untilMs = Math.min(Math.max(pause.untilMs, nowMs + retryAfterMs), longest);
    } else if (pause) {
      prolong(pause, nowMs, retryAfterMs);
    } else {
      pause = { sinceMs: nowMs, untilMs: nowMs, refusals: 0, firstProbe: nextRequest, probing: false };
      const length = formatDuration(prolong(pause, nowMs, retryAfterMs) / 1000);
      const line = `The Racing API refuses requests (429 Too Many Requests): all of them pause for ${length}, and longer if it goes on.`;
      tell({ kind: 'line', line });
    }
  }

  return {
    refused,
    /** Resolves when a request could start. */
    wait: async () => {
      while (isHeldBack()) {
        const remainingMs = (pause?.untilMs ?? 0) - clock();
        await sleep(remainingMs > 0 ? Math.min(remainingMs, longestSleepMs) : longestSleepMs, signal);
      }
    },
    /** The number of a request that starts now, as the probe if there is a pause; undefined if it has to wait. */
    start: () => {
      if (isHeldBack()) return undefined;
      if (pause) pause.probing = true;
      nextRequest += 1;
      return nextRequest - 1;
    },
    answered: (request: number) => {
      if (pause === undefined || beganBefore(request)) return;
      const length = formatDuration((clock() - pause.sinceMs) / 1000);
      pause = undefined;
      tell({ kind: 'line', line: `The Racing API answers again after ${length}; going on.` });
    },
    /** The request met no answer at all: a probe that failed, so the pause goes on. */
    unanswered: (request: number) => {
      if (pause && !beganBefore(request)) refused(request);
    },
  };
}

/** Holds back for another while, which is returned in milliseconds. Throws a FatalError after the last probe. */
function prolong(pause: Pause, nowMs: number, retryAfterMs: number): number {
  const ownMs = (pausesMs[pause.refusals] ?? pausesMs.at(-1) ?? 0) * (1 + Math.random() / 20);
  const pauseMs = Math.max(ownMs, retryAfterMs);
  // The last probe is due when the longest silence ends.
  const lastProbeMs = pause.sinceMs + longestSilenceMs;
  pause.refusals += 1;
  pause.probing = false;
  pause.untilMs = Math.min(nowMs + pauseMs, lastProbeMs);
  if (nowMs >= lastProbeMs || nowMs + retryAfterMs > lastProbeMs) throw tooLong();
  return pauseMs;
}

function tooLong(): FatalError {
  const length = formatDuration(longestSilenceMs / 1000);
  return new FatalError(
    exitCodes.apiUnavailable,
    `The Racing API still refuses requests (429), and waiting on would take more than ${length}. ` +
      'Nothing is lost: run again with --resume later, when no other program uses the account.',
  );
}
