import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import {
  checkpointIds,
  idsInOrder,
  lastReport,
  runCommand,
  startTinyWorld,
  typeNamed,
  wholeTables,
} from './faults.js';
import type { Ended, World } from './world.js';

const jockeys = typeNamed('jockeys');
let world: World;

beforeAll(async () => {
  world = await startTinyWorld();
});
beforeEach(() => world.reset());
afterAll(() => world.close());

const run = (args: string[], environment = {}): Promise<Ended> =>
  runCommand([...args, '--rate', '1000'], {
    cwd: world.folder,
    environment: { ...world.environment, ...environment },
  });

/** Ids of the jockeys that have statistics, in their order. */
async function writtenIds(): Promise<string[]> {
  const rows = [...(await world.rows(jockeys)).values()];
  return rows
    .filter(({ stats_updated_at }) => stats_updated_at !== null)
    .map(({ id }) => id)
    .sort();
}

function expectUsage({ code, stdout, stderr }: Ended, told: RegExp): void {
  expect(stderr).toMatch(told);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(stdout).toBe('');
  expect(code).toBe(2);
  expect(world.api.calls).toEqual([]);
}

describe('usage', () => {
  it.each([
    [[], /--all or --entities/],
    [['--all', '--entities', 'jockeys'], /exclude/],
    [['--entities', 'jocky'], /Did you mean jockeys/],
    [['--entities', 'horses'], /The types are jockeys, trainers, owners/],
    [['--all', '--limit', '0'], /whole number from 1/],
    [['--all', '--limit', 'abc'], /whole number from 1/],
    [['--all', '--rate', '0'], /number from 0\.1/],
    [['--all', '--strategy', 'run'], /auto, walk, sweep/],
    [['--all', '--dryrun'], /--dry-run/],
    [['verfy', '--all'], /./],
  ])('%j', async (args, told) => {
    expectUsage(await runCommand(args, { cwd: world.folder, environment: world.environment }), told);
  });

  it.each([
    [
      { RACING_API_USERNAME: '', SUPABASE_SERVICE_KEY: ' ' },
      /RACING_API_USERNAME is missing[\s\S]*SUPABASE_SERVICE_KEY is missing[\s\S]*\.env/,
    ],
    [{ SUPABASE_URL: 'not a url' }, /SUPABASE_URL is not a URL/],
    [{ SUPABASE_SERVICE_KEY: 'sb_publishable_abc' }, /publishable/],
    [{ RACING_API_BASE_URL: 'http://example.com/v1' }, /plain http/],
  ])('configuration %j', async (environment, told) => {
    expectUsage(await run(['--all'], environment), told);
  });
});

describe('.env files of the working directory', () => {
  const lines = () => Object.entries(world.environment).map(([name, value]) => `${name}="${value}"`);
  const bare = (environment = {}) =>
    runCommand(['--entities', 'jockeys', '--rate', '1000'], { cwd: world.folder, environment });

  it('.env with a byte-order mark, quotes and Windows line ends', async () => {
    writeFileSync(join(world.folder, '.env'), `\uFEFF${lines().join('\r\n')}\r\n`);
    expect((await bare()).code).toBe(0);
  });

  it('.env.local wins over .env, and real variables over both', async () => {
    writeFileSync(join(world.folder, '.env'), `${lines().join('\n')}\nRACING_API_PASSWORD=wrong\n`);
    expect((await bare()).code).toBe(5);
    writeFileSync(join(world.folder, '.env.local'), lines().join('\n'));
    expect((await bare()).code).toBe(0);
    expect((await bare({ RACING_API_PASSWORD: 'wrong' })).code).toBe(5);
  });
});

