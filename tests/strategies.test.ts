import { afterAll, beforeAll, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { expectNaiveRows, latestReport } from './watching.js';
import { startWorld, type World } from './world.js';

let world: World;

beforeAll(async () => {
  world = await startWorld({ season: { jockeys: 40, trainers: 30, owners: 100, races: 80 } });
});
afterAll(() => world.close());

// In this order each strategy comes after each.
it.each([
  { strategy: 'walk', command: true },
  { strategy: 'walk', command: false },
  { strategy: 'sweep', command: true },
  { strategy: 'sweep', command: false },
  { strategy: 'walk', command: false },
] as const)('a $strategy writes the naive rows over whatever was there', async ({ strategy, command }) => {
  if (command) await world.run(['--all', '--rate', '1000', '--strategy', strategy]);
  else await world.runHere({ strategy });
  const report = latestReport(world);
  expect(report).toMatchObject({
    exit_code: 0,
    strategy,
    failures: [],
    stopped_by: null,
    overall: { total_entities: 170, total_successful: 170, total_failed: 0 },
  });
  await expectNaiveRows(world);
  for (const type of entityTypes) {
    for (const { stats_updated_at } of (await world.rows(type)).values()) {
      expect(Date.parse(`${stats_updated_at}`)).toBe(Date.parse(report.started_at));
    }
  }
});
