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
  const { requestsPerSecond, budget, connected, tell, signal } = options;
  const coolingOff = createCoolingOff(options);
  const { learn, unevenMs } = createLearning(options);
  // Enough to use a rate of two even when the API takes ten seconds for each answer; a page is 1 MB, and more of it parsed.
  const maxInFlight = Math.min(20, Math.max(8, Math.ceil(requestsPerSecond * 10)));
  const inFlight = new Set<Promise<unknown>>();
  let lastAdmission: Promise<unknown> = Promise.resolve();

  /** Begins a request, unless a pause has begun. */
  function begin(send: Send) {
    const request = coolingOff.start();
    if (request === undefined) return undefined;
    tell({ kind: 'request' });
    const { answered, left } = launch(send);
    // What the API answers tells the cooling off and the budget how to go on; that it does not, the cooling off alone.
    answered.catch(() => coolingOff.landed(request));
    const landed = answered.then((answer) => learn(answer, coolingOff.landed(request, answer)));
    // To nothing: who waits for any of those in flight would keep the answer, with all its races, until all have ended.
    const ended = landed.catch(() => {}).then(() => void inFlight.delete(ended));
    inFlight.add(ended);
    return { landed, left };
  }

  /** Waits for the request's turn; undefined if it `isHeld` when that has come. */
  async function admit(send: Send, isHeld: () => boolean) {
    while (inFlight.size >= maxInFlight) await Promise.race(inFlight);
    for (;;) {
      signal.throwIfAborted();
      if (isHeld()) return undefined;
      await coolingOff.wait();
      await connected();
      const begun = await budget.takeTurn(() => begin(send), unevenMs(), signal);
      if (begun) return begun;
    }
  }

  /** Sends in its turn; undefined if it `isHeld` when that comes. Throws what `send` throws, or the signal's reason. */
  async function run(send: Send, isHeld = () => false): Promise<HttpAnswer | undefined> {
    const admission = lastAdmission.then(() => admit(send, isHeld));
    lastAdmission = admission.catch(() => {});
    return await (await admission)?.landed;
  }

  return { run, maxInFlight };
}

/** Sends; `left` resolves when the request has left or failed before. */
function launch(send: Send) {
  let hasLeft = () => {};
  const departure = new Promise<void>((resolve) => {
    hasLeft = resolve;
  });
  const answered = send(hasLeft);
  return { answered, left: Promise.race([departure, answered.catch(() => {})]) };
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

  /** Returns the answer, when others know what it teaches. */
  async function learn(answer: HttpAnswer, pauseMs: number | undefined): Promise<HttpAnswer> {
    const { status, latencyMs } = answer;
    if (status !== 429) latencies.push(latencyMs);
    if (latencies.length > latenciesKept) latencies.shift();
    if (pauseMs !== undefined) {
      settledAtMs = clock() + settlingMs;
      await budget.refused(pauseMs, signal);
    } else if (status !== 429) tellWhenSettled();
    return answer;
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

/** A shorter pause is shown in the bar and not as lines. */
const notableSeconds = 5;

/** A time in which nothing starts, but for a probe at its end. */
interface Pause {
  /** The first request that may probe; those before were on their way when it began. */
  firstProbe: number;
  sinceMs: number;
  untilMs: number;
  refusals: number;
  isProbing: boolean;
  isTold: boolean;
}

/** The last probe is due when the longest silence ends. */
const lastProbeMs = ({ sinceMs }: Pause) => sinceMs + longestSilenceMs;

function pauseUntil(pause: Pause, untilMs: number): void {
  pause.untilMs = Math.min(untilMs, lastProbeMs(pause));
}

/** Holds back for another while, which is returned in milliseconds. Throws a FatalError after the last probe. */
function prolong(pause: Pause, nowMs: number, retryAfterMs: number): number {
  const ownMs = (pausesMs[pause.refusals] ?? pausesMs.at(-1) ?? 0) * (1 + Math.random() / 20);
  const pauseMs = Math.max(ownMs, retryAfterMs);
  pause.refusals += 1;
  pause.isProbing = false;
  pauseUntil(pause, nowMs + pauseMs);
  if (nowMs < lastProbeMs(pause) && nowMs + retryAfterMs <= lastProbeMs(pause)) return pauseMs;
  const length = formatDuration(longestSilenceMs / 1000);
  throw new FatalError(
    exitCodes.apiUnavailable,
    `The Racing API still refuses requests (429), and waiting on would take more than ${length}. ` +
      'Nothing is lost: run again later, when no other program uses the account.',
  );
}

function tellPause(pause: Pause, seconds: number, tell: Tell): void {
  tell({ kind: 'pause', seconds, reason: 'refused (429)' });
  if (pause.isTold || seconds < notableSeconds) return;
  pause.isTold = true;
  const what = `all of them pause for ${formatDuration(seconds)}, and longer if it goes on.`;
  tell({ kind: 'line', line: `The Racing API refuses requests (429 Too Many Requests): ${what}` });
}

/** Holds all requests back after a 429, then lets one at a time probe until the API answers again. */
function createCoolingOff({ clock, sleep, tell, signal }: PaceOptions) {
  let nextRequest = 0;
  let pause: Pause | undefined;
  const holdsBack = () => pause !== undefined && (pause.isProbing || clock() < pause.untilMs);

  return {
    /** Resolves when a request could start. */
    wait: async () => {
      while (pause && holdsBack()) {
        const leftMs = pause.untilMs - clock();
        await sleep(leftMs > 0 ? Math.min(leftMs, longestSleepMs) : longestSleepMs, signal);
      }
    },
    /** The number of a request that starts now, as the probe if there is a pause; undefined if it has to wait. */
    start: () => {
      if (holdsBack()) return undefined;
      if (pause) pause.isProbing = true;
      return nextRequest++;
    },
    /** A request has ended, perhaps without an answer. Returns for how many ms all are held back if it was refused. */
    landed: (request: number, answer?: HttpAnswer): number | undefined => {
      const nowMs = clock();
      const { status, retryAfterMs = 0 } = answer ?? {};
      const isRefused = status === 429;
      if (signal.aborted) return undefined;
      if (pause && request < pause.firstProbe) {
        if (isRefused) pauseUntil(pause, Math.max(pause.untilMs, nowMs + retryAfterMs));
      } else if (isRefused) {
        const before = { refusals: 0, isProbing: false, isTold: false };
        pause ??= { firstProbe: nextRequest, sinceMs: nowMs, untilMs: nowMs, ...before };
        const pauseMs = prolong(pause, nowMs, retryAfterMs);
        tellPause(pause, pauseMs / 1000, tell);
        return pauseMs;
      } else if (pause && !answer) {
        // That says nothing about refusals: the pause goes on a little.
        pause.isProbing = false;
        pauseUntil(pause, nowMs + (pausesMs[0] ?? 0));
      } else if (pause) {
        const line = `The Racing API answers again after ${formatDuration((nowMs - pause.sinceMs) / 1000)}; going on.`;
        if (pause.isTold) tell({ kind: 'line', line });
        pause = undefined;
      }
      return undefined;
    },
  };
}
