import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { inBatches, mapConcurrently } from '../src/concurrently.js';

/** Lets everything run that waits for nothing but its turn. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

async function* thenFail<Item>(items: Item[], error: Error): AsyncGenerator<Item> {
  yield* items;
  throw error;
}

/** All that a generator yields, and the error that ends it. */
async function drain<Item>(generator: AsyncGenerator<Item>): Promise<{ items: Item[]; error: unknown }> {
  const items: Item[] = [];
  try {
    for await (const item of generator) items.push(item);
  } catch (error) {
    return { items, error };
  }
  return { items, error: undefined };
}

/** Mappings that end when the test says so. */
class Mappings {
  readonly started: number[] = [];
  private readonly ends = new Map<number, { resolve: (item: number) => void; reject: (e: Error) => void }>();

  readonly map = (item: number): Promise<number> => {
    this.started.push(item);
    return new Promise((resolve, reject) => {
      this.ends.set(item, { resolve, reject });
    });
  };

  async end(item: number, error?: Error): Promise<void> {
    if (error) this.ends.get(item)?.reject(error);
    else this.ends.get(item)?.resolve(item);
    await settle();
  }
}

describe('mapConcurrently', () => {
  it('takes items in their order, at most `concurrency` at once, and yields results as they come', async () => {
    const mappings = new Mappings();
    const yielded: number[] = [];
    const done = (async () => {
      for await (const result of mapConcurrently([1, 2, 3, 4], 2, mappings.map)) yielded.push(result);
    })();
    await settle();
    expect(mappings.started).toEqual([1, 2]);
    await mappings.end(2);
    expect(yielded).toEqual([2]);
    expect(mappings.started).toEqual([1, 2, 3]);
    await mappings.end(3);
    expect(mappings.started).toEqual([1, 2, 3, 4]);
    await mappings.end(4);
    await mappings.end(1);
    await done;
    expect(yielded).toEqual([2, 3, 4, 1]);
  });

  it('yields every result once, never with more than `concurrency` under way', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(3), { maxLength: 30 }),
        fc.integer({ min: 1, max: 9 }),
        async (turns, concurrency) => {
          let running = 0;
          let most = 0;
          const results = await drain(
            mapConcurrently(turns.entries(), concurrency, async ([index, waits]) => {
              running += 1;
              most = Math.max(most, running);
              for (let turn = 0; turn < waits; turn += 1) await settle();
              running -= 1;
              return index;
            }),
          );
          expect(results.items.sort((a, b) => a - b)).toEqual([...turns.keys()]);
          expect(most).toBeLessThanOrEqual(concurrency);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('takes no further item while the consumer is busy', async () => {
    const mappings = new Mappings();
    const generator = mapConcurrently([1, 2, 3, 4, 5, 6], 2, mappings.map);
    const first = generator.next();
    await settle();
    await mappings.end(1);
    await mappings.end(2);
    expect(await first).toEqual({ value: 1, done: false });
    await settle();
    expect(mappings.started).toEqual([1, 2]);
    await generator.return(undefined);
  });

  it.each([
    ['a mapping', (error: Error) => [[1, 2, 3, 4, 5], error] as const],
    ['an item', (error: Error) => [thenFail([1, 2, 3], error), undefined] as const],
  ])('yields the results under way when %s fails, then throws', async (_, make) => {
    const failure = new Error('It failed');
    const [items, mappingError] = make(failure);
    const mappings = new Mappings();
    const drained = drain(mapConcurrently<number, number>(items, 3, mappings.map));
    await settle();
    expect(mappings.started).toEqual([1, 2, 3]);
    await mappings.end(2, mappingError);
    await mappings.end(3);
    await mappings.end(1);
    const { items: results, error } = await drained;
    expect(error).toBe(failure);
    expect(results).toEqual(mappingError ? [3, 1] : [2, 3, 1]);
    expect(mappings.started).toEqual([1, 2, 3]);
  });

  it('throws the first of several errors', async () => {
    const { error } = await drain(
      mapConcurrently([1, 2], 2, async (item) => {
        throw new Error(`Item ${item}`);
      }),
    );
    expect(error).toEqual(new Error('Item 1'));
  });

  it('of nothing yields nothing', async () => {
    expect(await drain(mapConcurrently([], 4, async () => 1))).toEqual({ items: [], error: undefined });
  });
});

describe('inBatches', () => {
  it.each([
    [[], []],
    [[1], [[1]]],
    [[1, 2], [[1, 2]]],
    [
      [1, 2, 3, 4, 5],
      [[1, 2], [3, 4], [5]],
    ],
  ])('groups %j as %j', async (items, batches) => {
    expect(await drain(inBatches(items, 2))).toEqual({ items: batches, error: undefined });
  });

  it('yields what is left before it throws', async () => {
    const failure = new Error('It failed');
    expect(await drain(inBatches(thenFail([1, 2, 3], failure), 2))).toEqual({
      items: [[1, 2], [3]],
      error: failure,
    });
    expect(await drain(inBatches(thenFail([1, 2], failure), 2))).toEqual({ items: [[1, 2]], error: failure });
  });
});
