import { exitCodes, FatalError } from './errors.js';
import type { Tell } from './events.js';
import type { HttpAnswer } from './exchange.js';
import type { RequestBudget } from './files/request-budget.js';
import { formatDuration } from './format.js';

/** Sends a request and calls `hasLeft` when its bytes leave. */
type Send = (hasLeft: () => void) => Promise<HttpAnswer>;

export interface PaceOptions {
  requestsPerSecond: number;
  budget: RequestBudget;
  /** Resolves when a connection is open for one request more than there are, or cannot be opened. */
  connected: () => Promise<void>;
  /** Milliseconds of a clock that is never set back. */
  clock: () => number;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  tell: Tell;
  /** Aborted when the run is to ask nothing more; its reason is thrown to those who wait. */
  signal: AbortSignal;
}

export type Pace = ReturnType<typeof createPace>;

/** Lets requests leave evenly spaced, several in flight at once, and none while the API cools off (429). */
export function createPace(options: PaceOptions) {
  const { requestsPerSecond, budget, connected, signal } = options;
  const coolingOff = createCoolingOff(options);
  const flights = createFlights(options, coolingOff);
  // Enough to use a rate of two even when the API takes ten seconds for each answer; a page is 1 MB, and more of it parsed.
  const maxInFlight = Math.min(20, Math.max(8, Math.ceil(requestsPerSecond * 10)));
  let lastAdmission: Promise<unknown> = Promise.resolve();

  /** Waits for the request's turn; undefined if it `isHeld` when that has come. */
  async function admit(send: Send, isHeld: () => boolean) {
    await flights.fewerThan(maxInFlight);
    for (;;) {
      signal.throwIfAborted();
      if (isHeld()) return undefined;
      await coolingOff.wait();
      await connected();
      const begun = await budget.takeTurn(() => flights.begin(send), flights.unevenMs(), signal);
      if (begun) return begun;
    }
  }

  /**
   * Sends when its turn has come; undefined, and nothing is sent, if it `isHeld` by then. Throws what `send` throws, or
   * the signal's reason.
   */
  async function run(send: Send, isHeld = () => false): Promise<HttpAnswer | undefined> {
    const admission = lastAdmission.then(() => admit(send, isHeld));
    lastAdmission = admission.catch(() => {});
    const begun = await admission;
    return await begun?.answered;
  }

  return { run, maxInFlight };
}

/** The requests in flight. What the API answers to each tells the cooling off and the budget how to go on. */
function createFlights(options: PaceOptions, coolingOff: ReturnType<typeof createCoolingOff>) {
  const { learn, unevenMs } = createLearning(options);
  const inFlight = new Set<Promise<unknown>>();

  async function exchange(request: number, send: () => Promise<HttpAnswer>): Promise<HttpAnswer> {
    let answer: HttpAnswer | undefined;
    try {
      answer = await send();
      return answer;
    } finally {
      const pauseMs = coolingOff.landed(request, answer);
      if (answer) await learn(answer, pauseMs);
    }
  }

  return {
    unevenMs,
    /** Begins a request, unless a pause has begun; `left` resolves when it has left or failed before. */
    begin: (send: Send) => {
      const request = coolingOff.start();
      if (request === undefined) return undefined;
      options.tell({ kind: 'request' });
      let hasLeft = () => {};
      const departure = new Promise<void>((resolve) => {
        hasLeft = resolve;
      });
      const answered = exchange(request, () => send(hasLeft));
      const landed = answered.catch(() => {}).finally(() => inFlight.delete(landed));
      inFlight.add(landed);
      return { answered, left: Promise.race([departure, landed]) };
    },
    /** Resolves when fewer than `most` are in flight. */
    fewerThan: async (most: number) => {
      while (inFlight.size >= most) await Promise.race(inFlight);
    },
  };
}

/** So many answers tell how evenly requests arrive. */
const latenciesKept = 30;
const mostUnevenMs = 80;
/** After so long without a refusal the spacing fits, and is told if it is this much wider than asked for. */
const settlingMs = 10_000;
const notableShare = 0.92;