describe('what a run leaves', () => {
  it('--dry-run asks the API nothing, writes no row, shows counts, a sample and the plan', async () => {
    const before = await wholeTables(world);
    const { code, stdout } = await run(['--all', '--dry-run']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/jockeys: 14 selected[\s\S]*trainers: 6 selected[\s\S]*owners: 10 selected/);
    expect(stdout).toMatch(/30 entities: walking, at least 30 requests/);
    for (const type of entityTypes) {
      const shown = world.season[type.name].filter(({ id }) => stdout.includes(id));
      expect(shown).toHaveLength(5);
    }
    expect(world.api.calls).toEqual([]);
    expect(await wholeTables(world)).toEqual(before);
    expect(checkpointIds(world, jockeys)).toEqual([]);
    expect(lastReport(world)).toMatchObject({ mode: 'dry_run', exit_code: 0, requests: 0 });
  });

  it('the report says what was done, in the form that other scripts read', async () => {
    expect((await run(['--entities', 'jockeys', 'owners', '--limit', '4'])).code).toBe(0);
    const done = {
      total: 4,
      processed: 4,
      successful: 4,
      failed: 0,
      skipped: 0,
      duration: expect.any(Number),
      rate: expect.any(Number),
    };
    expect(lastReport(world)).toMatchObject({
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      entity_types: ['jockeys', 'owners'],
      mode: 'production',
      options: { skip_existing: false, resume: false, limit: 4 },
      statistics: { jockeys: done, owners: done },
      overall: {
        total_entities: 8,
        total_processed: 8,
        total_successful: 8,
        total_failed: 0,
        duration: expect.any(Number),
      },
      failures: [],
    });
  });

  it('a second run changes nothing but stats_updated_at', async () => {
    const withoutTime = async () =>
      (
        await world.database.query<{ row: object }>(
          `select to_jsonb(o) - 'stats_updated_at' as row from ra_owners o order by id`,
        )
      ).map(({ row }) => row);
    expect((await run(['--all', '--strategy', 'walk'])).code).toBe(0);
    const [first, times] = [await withoutTime(), await wholeTables(world)];
    expect((await run(['--all', '--strategy', 'sweep'])).code).toBe(0);
    expect(await withoutTime()).toEqual(first);
    expect(await wholeTables(world)).not.toEqual(times);
  });

  it('columns of other programs, test rows and their columns stay as they are', async () => {
    await world.database.query(
      'alter table ra_jockeys add column total_rides integer default 7, add column win_rate text',
    );
    await world.database.query(`update ra_jockeys set win_rate = id || ' by another program'`);
    await world.database.query(
      `insert into ra_jockeys (id, name) values ('jky_**TEST**_1', 'No test row'), ('jky_TEST', 'Neither')`,
    );
    try {
      const untouched = () =>
        world.database.query<object>(
          `select id, name, total_rides, win_rate, case when id like '**TEST**%' then to_jsonb(j) end as test_row
           from ra_jockeys j order by id`,
        );
      const before = await untouched();
      world.api.options.intercept = (call, response, next) =>
        call.path.includes('TEST') ? void response.end('{"results": null, "total": 0}') : next();
      for (const strategy of ['walk', 'sweep']) {
        expect((await run(['--entities', 'jockeys', '--strategy', strategy])).code).toBe(0);
        expect(await untouched()).toEqual(before);
        expect(await writtenIds()).toEqual(expect.arrayContaining(['jky_**TEST**_1', 'jky_TEST']));
        expect(await writtenIds()).toHaveLength(16);
      }
      expect(world.api.calls.map(({ path }) => path)).toContain('/v1/jockeys/jky_**TEST**_1/results');
    } finally {
      await world.database.query(`delete from ra_jockeys where id in ('jky_**TEST**_1', 'jky_TEST')`);
      await world.database.query('alter table ra_jockeys drop column total_rides, drop column win_rate');
    }
  });
});

describe('which entities', () => {
  it('--limit counts after --skip-existing', async () => {
    expect((await run(['--entities', 'jockeys', '--limit', '3'])).code).toBe(0);
    const first = await writtenIds();
    expect((await run(['--entities', 'jockeys', '--limit', '3', '--skip-existing'])).code).toBe(0);
    expect(await writtenIds()).toHaveLength(6);
    expect(lastReport(world).statistics.jockeys).toMatchObject({ total: 3, skipped: 3 });
    expect(await writtenIds()).toEqual(expect.arrayContaining(first));
    expect((await run(['--entities', 'jockeys', '--skip-existing'])).code).toBe(0);
    expect(lastReport(world).statistics.jockeys).toMatchObject({ total: 8, skipped: 6 });
    expect((await run(['--entities', 'jockeys', '--skip-existing'])).code).toBe(0);
    expect(lastReport(world).statistics.jockeys).toMatchObject({ total: 0, skipped: 14 });
  });

  it.each(['walk', 'sweep'])(
    '--resume (%s) goes on from a checkpoint of the original program, and --limit counts after it',
    async (strategy) => {
      const ids = await idsInOrder(world, jockeys);
      const done = ids.slice(0, 5);
      mkdirSync(join(world.folder, 'logs'));
      // As Python's json.dump(indent=2) and datetime.now().isoformat() write them.
      const checkpoint = {
        entity_type: 'jockeys',
        processed_ids: done,
        count: 5,
        timestamp: '2025-10-19T14:17:14.123456',
      };
      writeFileSync(
        join(world.folder, 'logs', 'checkpoint_jockeys.json'),
        JSON.stringify(checkpoint, null, 2),
      );
      const args = ['--entities', 'jockeys', '--resume', '--strategy', strategy];
      const { code, stdout } = await run([...args, '--limit', '4']);
      expect(code).toBe(0);
      expect(stdout).toContain('resuming after 5 written, checkpoint of 2025-10-19T14:17:14.123456');
      expect(await writtenIds()).toEqual(ids.slice(5, 9).sort());
      expect(checkpointIds(world, jockeys).sort()).toEqual(ids.slice(0, 9).sort());
      expect((await run(args)).code).toBe(0);
      expect(await writtenIds()).toEqual(ids.slice(5).sort());
      expect(checkpointIds(world, jockeys)).toHaveLength(14);
    },
  );

  it('--clear-checkpoints forgets them first', async () => {
    expect((await run(['--entities', 'jockeys', '--limit', '3'])).code).toBe(0);
    expect((await run(['--entities', 'jockeys', '--clear-checkpoints', '--resume'])).code).toBe(0);
    expect(lastReport(world).statistics.jockeys).toMatchObject({ total: 14, skipped: 0 });
  });
});
