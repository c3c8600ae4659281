import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listen } from '../demo/loopback.js';
import { entityTypes } from '../src/entity-types.js';
import type { PopulateOptions } from '../src/options.js';
import { callsOf, idsInOrder, inject, jockeys, startTinyWorld, status, wholeTables } from './faults.js';
import { checkpointIds, latestReport, reports, writtenIds } from './watching.js';
import { type Ended, preloaded, readJson, sharedWorld, startCommand } from './world.js';

/** The whole job as its users see it: in a terminal, from cron, in the database. */
const world = sharedWorld(startTinyWorld);

const logs = (name = '') => join(world.folder, 'logs', name);
const runJockeys = (args: string[] = [], environment: Record<string, string> = {}): Promise<Ended> =>
  world.run(['--entities', 'jockeys', '--rate', '1000', ...args], environment);
/** The same in this process. */
const runHere = (options: Partial<PopulateOptions> = {}) => world.runHere({ entities: [jockeys], ...options });

const elsewhere = { RACING_API_BASE_URL: 'https://racing-api.invalid/v1' };

/** The API knows one jockey no more; returns its id. */
function breakOneJockey(): string {
  const { id = '' } = world.season.jockeys[0] ?? {};
  inject(world, status(404), callsOf(id));
  return id;
}

describe('exit codes', () => {
  it.each([
    [[], {}, /--all or --entities/],
    [['--all'], { RACING_API_USERNAME: '', SUPABASE_URL: 'no url' }, /USERNAME is missing.*SUPABASE_URL is not a URL/s],
    [['--all', '--rate', '6'], elsewhere, /--rate 6 is too much: the API documents at most 5.*--force/],
    [['verify', '--rate', '6'], elsewhere, /--rate 6 is too much: the API documents at most 5/],
    [['--all', '--rate', '10.1', '--force'], elsewhere, /--rate 10.1 is too much: the API bans addresses/],
  ])('2 for %j with %j, on stderr and before anything else', async (args, environment, told) => {
    const { code, stdout, stderr } = await world.run(args, environment);
    expect(stderr).toMatch(told);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(existsSync(logs())).toBe(false);
  });

  it('2 where runs were before leaves a report, which status and a monitor see', async () => {
    expect((await runJockeys()).code).toBe(0);
    expect((await world.run(['status', '--check', '--entities', 'jockeys'])).code).toBe(0);
    const without = { RACING_API_PASSWORD: '' };
    for (const args of [['--dry-run'], ['--refresh'], []]) expect((await runJockeys(args, without)).code).toBe(2);
    const stopped_by = expect.stringContaining('RACING_API_PASSWORD is missing');
    const figures = { mode: 'production', exit_code: 2, stopped_by, statistics: {} };
    expect(reports(world)).toHaveLength(2);
    expect(latestReport(world)).toMatchObject(figures);
    expect(readJson(world, 'statistics_refresh_report.json')).toMatchObject({ ...figures, strategy: 'refresh' });
    const checked = await world.run(['status', '--check', '--entities', 'jockeys']);
    expect(checked).toMatchObject({ code: 12, stdout: expect.stringContaining('exit code 2, last success just now') });
    expect((await runJockeys()).code).toBe(0);
    expect((await world.run(['status', '--check', '--entities', 'jockeys'])).code).toBe(0);
  });

  it('0 for a rate that --force passes', async () => {
    expect(await world.run(['--all', '--rate', '10', '--force', '--dry-run'], elsewhere)).toMatchObject({ code: 0 });
  });

  it('1 for a bug of ours, which says so and leaves no lock behind', async () => {
    // Three digits are the report's alone: what is told meanwhile, on a slow machine, has fewer.
    const broken = preloaded(`const { toFixed } = Number.prototype;
      Number.prototype.toFixed = function (digits) {
        if (digits === 3) throw new Error('broken');
        return toFixed.call(this, digits);
      };`);
    const { code, stderr } = await runJockeys([], broken);
    expect(code).toBe(1);
    expect(stderr).toContain('This is a bug of populate-all-statistics');
    expect(stderr).toContain('broken');
    expect(readdirSync(logs())).not.toContain('run_jockeys.lock');
  });
});

