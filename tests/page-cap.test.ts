import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { runCommand, startTinyWorld } from './faults.js';
import type { World } from './world.js';

let world: World;

beforeAll(async () => {
  world = await startTinyWorld({ maxRows: 7 });
});
beforeEach(() => world.reset());
afterAll(() => world.close());

it('a database that answers with at most 7 rows is processed completely', async () => {
  const report = await world.runHere();
  expect(report).toMatchObject({ exit_code: 0, overall: { total_entities: 30, total_successful: 30 } });
  for (const type of entityTypes) {
    const rows = [...(await world.rows(type)).values()];
    expect(rows.filter(({ stats_updated_at }) => stats_updated_at === null)).toEqual([]);
  }
});

it('and verified completely', async () => {
  await world.runHere();
  const { code, stdout } = await runCommand(['verify', '--rate', '1000'], {
    cwd: world.folder,
    environment: world.environment,
  });
  expect(stdout).toContain('30 equal, 0 different, 0 could not be checked.');
  expect(code).toBe(0);
});