/** Learns from refusals (429) how fast the account may really be asked, and tells it once. */
function createLearning({ requestsPerSecond, budget, clock, tell, signal }: PaceOptions) {
  const latencies: number[] = [];
  // An earlier run may have learned it already.
  let settledAtMs = clock();
  let isTold = false;

  /** By how much requests are on their way for longer or shorter, as far as the last answers show it. */
  function unevenMs(): number {
    const sorted = latencies.toSorted((a, b) => a - b);
    const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))] ?? 0;
    return Math.min(mostUnevenMs, 2 * (at(0.8) - at(0.2)));
  }

  function tellWhenSettled(): void {
    if (isTold || clock() < settledAtMs) return;
    settledAtMs = Number.POSITIVE_INFINITY;
    const allowed = budget.allowedPerSecond();
    if (allowed > requestsPerSecond * notableShare) return;
    isTold = true;
    tell({ kind: 'line', line: `The API allows about ${allowed.toFixed(1)} requests/s; going on at that.` });
  }

  async function learn({ status, latencyMs }: HttpAnswer, pauseMs: number | undefined): Promise<void> {
    if (status !== 429) latencies.push(latencyMs);
    if (latencies.length > latenciesKept) latencies.shift();
    if (pauseMs !== undefined) {
      settledAtMs = clock() + settlingMs;
      await budget.refused(pauseMs, signal);
    } else if (status !== 429) tellWhenSettled();
  }

  return { learn, unevenMs };
}

/**
 * How long to hold back after each refusal in a row, unless Retry-After asks for longer; the last one repeats.
 * Short at first for a rate exceeded by chance, then aimed just past the API's cooling-off of 5 and of 30 minutes
 * (reference: "Rate Limits" of its documentation): six probes in the first half hour.
 */
const pausesMs = [1, 4, 15, 50, 240, 690, 810, 900].map((seconds) => seconds * 1000);
const longestSilenceMs = 90 * 60 * 1000;
const longestSleepMs = 50;

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
    /** A probe has met no answer, which says nothing about refusals. */
    goOn: () => {
      probing = false;
      untilMs = Math.min(clock() + (pausesMs[0] ?? 0), lastProbeMs);
    },
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

/** A shorter pause is shown in the bar and not as lines. */
const notableMs = 5_000;

/** Holds all requests back after a 429, then lets one at a time probe until the API answers again. */
function createCoolingOff({ clock, sleep, tell, signal }: PaceOptions) {
  let nextRequest = 0;
  let pause: ReturnType<typeof createPause> | undefined;
  let isTold = false;
  const say = (line: string) => tell({ kind: 'line', line });

  /** Holds back for another while, which is returned. Throws a FatalError when the API has been refusing for too long. */
  function holdBack(retryAfterMs = 0): number {
    pause ??= createPause(clock, nextRequest);
    const pauseMs = pause.prolong(retryAfterMs);
    const seconds = pauseMs / 1000;
    tell({ kind: 'pause', seconds, reason: 'refused (429)' });
    if (pauseMs >= notableMs && !isTold) {
      isTold = true;
      const what = `all of them pause for ${formatDuration(seconds)}, and longer if it goes on.`;
      say(`The Racing API refuses requests (429 Too Many Requests): ${what}`);
    }
    return pauseMs;
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
    /**
     * The request has ended, perhaps without an answer: then the pause goes on a little. Returns for how long all are
     * held back if it was refused, in milliseconds.
     */
    landed: (request: number, answer?: HttpAnswer): number | undefined => {
      const isRefused = answer?.status === 429;
      if (signal.aborted) return undefined;
      if (pause?.beganAfter(request)) {
        if (isRefused) pause.extend(answer.retryAfterMs);
      } else if (isRefused) {
        return holdBack(answer.retryAfterMs);
      } else if (pause && !answer) {
        pause.goOn();
      } else if (pause) {
        if (isTold) say(`The Racing API answers again after ${formatDuration(pause.elapsedMs() / 1000)}; going on.`);
        pause = undefined;
        isTold = false;
      }
      return undefined;
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
