import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { checkpointIds, latestReport, until } from './watching.js';
import { startWorld, type World } from './world.js';

let world: World;

beforeAll(async () => {
  world = await startWorld({ season: { jockeys: 150, trainers: 30, owners: 120, races: 60 } });
});
beforeEach(() => world.reset());
afterAll(() => world.close());

it.each(['while it selects', 'at its first request', 'before its first write'])(
  'a run killed %s is not hidden by the complete checkpoint of an older one',
  async (moment) => {
    expect(await world.runHere({ strategy: 'sweep' })).toMatchObject({ exit_code: 0 });
    for (const type of entityTypes)
      expect(checkpointIds(world, type)).toHaveLength(world.season[type.name].length);

    const killed = world.start(['--all', '--strategy', 'sweep', '--rate', '1000']);
    const kill = () => void killed.child.kill('SIGKILL');
    if (moment === 'at its first request') world.api.options.intercept = kill;
    else {
      world.database.intercept = (request, _response, next) =>
        moment === 'while it selects' || request.url?.includes('/rpc/') ? kill() : next();
    }
    expect(await killed.ended).toMatchObject({ signal: 'SIGKILL' });
    world.api.options.intercept = undefined;
    world.database.intercept = undefined;

    expect(await world.run(['--all', '--resume', '--strategy', 'sweep', '--rate', '1000'])).toMatchObject({
      code: 0,
    });
    const { started_at, overall } = latestReport(world);
    expect(overall.total_successful).toBe(300);
    for (const type of entityTypes) {
      const rows = [...(await world.rows(type)).values()];
      expect(rows.filter((row) => Date.parse(`${row.stats_updated_at}`) !== Date.parse(started_at))).toEqual(
        [],
      );
    }
  },
);

it('asks for at most 100 walked entities before the first of them are written', async () => {
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  world.database.intercept = async (request, _response, next) => {
    if (request.url?.includes('/rpc/')) await released;
    return next();
  };
  const running = world.start(['--entities', 'jockeys', '--strategy', 'walk', '--rate', '1000']);
  await until('a batch of walked entities', () => world.api.calls.length >= 50);
  for (let before = -1; before < world.api.calls.length; ) {
    before = world.api.calls.length;
    await sleep(1_000);
  }
  const asked = new Set(world.api.calls.map(({ path }) => path)).size;
  release();
  expect(await running.ended).toMatchObject({ code: 0 });
  expect(asked).toBeLessThanOrEqual(100);
  expect(latestReport(world).overall.total_successful).toBe(150);
});
