import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { naiveStatisticsOfAll } from './naive-statistics.js';
import { startWorld, today, type World } from './world.js';

let world: World;

beforeAll(async () => {
  world = await startWorld();
});
beforeEach(() => world.reset());
afterAll(() => world.close());

/** Every row of every type, as the naive implementation has it. */
async function expectNaiveRows(): Promise<void> {
  for (const type of entityTypes) {
    const naive = naiveStatisticsOfAll(world.api.races, type.runnerIdField, today);
    const rows = await world.rows(type);
    expect(rows.size).toBe(world.season[type.name].length);
    for (const [id, row] of rows) {
      const expected = Object.entries(type.columns).map(([key, column]) => [
        column,
        naive.get(id)?.[key as 'lastDate'] ?? emptyOf(key),
      ]);
      expect(row).toMatchObject({ id, ...Object.fromEntries(expected) });
    }
  }
}

function emptyOf(key: string): 0 | null {
  return /(Runs|Wins)$/.test(key) ? 0 : null;
}

describe.each(['walk', 'sweep'] as const)('%s', (strategy) => {
  it('writes every row as the naive implementation has it', async () => {
    const report = await world.runHere({ strategy });
    expect(report).toMatchObject({ exit_code: 0, strategy, failures: [], stopped_by: null });
    expect(report.overall).toMatchObject({ total_entities: 190, total_successful: 190, total_failed: 0 });
    await expectNaiveRows();
  });
});
