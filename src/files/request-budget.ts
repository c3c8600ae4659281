import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';
import { errorCode, FatalError } from '../errors.js';
import { parseJson } from '../format.js';
import { createFileLock } from './locks.js';
import { filesUnusable } from './whole-file.js';

/** What all processes of a folder know of the account; times in milliseconds since the machine's start. */
const stateSchema = z.object({
  /** When the last requests left, the latest last. */
  leftAtMs: z.array(z.number()),
  /** When the turn is due that was booked last. */
  dueAtMs: z.number(),
  /** When the API last refused one (429). */
  refusedAtMs: z.number().nullable(),
  /** From one request to the next, as that refusal taught it. */
  spacingMs: z.number(),
  /** Nothing leaves before. */
  pausedUntilMs: z.number(),
});
type State = z.infer<typeof stateSchema>;

/** A little slower than allowed: the API counts arrivals, and some are on their way for longer than others. */
const safetyFactor = 1.005;
/** At least so much slower in any second, when requests follow sooner because some have left late. */
const leastSafetyFactor = 1.002;
/** So much sooner they may follow. */
const catchUpMs = 50;
/** More than any API allows in a second. */
const departuresKept = 40;
const minuteMs = 60_000;
/** So long after a refusal uneven requests get more room. */
const roomyMinutes = 10;
const widening = 1.1;
const narrowingAMinute = 0.98;
/** Others find out about a longer pause by themselves, and say so. */
const longestSharedPauseMs = 5_000;
/** Nobody books a turn further ahead. */
const mostAheadMs = 10 * minuteMs;
const pollMs = 5;
/** So long, at most, the lock waits for a request's bytes to leave. */
const longestDepartureMs = 2_000;

export type RequestBudget = ReturnType<typeof shareRequestBudget>;

/**
 * The account's requests per second, shared by every process that works in the same directory: each books the next
 * turn, waits for it, and holds the lock until its request has left, which it notes. What it does throws a FatalError
 * when the folder is unusable.
 */
export function shareRequestBudget(directory: string, requestsPerSecond: number) {
  const leastSpacingMs = (1000 / requestsPerSecond) * safetyFactor;
  const burst = Math.min(departuresKept, Math.max(1, Math.floor(requestsPerSecond)));
  const path = join(directory, 'request_budget');
  const alone = workAlone(path);

  /**
   * Calls `start` when the account's next request is due; its `left` resolves when the request has left. Returns what
   * `start` returns; undefined means that nothing leaves. Requests that arrive less evenly than they leave, by
   * `unevenMs` in a second, get so much more room where that was too much for the API. Throws the signal's reason.
   */
  async function takeTurn<Started extends { left: Promise<unknown> }>(
    start: () => Started | undefined,
    unevenMs: number,
    signal: AbortSignal,
  ): Promise<Started | undefined> {
    const roomyMs = leastSpacingMs * (1 + unevenMs / 1000);
    const spacingIn = (state: State) =>
      spacingOf(state, minutesSinceRefusal(state) < roomyMinutes ? roomyMs : leastSpacingMs);
    let dueAtMs = await alone(signal, async (state) => {
      // Soon after the last one where that came late.
      const bookedMs = Math.max(state.dueAtMs + spacingIn(state), monotonicMs() - catchUpMs);
      save(path, { ...state, dueAtMs: bookedMs });
      return bookedMs;
    });
    for (;;) {
      const waitMs = dueAtMs - monotonicMs();
      if (waitMs > 0) await sleep(Math.ceil(waitMs), undefined, { signal }).catch(() => signal.throwIfAborted());
      const turn = await alone(signal, async (state) => {
        dueAtMs = Math.max(state.pausedUntilMs, leastAtMs(state, burst, spacingIn(state)));
        if (dueAtMs > monotonicMs()) return undefined;
        const started = start();
        if (started) {
          await Promise.race([started.left, sleep(longestDepartureMs, undefined, { ref: false })]);
          save(path, { ...state, leftAtMs: [...state.leftAtMs, monotonicMs()].slice(-departuresKept) });
        }
        return { started };
      });
      if (turn) return turn.started;
    }
  }

  return {
    takeTurn,
    /** Notes that the API has refused a request (429) and that all pause. A further one widens the spacing. */
    refused: (pauseMs: number, signal: AbortSignal) =>
      alone(signal, async (state) => save(path, afterRefusal(state, pauseMs, leastSpacingMs))),
    /** How many requests a second the spacing means now. */
    allowedPerSecond: () => (1000 * safetyFactor) / spacingOf(readState(path), leastSpacingMs),
  };
}

