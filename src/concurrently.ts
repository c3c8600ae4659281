import { setTimeout as sleep } from 'node:timers/promises';
import pRetry from 'p-retry';
import type { Tell } from './events.js';

/**
 * Maps items in the order given, at most `concurrency` at once, and yields each result when it is there. Takes
 * no further item while the consumer is busy and `concurrency` results are under way or waiting for it. When the
 * items or a mapping fail, the mappings under way are awaited and their results yielded before it throws.
 */
export async function* mapConcurrently<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  concurrency: number,
  map: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  const running = new Set<Promise<void>>();
  const results: Result[] = [];
  const failures: unknown[] = [];
  const failed = (error: unknown) => void failures.push(error);
  try {
    for await (const item of items) {
      const task = map(item)
        .then((result) => void results.push(result), failed)
        .finally(() => running.delete(task));
      running.add(task);
      while (running.size >= concurrency) await Promise.race(running);
      yield* results.splice(0);
      if (failures.length > 0) break;
    }
  } catch (error) {
    failed(error);
  }
  while (running.size > 0) {
    await Promise.race(running);
    yield* results.splice(0);
  }
  yield* results.splice(0);
  if (failures.length > 0) throw failures[0];
}

/**
 * Groups items as they come, each group of one `kindOf`; smaller ones hold what is left of a kind, and what is left at
 * the end, also when the items end by an error.
 */
export async function* inBatches<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  size: number,
  kindOf: (item: Item) => unknown = () => undefined,
): AsyncGenerator<Item[]> {
  const batch: Item[] = [];
  try {
    for await (const item of items) {
      const [first] = batch;
      if (first !== undefined && kindOf(first) !== kindOf(item)) yield batch.splice(0);
      batch.push(item);
      if (batch.length === size) yield batch.splice(0);
    }
  } catch (error) {
    if (batch.length > 0) yield batch;
    throw error;
  }
  if (batch.length > 0) yield batch;
}

/**
 * Gives the task a signal that aborts with `signal`, or after `timeoutMs`, and returns what the task does. The task has
 * to heed it. (An AbortSignal.any of an AbortSignal.timeout can lose its timeout: https://github.com/nodejs/node/issues/57736)
 */
export async function inLimitedTime<Result>(
  signal: AbortSignal,
  timeoutMs: number,
  task: (limited: AbortSignal) => Promise<Result>,
): Promise<Result> {
  signal.throwIfAborted();
  const abort = new AbortController();
  const onAbort = () => abort.abort(signal.reason);
  const late = new Error(`no complete answer in ${timeoutMs / 1000}s`);
  const tooLate = () => abort.abort(Object.assign(late, { code: 'ETIMEDOUT' }));
  const timer = setTimeout(tooLate, timeoutMs);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await task(abort.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

const retries = 5;

/**
 * Tries up to six times, and returns what an attempt does that succeeds. Waits twice as long before each further one,
 * from `firstRetryMs` on and jittered up to double, and at least for the milliseconds that `leastWaitMs` tells about the
 * error of the attempt so numbered: undefined if that is thrown as it is. Tells of each wait, which the signal ends.
 */
export async function withRetries<Result>(
  attempt: () => Promise<Result>,
  firstRetryMs: number,
  leastWaitMs: (error: Error, attemptNumber: number) => number | undefined,
  { signal, tell }: { signal: AbortSignal; tell: Tell },
): Promise<Result> {
  let leastMs: number | undefined;
  return await pRetry(attempt, {
    retries,
    minTimeout: 0,
    signal,
    onFailedAttempt: async ({ error, attemptNumber, retriesLeft }) => {
      leastMs = retriesLeft > 0 ? leastWaitMs(error, attemptNumber) : undefined;
      if (leastMs === undefined) return;
      const waitMs = Math.max(leastMs, firstRetryMs * 2 ** (attemptNumber - 1) * (1 + Math.random()));
      tell({ kind: 'waiting', seconds: waitMs / 1000, reason: error.message });
      await sleep(waitMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    },
    shouldRetry: () => leastMs !== undefined,
  });
}
