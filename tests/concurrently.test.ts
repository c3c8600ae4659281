import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { expect, it, vi } from 'vitest';
import { inBatches, inLimitedTime, mapConcurrently } from '../src/concurrently.js';

const failure = new Error('It failed');
const patience = { timeout: 60_000, interval: 1 };

async function* thenFail<Item>(items: Item[]): AsyncGenerator<Item> {
  yield* items;
  throw failure;
}

/** All that a generator yields, and the error that ends it. */
async function drain<Item>(generator: AsyncGenerator<Item>, onItem = (_item: Item) => {}) {
  const items: Item[] = [];
  try {
    for await (const item of generator) {
      items.push(item);
      onItem(item);
    }
  } catch (error) {
    return { items, error };
  }
  return { items, error: undefined };
}

/** Mappings that log when they start, and last until the test ends them. */
function openMappings() {
  const log: string[] = [];
  const ends = new Map<number, (error?: Error) => void>();
  return {
    log,
    map: (item: number) =>
      new Promise<number>((resolve, reject) => {
        log.push(`start ${item}`);
        ends.set(item, (error) => (error ? reject(error) : resolve(item)));
      }),
    end: async (item: number, error?: Error) => {
      const end = await vi.waitUntil(() => ends.get(item), patience);
      end(error);
    },
  };
}

it('takes items in their order, at most `concurrency` at once, and yields results as they come', async () => {
  const { log, map, end } = openMappings();
  const drained = drain(mapConcurrently([1, 2, 3, 4], 2, map), (item) => log.push(`yield ${item}`));
  for (const item of [2, 3, 4]) await end(item);
  await vi.waitUntil(() => log.includes('yield 4'), patience);
  await end(1);
  expect((await drained).error).toBeUndefined();
  expect(log).toEqual(['start 1', 'start 2', 'yield 2', 'start 3', 'yield 3', 'start 4', 'yield 4', 'yield 1']);
});

it('yields every result once, never with more than `concurrency` under way', async () => {
  const durations = fc.array(fc.nat(2), { maxLength: 15 });
  await fc.assert(
    fc.asyncProperty(durations, fc.integer({ min: 1, max: 9 }), async (ms, concurrency) => {
      let running = 0;
      let most = 0;
      const { items } = await drain(
        mapConcurrently(ms.entries(), concurrency, async ([index, duration]) => {
          running += 1;
          most = Math.max(most, running);
          if (duration > 0) await sleep(duration);
          running -= 1;
          return index;
        }),
      );
      expect(items.sort((a, b) => a - b)).toEqual([...ms.keys()]);
      expect(most).toBeLessThanOrEqual(concurrency);
    }),
    { numRuns: 40 },
  );
});

it('takes no further item while the consumer is busy', async () => {
  const { log, map, end } = openMappings();
  const generator = mapConcurrently([1, 2, 3, 4, 5, 6], 2, map);
  const first = generator.next();
  await end(1);
  await end(2);
  expect(await first).toEqual({ value: 1, done: false });
  await sleep(10);
  expect(log).toEqual(['start 1', 'start 2']);
  await generator.return(undefined);
});

it.each([
  { what: 'an item', items: thenFail([1, 2, 3]), errors: [], results: [2, 3, 1] },
  { what: 'a mapping', items: [1, 2, 3, 4, 5], errors: [failure], results: [3, 1] },
  { what: 'one mapping after another', items: [1, 2, 3, 4], errors: [failure, new Error('later')], results: [1] },
])('yields the results under way when $what fails, then throws the first error', async ({ items, errors, results }) => {
  const { log, map, end } = openMappings();
  const drained = drain(mapConcurrently(items, 3, map));
  for (const [place, item] of [2, 3, 1].entries()) {
    await end(item, errors[place]);
    await sleep(5);
  }
  expect(await drained).toEqual({ items: results, error: failure });
  expect(log).toEqual(['start 1', 'start 2', 'start 3']);
});

it.each([
  { items: [], batches: [] },
  { items: [1], batches: [[1]] },
  { items: [1, 2], batches: [[1, 2]] },
  { items: [1, 2, 3, 4, 5], batches: [[1, 2], [3, 4], [5]] },
])('groups $items as $batches, also before an error', async ({ items, batches }) => {
  expect(await drain(inBatches(items, 2))).toEqual({ items: batches, error: undefined });
  expect(await drain(inBatches(thenFail(items), 2))).toEqual({ items: batches, error: failure });
});

/** Ends only when it is told to. */
const hang = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  });

it('a task is out of time also when garbage was collected meanwhile', async () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage: () => void = runInNewContext('gc');
  const ended = expect(inLimitedTime(new AbortController().signal, 300, hang)).rejects.toThrow(
    'no complete answer in 0.3s',
  );
  for (let times = 0; times < 5; times += 1) {
    await sleep(10);
    collectGarbage();
  }
  await ended;
});

it('a task ends with its signal, for the same reason, and leaves no listener on it', async () => {
  const stop = new AbortController();
  const removed = vi.spyOn(stop.signal, 'removeEventListener');
  const ended = expect(inLimitedTime(stop.signal, 60_000, hang)).rejects.toBe(failure);
  stop.abort(failure);
  await ended;
  expect(removed).toHaveBeenCalledTimes(1);
  const task = vi.fn(hang);
  await expect(inLimitedTime(stop.signal, 60_000, task)).rejects.toBe(failure);
  expect(task).not.toHaveBeenCalled();
  expect(await inLimitedTime(new AbortController().signal, 60_000, async () => 'done')).toBe('done');
});
