import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startWorld, type World } from './world.js';

/** What somebody uses who has cron start the runs: the whole command in a child process. */
let world: World;

beforeAll(async () => {
  world = await startWorld();
});
beforeEach(() => world.reset());
afterAll(() => world.close());

const jockeys = ['--entities', 'jockeys', '--rate', '500'];

/** Answers every call for the first jockey with 404. */
function breakOneJockey(): string {
  const id = world.season.jockeys[0]?.id ?? '';
  world.api.options.intercept = (call, response, next) =>
    call.path.includes(id) ? void response.writeHead(404).end('{}') : next();
  return id;
}

describe('--quiet', () => {
  it('prints nothing when all went well', async () => {
    expect(await world.run([...jockeys, '--quiet'])).toMatchObject({ code: 0, stdout: '', stderr: '' });
  });

  it('prints everything on stderr when something went wrong', async () => {
    const id = breakOneJockey();
    const ended = await world.run([...jockeys, '--quiet']);
    expect(ended).toMatchObject({ code: 3, stdout: '' });
    expect(ended.stderr).toContain(id);
    expect(ended.stderr).toContain('39 written, 1 failed');
  });
});

describe('--stale-after', () => {
  const hoursAgo = (hours: number) => new Date(Date.now() - hours * 3_600_000).toISOString();

  /** The first ten jockeys have fresh statistics, the next ten old ones, the others none. */
  async function ageRows(): Promise<string[]> {
    const ids = [
      ...(await world.database.query<{ id: string }>(
        "select id from ra_jockeys where id like 'jky%' order by id",
      )),
    ].map(({ id }) => id);
    const age = (from: number, hours: number) =>
      world.database.query('update ra_jockeys set stats_updated_at = $1 where id = any($2)', [
        hoursAgo(hours),
        ids.slice(from, from + 10),
      ]);
    await age(0, 11);
    await age(10, 13);
    return ids;
  }

  async function refreshedSince(start: string): Promise<string[]> {
    const rows = await world.database.query<{ id: string }>(
      'select id from ra_jockeys where stats_updated_at >= $1 order by id',
      [start],
    );
    return rows.map(({ id }) => id);
  }

  it.each([
    [['--stale-after', '12h'], 10],
    [['--skip-existing'], 20],
    [['--stale-after', '10h'], 0],
  ])('%j takes what is older or missing', async (options, from) => {
    const ids = await ageRows();
    const start = new Date().toISOString();
    expect((await world.run([...jockeys, ...options])).code).toBe(0);
    expect(await refreshedSince(start)).toEqual(ids.slice(from));
  });

  it('combines with --limit and --resume', async () => {
    const ids = await ageRows();
    const start = new Date().toISOString();
    const options = ['--stale-after', '12h', '--limit', '5'];
    expect((await world.run([...jockeys, ...options])).code).toBe(0);
    expect(await refreshedSince(start)).toEqual(ids.slice(10, 15));
    expect((await world.run([...jockeys, ...options, '--resume'])).code).toBe(0);
    expect(await refreshedSince(start)).toHaveLength(10);
  });
});

describe('--html', () => {
  it('writes a page beside the report, with those who win', async () => {
    expect((await world.run([...jockeys, '--html'])).code).toBe(0);
    const pages = readdirSync(join(world.folder, 'logs')).filter((name) => name.endsWith('.html'));
    expect(pages).toEqual([expect.stringMatching(/^statistics_population_report_\d{8}_\d{6}\.html$/)]);
    const [winner] = await world.database.query<{ id: string }>(
      'select id from ra_jockeys where recent_30d_wins > 0 order by recent_30d_wins desc, recent_30d_rides, id limit 1',
    );
    const page = readFileSync(join(world.folder, 'logs', pages[0] ?? ''), 'utf8');
    expect(page).toContain(`title="${winner?.id}"`);
    expect(page).toContain('walking jockeys');
  });
});

describe('the heartbeat', () => {
  const heard: string[] = [];
  const monitor = createServer((request, response) => {
    heard.push(request.url ?? '');
    response.end('OK');
  });
  let environment: Record<string, string>;

  beforeAll(async () => {
    await new Promise<void>((resolve) => monitor.listen(0, '127.0.0.1', resolve));
    const { port } = monitor.address() as AddressInfo;
    environment = { HEARTBEAT_URL: `http://127.0.0.1:${port}/ping/secret` };
  });
  beforeEach(() => void heard.splice(0));
  afterAll(() => monitor.close());

  it('tells the start and the success', async () => {
    expect((await world.run(jockeys, environment)).code).toBe(0);
    expect(heard).toEqual(['/ping/secret/start', '/ping/secret']);
  });

  it('tells a failure with its exit code', async () => {
    breakOneJockey();
    expect((await world.run(jockeys, environment)).code).toBe(3);
    expect(heard).toEqual(['/ping/secret/start', '/ping/secret/fail?exit_code=3']);
  });

  it('hears nothing of a dry run, nor of a run that found another one active', async () => {
    expect((await world.run([...jockeys, '--dry-run'], environment)).code).toBe(0);
    world.api.options.latencyMs = 100;
    const first = world.start(['--entities', 'jockeys', '--rate', '5']);
    await first.printed('walking');
    expect((await world.run(jockeys, environment)).code).toBe(11);
    first.child.kill('SIGTERM');
    await first.ended;
    world.api.options.latencyMs = 0;
    expect(heard).toEqual([]);
  });

  it('that nobody hears is one line of warning and changes nothing', async () => {
    const ended = await world.run(jockeys, { HEARTBEAT_URL: 'http://127.0.0.1:9/ping/secret' });
    expect(ended.code).toBe(0);
    expect(ended.stderr).toContain('The heartbeat to 127.0.0.1 failed');
    expect(ended.stdout + ended.stderr).not.toContain('secret');
  });
});

it('status needs no configuration and changes no file', async () => {
  await world.run(jockeys);
  const before = readdirSync(join(world.folder, 'logs'));
  const blank = Object.fromEntries(Object.keys(world.environment).map((name) => [name, '']));
  const ended = await world.run(['status', '--json'], blank);
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(ended.stdout).jockeys).toMatchObject({
    running: null,
    last_completed: { exit_code: 0, successful: 40 },
    resume: { written: 40 },
  });
  expect((await world.run(['status'], blank)).stdout).toContain('40 of 40 written');
  expect(readdirSync(join(world.folder, 'logs'))).toEqual(before);
});