it('what real variables do not say is read from .env in the working directory', async () => {
  const lines = Object.entries(world.environment).map(([name, value]) => `${name}="${value}"`);
  writeFileSync(join(world.folder, '.env'), [...lines, 'RACING_API_PASSWORD=wrong'].join('\n'));
  const { RACING_API_PASSWORD = '' } = world.environment;
  const environment = { RACING_API_PASSWORD };
  const ended = await startCommand(['--entities', 'jockeys', '--rate', '1000'], world.folder, environment).ended;
  expect(ended.code).toBe(0);
});

describe('what a run leaves', () => {
  it('--dry-run asks the API nothing, writes no row, shows counts, a sample and the plan', async () => {
    const before = await wholeTables(world);
    const { code, stdout } = await world.run(['--all', '--dry-run']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/jockeys: 14 selected.*trainers: 6 selected.*owners: 10 selected/s);
    expect(stdout).toMatch(/30 entities: walking, about 30 requests/);
    for (const type of entityTypes) {
      const shown = world.season[type.name].filter(({ id }) => stdout.includes(id));
      expect(shown).toHaveLength(5);
    }
    expect(world.api.calls).toEqual([]);
    expect(await wholeTables(world)).toEqual(before);
    expect(readdirSync(logs())).toEqual([expect.stringMatching(/^statistics_population_report_.*\.json$/)]);
    expect(latestReport(world)).toMatchObject({ mode: 'dry_run', exit_code: 0, requests: 0 });
  });

  it('the report says what was done, the page beside it also who wins; a failed entity is tried again', async () => {
    const id = breakOneJockey();
    const limited = ['--entities', 'owners', 'jockeys', '--limit', '9', '--rate', '1000', '--html'];
    expect((await world.run(limited)).code).toBe(3);
    expect(latestReport(world)).toMatchObject({
      entity_types: ['jockeys', 'owners'],
      mode: 'production',
      options: { skip_existing: false, resume: false, limit: 9 },
      statistics: {
        jockeys: { total: 9, processed: 9, successful: 8, failed: 1, skipped: 0 },
        owners: { total: 9, processed: 9, successful: 9, failed: 0, skipped: 0 },
      },
      failures: [{ entity_type: 'jockeys', id, name: expect.any(String), reason: expect.stringContaining('404') }],
    });
    expect(await writtenIds(world, jockeys)).toHaveLength(8);
    expect(checkpointIds(world, jockeys).sort()).toEqual(await writtenIds(world, jockeys));

    const [winner] = await world.database.query<{ id: string }>(
      'select id from ra_jockeys where recent_30d_wins > 0 order by recent_30d_wins desc, recent_30d_rides, id limit 1',
    );
    const [report = ''] = readdirSync(logs()).filter((name) => /^statistics_population_report_.*json$/.test(name));
    const page = readFileSync(logs(report.replace('json', 'html')), 'utf8');
    expect(page).toContain(`title="${winner?.id}"`);
    expect(page).toContain('walking');

    await runHere({ resume: true, limit: 1 });
    expect(latestReport(world).failures).toMatchObject([{ id }]);
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
      inject(world, status(200, {}, '{"results": null, "total": 0}'), ({ path }) => path.includes('TEST'));
      for (const strategy of ['walk', 'sweep'] as const) {
        expect((await runHere({ strategy })).exit_code).toBe(0);
        expect(await untouched()).toEqual(before);
        expect(await writtenIds(world, jockeys)).toEqual(expect.arrayContaining(['jky_**TEST**_1', 'jky_TEST']));
        expect(await writtenIds(world, jockeys)).toHaveLength(16);
      }
      expect(world.api.calls.map(({ path }) => path)).toContain('/v1/jockeys/jky_**TEST**_1/results');
    } finally {
      await world.database.query(`delete from ra_jockeys where id in ('jky_**TEST**_1', 'jky_TEST')`);
      await world.database.query('alter table ra_jockeys drop column total_rides, drop column win_rate');
    }
  });
});