/** Does work with what is noted at `path`, while no other process does; throws the signal's reason. */
function workAlone(path: string) {
  const lock = createFileLock(`${path}.lock`, longestDepartureMs + 3_000);
  return async <Result>(signal: AbortSignal, work: (state: State) => Promise<Result>): Promise<Result> => {
    try {
      while (lock.tryAcquire() !== undefined) await sleep(pollMs, undefined, { signal });
      try {
        signal.throwIfAborted();
        return await work(readState(path));
      } finally {
        lock.release();
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof FatalError || errorCode(error) === undefined) throw error;
      throw filesUnusable(`The request budget ${path} cannot be kept`, error);
    }
  };
}

function minutesSinceRefusal({ refusedAtMs }: State): number {
  return refusedAtMs === null ? Number.POSITIVE_INFINITY : (monotonicMs() - refusedAtMs) / minuteMs;
}

/** The spacing that holds now: as learned, and a fiftieth narrower for each minute since. */
function spacingOf(state: State, leastSpacingMs: number): number {
  return Math.max(leastSpacingMs, state.spacingMs * narrowingAMinute ** Math.floor(minutesSinceRefusal(state)));
}

/** Before this too many would leave at once, or in the time in which `burst` are allowed. */
function leastAtMs({ leftAtMs }: State, burst: number, spacingMs: number): number {
  const last = leftAtMs.at(-1) ?? Number.NEGATIVE_INFINITY;
  const before = leftAtMs.at(-burst) ?? Number.NEGATIVE_INFINITY;
  return Math.max(last + spacingMs - catchUpMs, before + (burst * spacingMs * leastSafetyFactor) / safetyFactor);
}

function afterRefusal(state: State, pauseMs: number, leastSpacingMs: number): State {
  const nowMs = monotonicMs();
  const isFurther = minutesSinceRefusal(state) < 1;
  // Our own rate is nothing that the API has taught.
  const spacingMs = isFurther ? spacingOf(state, leastSpacingMs) * widening : spacingOf(state, 0);
  const pausedUntilMs = nowMs + Math.min(pauseMs, longestSharedPauseMs);
  return { ...state, refusedAtMs: nowMs, spacingMs, pausedUntilMs };
}

function save(path: string, state: State): void {
  writeFileSync(path, JSON.stringify(state));
}

/** What is noted at `path`; as if a request had just left where that is no note, or from before the machine's start. */
function readState(path: string): State {
  const nowMs = monotonicMs();
  const unknown = { dueAtMs: 0, refusedAtMs: null, spacingMs: 0, pausedUntilMs: 0 };
  try {
    const state = stateSchema.safeParse(parseJson(readFileSync(path, 'utf8'))).data;
    const isOfNow =
      state?.leftAtMs.every((at) => at <= nowMs) &&
      (state.refusedAtMs ?? 0) <= nowMs &&
      Math.max(state.dueAtMs, state.pausedUntilMs) <= nowMs + mostAheadMs;
    return state && isOfNow ? state : { ...unknown, leftAtMs: [nowMs], dueAtMs: nowMs };
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return { ...unknown, leftAtMs: [] };
    throw filesUnusable(`The request budget ${path} cannot be read`, error);
  }
}

/** The machine's clock since its start: the same for every process, and never set back as the time of day is. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
