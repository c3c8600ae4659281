import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { expectNaiveRows, latestReport } from './watching.js';
import { startWorld, type World } from './world.js';

let world: World;

beforeAll(async () => {
  world = await startWorld({ season: { jockeys: 60, trainers: 50, owners: 250, races: 150 } });
});
beforeEach(() => world.reset());
afterAll(() => world.close());

async function populate(strategy: 'walk' | 'sweep') {
  const { code } = await world.run(['--all', '--rate', '1000', '--strategy', strategy]);
  expect(code).toBe(0);
  const report = latestReport(world);
  expect(report).toMatchObject({
    exit_code: 0,
    strategy,
    failures: [],
    stopped_by: null,
    overall: { total_entities: 360, total_successful: 360, total_failed: 0 },
  });
  return report;
}

it.each([
  ['walk', 'walk'],
  ['sweep', 'sweep'],
  ['sweep', 'walk'],
] as const)(
  'a %s writes the naive rows, and a %s after it changes nothing but stats_updated_at',
  async (first, second) => {
    await populate(first);
    await expectNaiveRows(world);
    const before = await Promise.all(entityTypes.map((type) => world.rows(type)));

    const { started_at } = await populate(second);
    const after = await Promise.all(entityTypes.map((type) => world.rows(type)));
    for (const [index, rows] of after.entries()) {
      for (const [id, row] of rows) {
        expect(row).toEqual({ ...before[index]?.get(id), stats_updated_at: row.stats_updated_at });
        expect(Date.parse(`${row.stats_updated_at}`)).toBe(Date.parse(started_at));
      }
    }
  },
);