describe('what a run tells', () => {
  it('with failures on stderr too, with what to do next', async () => {
    const id = breakOneJockey();
    const { code, stdout, stderr } = await runJockeys();
    expect(code).toBe(3);
    expect(stdout).toContain(id);
    expect(stderr).toBe('1 entity failed; its row stays as before. Run again with --resume to try it again.\n');
  });

  it.each(['auto', 'sweep'])('of a refused account once, whatever was tried by %s, and no zeros', async (strategy) => {
    inject(world, status(401), () => true);
    const { code, stdout, stderr } = await runJockeys(['--strategy', strategy]);
    expect(code).toBe(5);
    const paragraphs = `${stdout}${stderr}`.match(/check RACING_API_USERNAME/g);
    expect(paragraphs).toHaveLength(1);
    expect(stderr).toContain('check RACING_API_USERNAME');
    expect(stdout).not.toMatch(/written|--resume/);
  });

  it('with --json on stdout is the report alone', async () => {
    const { code, stdout, stderr } = await runJockeys(['--json', '--log-dir', 'elsewhere']);
    expect(code).toBe(0);
    expect(stderr).toContain('14 written in ');
    const [name = ''] = readdirSync(join(world.folder, 'elsewhere')).filter((file) => file.includes('report'));
    expect(stdout).toBe(readFileSync(join(world.folder, 'elsewhere', name), 'utf8'));
    expect(existsSync(logs())).toBe(false);
  });

  it.each<[number, string[], Record<string, string>, RegExp]>([
    [
      2,
      ['--rate', '20'],
      { ...elsewhere, SUPABASE_URL: '' },
      /^--rate 20 is too much.*\n.*not complete.*SUPABASE_URL/s,
    ],
    [
      8,
      ['--log-dir', '/proc/nowhere/logs'],
      {},
      /^The folder \/proc\/nowhere\/logs cannot be made: (ENOENT.*--log-dir|EROFS)/,
    ],
  ])('with --json and exit code %i tells why no run began: %j', async (exit_code, args, environment, told) => {
    const { code, stdout, stderr } = await runJockeys(['--json', ...args], environment);
    expect({ code, stderr }).toEqual({ code: exit_code, stderr: expect.stringMatching(told) });
    const { failures, ...report } = JSON.parse(stdout);
    expect(report).toMatchObject({
      exit_code,
      stopped_by: expect.stringMatching(told),
      overall: { total_processed: 0 },
    });
  });

  it('with --verbose is each request and each retry', async () => {
    inject(world, status(503), (call) => call.number === 2);
    const { stdout } = await runJockeys(['-v']);
    expect(stdout.match(/GET http\S+\/v1\S+: 200 in \d+\.\d\ds/g)?.length).toBeGreaterThan(0);
    expect(stdout).toMatch(/: 503 in .*\n.*Again in \d\.\ds: the API answered 503/);
    expect(stdout).toMatch(/(POST|GET|PATCH) \S+\/rest\/v1\/\S+: 20\d in/);
    for (const secret of Object.values(world.environment).slice(1)) {
      if (!secret.startsWith('http')) expect(stdout).not.toContain(secret);
    }
  });

  it('to a disk that is full does not stop it, and is told', async () => {
    const args = ['--entities', 'jockeys', '--rate', '1000'];
    const ended = await startCommand(args, world.folder, world.environment, 'exec > /dev/full; ').ended;
    expect(ended).toMatchObject({ code: 8, stderr: expect.stringMatching(/^ENOSPC: no space left on device.*\n$/) });
    expect(await writtenIds(world, jockeys)).toHaveLength(14);
  });
});

