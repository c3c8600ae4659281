import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import {
  callsOf,
  inject,
  runCommand,
  startTinyWorld,
  status,
  storeEarlierStatistics,
  wholeTables,
} from './faults.js';
import type { Ended, World } from './world.js';

let world: World;
let stored: Awaited<ReturnType<typeof storeEarlierStatistics>>;

beforeAll(async () => {
  world = await startTinyWorld();
  stored = await storeEarlierStatistics(world);
});
beforeEach(async () => {
  await stored.restore();
  mkdirSync(join(world.folder, 'logs'));
  world.api.options.plan = 'pro';
});
afterAll(() => world.close());

const verify = (more: string[] = [], environment = {}, cwd = world.folder): Promise<Ended> =>
  runCommand(['verify', '--rate', '1000', ...more], {
    cwd,
    environment: { ...world.environment, ...environment },
  });

it('finds rows equal that a sweep has written, and writes nothing', async () => {
  expect(await world.runHere({ strategy: 'sweep' })).toMatchObject({ exit_code: 0 });
  const logs = join(world.folder, 'logs');
  const files = () =>
    readdirSync(logs)
      .filter((name) => /checkpoint|report/.test(name))
      .map((name) => [name, readFileSync(join(logs, name), 'utf8')]);
  const [rows, filesBefore] = [await wholeTables(world), files()];
  const methods = new Set<string | undefined>();
  world.database.intercept = (request, _, next) => {
    methods.add(request.method);
    return next();
  };
  const { code, stdout, stderr } = await verify();
  expect(stdout).toContain('30 equal, 0 different, 0 could not be checked.');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(await wholeTables(world)).toEqual(rows);
  expect(files()).toEqual(filesBefore);
  expect([...methods]).toEqual(['GET']);
});

it('works in a folder in which nothing ran before', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'verify-'));
  try {
    const { code, stderr } = await verify(['--sample', '3'], {}, cwd);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  } finally {
    rmSync(cwd, { recursive: true });
  }
});

it('checks rows of an earlier date as of that date', async () => {
  const { code, stdout } = await verify();
  expect(stdout).toContain('30 equal');
  expect(code).toBe(0);
  const ends = new Set(world.api.calls.map(({ url }) => url.searchParams.get('end_date')));
  expect([...ends]).toEqual([new Date(Date.now() - 3 * 24 * 3600 * 1000).toISOString().slice(0, 10)]);
});

it('reads a timestamp column as UTC', async () => {
  const column = 'alter table ra_jockeys alter column stats_updated_at type';
  await world.database.query(`${column} timestamp using '2000-01-01T00:10:00'`);
  const day = new Date(Date.now() - 3 * 24 * 3600 * 1000).toISOString().slice(0, 10);
  try {
    await world.database.query(`update ra_jockeys set stats_updated_at = '${day}T00:10:00'`);
    await world.database.query(`notify pgrst, 'reload schema'`);
    for (const TZ of ['America/New_York', 'Pacific/Kiritimati']) {
      const { code, stdout } = await verify(['--entities', 'jockeys'], { TZ });
      expect(stdout).toContain('14 equal');
      expect(code).toBe(0);
    }
  } finally {
    await world.database.query(`${column} timestamptz using stats_updated_at at time zone 'utc'`);
    await world.database.query(`notify pgrst, 'reload schema'`);
  }
});

it.each([
  ['recent_30d_rides', 'recent_30d_rides + 1'],
  ['last_win_date', `coalesce(last_win_date, current_date) - 1`],
  ['recent_14d_win_rate', 'coalesce(recent_14d_win_rate, 0) + 0.01'],
])('names the field and the entity of a tampered row: %s', async (column, value) => {
  const [jockey] = world.season.jockeys;
  await world.database.query(`update ra_jockeys set ${column} = ${value} where id = '${jockey?.id}'`);
  const { code, stdout } = await verify(['--entities', 'jockeys']);
  expect(code).toBe(10);
  expect(stdout).toMatch(
    new RegExp(`jockeys ${jockey?.id} ${jockey?.name}: ${column} is .*, its own results give `),
  );
  expect(stdout).toContain('13 equal, 1 different, 0 could not be checked.');
  // Only that column differs.
  expect(stdout.match(/its own results give/g)).toHaveLength(1);
});

it('an entity that cannot be checked is named', async () => {
  const [jockey] = world.season.jockeys;
  inject(world, status(404), callsOf(jockey?.id ?? ''));
  const { code, stdout } = await verify(['--entities', 'jockeys']);
  expect(stdout).toContain(
    `jockeys ${jockey?.id} ${jockey?.name}: could not be checked: the API does not know it`,
  );
  expect(stdout).toContain('13 equal, 0 different, 1 could not be checked.');
  expect(code).toBe(3);
});

it('needs a plan that has the results of entities', async () => {
  world.api.options.plan = 'standard';
  const { code, stderr } = await verify();
  expect(stderr).toMatch(/^The Racing API refuses the account \(401\)/);
  expect(code).toBe(5);
});

it('takes a sample of the size asked for, of entities with statistics', async () => {
  await world.database.query('update ra_owners set stats_updated_at = null');
  expect((await verify(['--sample', '5'])).stdout).toContain('5 equal');
  expect((await verify(['--entities', 'owners'])).stdout).toContain('0 equal');
});
