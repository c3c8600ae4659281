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

type Send = () => Promise<HttpAnswer>;

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

  /** Runs `send` when its turn has come. Throws what `send` throws, or the signal's reason. */
  async function run(send: Send): Promise<HttpAnswer> {
    const admission = lastAdmission.then(admit);
    lastAdmission = admission.catch(() => {});
    const exchanged = exchange(await admission, send, coolingOff);
    const landed = exchanged.catch(() => {}).finally(() => inFlight.delete(landed));
    inFlight.add(landed);
    return await exchanged;
  }

  return { run, maxInFlight };
}

async function exchange(request: number, send: Send, coolingOff: ReturnType<typeof createCoolingOff>) {
  let answer: HttpAnswer | undefined;
  try {
    answer = await send();
    return answer;
  } finally {
    coolingOff.landed(request, answer);
  }
}

/**
 * How long to hold back after each refusal in a row, unless Retry-After asks for longer; the last one repeats.
 * Short at first for a rate exceeded by chance, then aimed just past the API's cooling-off of 5 and of 30 minutes
 * (reference: "Rate Limits" of its documentation): six probes in the first half hour.
 */
const pausesMs = [2, 6, 17, 50, 235, 690, 810, 900].map((seconds) => seconds * 1000);
const longestSilenceMs = 90 * 60 * 1000;
const longestSleepMs = 250;

/** A time in which nothing starts, from now on, but for a probe at its end: `firstProbe` or a later request. */
function createPause(clock: () => number, firstProbe: number) {
  const sinceMs = clock();
  // The last probe is due when the longest silence ends.
  const lastProbeMs = sinceMs + longestSilenceMs;
  let untilMs = sinceMs;
  let refusals = 0;
  let probing = false;

  /** Holds back for another while, which is returned in milliseconds. Throws a FatalError after the last probe. */
  function prolong(retryAfterMs: number): number {
    const nowMs = clock();
    const ownMs = (pausesMs[refusals] ?? pausesMs.at(-1) ?? 0) * (1 + Math.random() / 20);
    const pauseMs = Math.max(ownMs, retryAfterMs);
    refusals += 1;
    probing = false;
    untilMs = Math.min(nowMs + pauseMs, lastProbeMs);
    if (nowMs >= lastProbeMs || nowMs + retryAfterMs > lastProbeMs) throw tooLong();
    return pauseMs;
  }

  return {
    prolong,
    /** Notes what a request was told that was on its way before the pause began and says nothing about its end. */
    extend: (retryAfterMs = 0) => {
      untilMs = Math.min(Math.max(untilMs, clock() + retryAfterMs), lastProbeMs);
    },
    beganAfter: (request: number) => request < firstProbe,
    elapsedMs: () => clock() - sinceMs,
    holdsBack: () => probing || clock() < untilMs,
    /** For how long to sleep before asking again whether it holds back. */
    sleepMs: () => (probing ? longestSleepMs : Math.min(Math.max(0, untilMs - clock()), longestSleepMs)),
    probe: () => {
      probing = true;
    },
  };
}

/** Holds all requests back after a 429, then lets one at a time probe until the API answers again. */
function createCoolingOff({ clock, sleep, tell, signal }: PaceOptions) {
  let nextRequest = 0;
  let pause: ReturnType<typeof createPause> | undefined;
  const say = (line: string) => tell({ kind: 'line', line });

  /** Holds back for another while. Throws a FatalError when the API has been refusing for too long. */
  function holdBack(retryAfterMs = 0): void {
    const begins = pause === undefined;
    pause ??= createPause(clock, nextRequest);
    const length = formatDuration(pause.prolong(retryAfterMs) / 1000);
    const what = `all of them pause for ${length}, and longer if it goes on.`;
    if (begins) say(`The Racing API refuses requests (429 Too Many Requests): ${what}`);
  }

  return {
    /** Resolves when a request could start. */
    wait: async () => {
      while (pause?.holdsBack()) await sleep(pause.sleepMs(), signal);
    },
    /** The number of a request that starts now, as the probe if there is a pause; undefined if it has to wait. */
    start: () => {
      if (pause?.holdsBack()) return undefined;
      pause?.probe();
      nextRequest += 1;
      return nextRequest - 1;
    },
    /** The request has ended, perhaps without an answer: then a probe has failed and the pause goes on. */
    landed: (request: number, answer?: HttpAnswer) => {
      const isRefused = answer?.status === 429;
      if (pause?.beganAfter(request)) {
        if (isRefused) pause.extend(answer.retryAfterMs);
      } else if (isRefused || (pause && !answer)) {
        holdBack(answer?.retryAfterMs);
      } else if (pause) {
        say(`The Racing API answers again after ${formatDuration(pause.elapsedMs() / 1000)}; going on.`);
        pause = undefined;
      }
    },
  };
}

function tooLong(): FatalError {
  const length = formatDuration(longestSilenceMs / 1000);
  return new FatalError(
    exitCodes.apiUnavailable,
    `The Racing API still refuses requests (429), and waiting on would take more than ${length}. ` +
      'Nothing is lost: run again with --resume later, when no other program uses the account.',
  );
}