it('status --check ends with 0 or 12', async () => {
  expect(await world.run(['status', '--check'])).toMatchObject({ code: 12, stderr: '' });
  await runHere();
  const healthy = await world.run(['status', '--check', '--entities', 'jockeys']);
  expect(healthy).toEqual({ code: 0, signal: null, stdout: 'All is well: last success just now.\n', stderr: '' });
  inject(world, status(401), () => true);
  await runHere();
  expect(await world.run(['status', '--max-age', '1h'])).toMatchObject({ code: 12 });
});

it.each([
  [['--skip-existing'], 8, 14],
  [['--stale-after', '12h', '--limit', '5'], 4, 9],
])('%j takes what is older or missing', async (options, from, to) => {
  const ids = await idsInOrder(world, jockeys);
  const age = async (some: string[], hours: number) => {
    const then = new Date(Date.now() - hours * 3_600_000).toISOString();
    await world.database.query('update ra_jockeys set stats_updated_at = $1 where id = any($2)', [then, some]);
  };
  await age(ids.slice(0, 4), 11);
  await age(ids.slice(4, 8), 13);
  expect((await runJockeys(options)).code).toBe(0);
  expect(checkpointIds(world, jockeys).sort()).toEqual(ids.slice(from, to).sort());
});

describe('from cron', () => {
  const heard: string[] = [];
  const monitor = createServer((request, response) => {
    heard.push(request.url ?? '');
    response.end('OK');
  });
  let environment: Record<string, string>;

  beforeAll(async () => {
    environment = { HEARTBEAT_URL: `${await listen(monitor)}/ping/secret` };
  });
  beforeEach(() => void heard.splice(0));
  afterAll(() => monitor.close());

  it('--quiet prints nothing when all went well; the heartbeat tells start and success', async () => {
    expect(await runJockeys(['--quiet'], environment)).toMatchObject({ code: 0, stdout: '', stderr: '' });
    expect(heard).toEqual(['/ping/secret/start', '/ping/secret']);
  });

  it('--quiet prints everything on stderr when something went wrong; the heartbeat tells the code', async () => {
    const id = breakOneJockey();
    const ended = await runJockeys(['--quiet'], environment);
    expect(ended).toMatchObject({ code: 3, stdout: '' });
    expect(ended.stderr).toContain(id);
    expect(ended.stderr).toContain('13 written, 1 failed');
    expect(heard).toEqual(['/ping/secret/start', '/ping/secret/fail?exit_code=3']);
  });

  it('the heartbeat tells a run that could not begin', async () => {
    writeFileSync(logs(), 'not a folder');
    expect((await runJockeys([], environment)).code).toBe(8);
    expect(heard).toEqual(['/ping/secret/fail?exit_code=8']);
  });

  it('the heartbeat hears nothing of a dry run, nor of a run that found another one active', async () => {
    expect((await runJockeys(['--dry-run'], environment)).code).toBe(0);
    world.api.options.intercept = () => undefined;
    const first = world.start(['--entities', 'jockeys']);
    await first.printed('walking');
    expect((await runJockeys([], environment)).code).toBe(11);
    first.child.kill('SIGKILL');
    await first.ended;
    expect(heard).toEqual([]);
  });

  it('a heartbeat that nobody hears is a line of warning on stderr and changes nothing', async () => {
    const ended = await runJockeys([], { HEARTBEAT_URL: 'http://127.0.0.1:9/ping/secret' });
    expect(ended.code).toBe(0);
    expect(ended.stderr).toContain('The heartbeat to 127.0.0.1 failed');
  });
});

it('status needs no configuration and changes no file', async () => {
  await runHere();
  const before = readdirSync(logs());
  const blank = Object.fromEntries(Object.keys(world.environment).map((name) => [name, '']));
  const ended = await world.run(['status', '--json'], blank);
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(ended.stdout).jockeys).toMatchObject({
    running: null,
    last_completed: { exit_code: 0, successful: 14 },
    resume: { written: 14 },
  });
  expect((await world.run(['status'], blank)).stdout).toContain(
    'jockeys: Last full run just now: 14 written, 0 failed.',
  );
  expect(readdirSync(logs())).toEqual(before);
});
