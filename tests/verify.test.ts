import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, expect, it, onTestFinished, vi } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import type { VerifyOptions } from '../src/options.js';
import { addDays } from '../src/statistics.js';
import { verifyStatistics } from '../src/verify.js';
import { callsOf, inject, sharedStoredWorld, status, typeNamed, wholeTables } from './faults.js';
import { until } from './watching.js';
import { openServices, startCommand, today } from './world.js';

const jockeys = { entities: [typeNamed('jockeys')] };
/** The UTC date of the stored statistics. */
const storedDate = addDays(today, -3);

// So that every table is read in several pages.
const { world } = sharedStoredWorld({ maxRows: 7 });
let jockey: { id: string; name: string };
beforeAll(() => {
  const { id, name } = world.season.jockeys[0] ?? jockey;
  jockey = { id, name };
});

const sql = (statement: string) => world.database.query(statement);

const runVerify = (more: string[] = [], cwd = world.folder) =>
  startCommand(['verify', '--rate', '1000', ...more], cwd, world.environment).ended;

/** Verifies in this process. */
async function verify(options: Partial<VerifyOptions> = {}) {
  const services = openServices(world, 1000);
  try {
    const asked = { entities: entityTypes, sample: 200, rate: 1000, ...options };
    const { exit_code: code, ...found } = await verifyStatistics(asked, { ...services, tell: services.events.tell });
    return { code, found, lines: services.lines };
  } finally {
    await services.close();
  }
}

it('finds rows equal that a sweep has written, and writes nothing', async () => {
  expect(await world.runHere({ strategy: 'sweep' })).toMatchObject({ exit_code: 0 });
  const logs = join(world.folder, 'logs');
  const names = () => readdirSync(logs).filter((name) => /checkpoint|report/.test(name));
  const files = () => names().map((name) => [name, readFileSync(join(logs, name), 'utf8')]);
  const before = { rows: await wholeTables(world), files: files() };
  const methods = new Set<string | undefined>();
  world.database.intercept = (request, _, next) => {
    methods.add(request.method);
    return next();
  };
  const { code, stdout, stderr } = await runVerify();
  expect(stdout).toContain('30 equal, 0 different, 0 could not be checked.');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect({ rows: await wholeTables(world), files: files() }).toEqual(before);
  expect([...methods]).toEqual(['GET']);
});

it('works in a folder in which nothing ran before, and needs a plan that has the results of entities', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'verify-'));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  expect(await runVerify(['--sample', '3'], cwd)).toMatchObject({ code: 0, stderr: '' });
  world.api.options.plan = 'standard';
  world.api.calls.length = 0;
  const refused = await runVerify(['--sample', '3'], cwd);
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringMatching(/^The Racing API refuses the account/) });
  expect(world.api.calls).toHaveLength(2);
});

it('with --json tells on stdout what it has found, or why nothing', async () => {
  await sql(`update ra_jockeys set recent_30d_rides = 99 where id = '${jockey.id}'`);
  const { code, stdout, stderr } = await runVerify(['--entities', 'jockeys', '--json']);
  expect(JSON.parse(stdout)).toMatchObject({ exit_code: 10, equal: 13, different: 1, differences: [{ stored: 99 }] });
  expect({ code, stderr }).toEqual({ code: 10, stderr: expect.stringContaining('13 equal, 1 different') });
  const refused = await startCommand(['verify', '--json'], world.folder, {}).ended;
  const stopped_by = expect.stringMatching(/^The configuration is not complete/);
  expect({ ...refused, stdout: JSON.parse(refused.stdout) }).toMatchObject({
    code: 2,
    stdout: { exit_code: 2, stopped_by },
  });
});

it.each([429, 503])('interrupted while it waits after a %d tells that, and no bug', async (code) => {
  inject(world, status(code, { 'retry-after': '60' }), () => true);
  const running = world.start(['verify', '--rate', '1000']);
  await until('the call', () => world.api.calls.length > 0);
  // Until the answer is there, too.
  await (code === 429 ? running.printed('(429') : sleep(300));
  running.child.kill('SIGINT');
  const { stderr, ...ended } = await running.ended;
  expect(stderr).toBe('Interrupted by SIGINT. Nothing was changed.\n');
  expect(ended).toMatchObject({ code: 130, stdout: expect.stringContaining('0 equal, 0 different') });
});

it('checks rows of an earlier date as of that date', async () => {
  expect(await verify()).toMatchObject({
    code: 0,
    lines: ['Checking 30 entities against their own results.', '30 equal, 0 different, 0 could not be checked.'],
  });
  const ends = new Set(world.api.calls.map(({ url }) => url.searchParams.get('end_date')));
  expect([...ends]).toEqual([storedDate]);
});

it('reads a timestamp column as UTC, and a number that is stored as text', async () => {
  const alter = async (...types: string[]) => {
    await sql(`alter table ra_jockeys ${types.map((type) => `alter column ${type}`)}`);
    await sql(`notify pgrst, 'reload schema'`);
  };
  onTestFinished(async () => {
    vi.unstubAllEnvs();
    await alter(
      `stats_updated_at type timestamptz using stats_updated_at at time zone 'utc'`,
      'recent_30d_win_rate type numeric(5, 2) using recent_30d_win_rate::numeric',
    );
  });
  await alter(`stats_updated_at type timestamp using '${storedDate}T00:10:00'`, 'recent_30d_win_rate type text');
  for (const [zone, offsetMinutes] of Object.entries({ 'America/New_York': 300, 'Pacific/Kiritimati': -840 })) {
    vi.stubEnv('TZ', zone);
    expect(new Date('2025-01-01').getTimezoneOffset()).toBe(offsetMinutes);
    expect((await verify(jockeys)).lines).toContain('14 equal, 0 different, 0 could not be checked.');
  }
});

it.each([
  ['last_win_date', 'coalesce(last_win_date, current_date) - 1'],
  ['recent_14d_win_rate', 'coalesce(recent_14d_win_rate, 0) + 0.01'],
])('names the field and the entity of a tampered row, and no other field: %s', async (column, value) => {
  await sql(`update ra_jockeys set ${column} = ${value} where id = '${jockey.id}'`);
  const { code, lines, found } = await verify(jockeys);
  expect({ code, lines }).toEqual({
    code: 10,
    lines: [
      'Checking 14 entities against their own results.',
      expect.stringMatching(`^jockeys ${jockey.id} ${jockey.name}: ${column} is .+, its own results give `),
      '13 equal, 1 different, 0 could not be checked.',
      'Results corrected since the last run differ too: run it again without --refresh, then verify again.',
    ],
  });
  const [{ stored, expected, ...what } = { stored: '', expected: '' }] = found.differences;
  expect(what).toEqual({ entity_type: 'jockeys', ...jockey, column });
  expect(lines[1]).toContain(`: ${column} is ${stored}, its own results give ${expected}`);
});

async function expectUnchecked(why: string): Promise<void> {
  const { code, lines, found } = await verify(jockeys);
  expect(lines).toContain(`jockeys ${jockey.id} ${jockey.name}: could not be checked: ${why}`);
  expect(lines).toContain('13 equal, 0 different, 1 could not be checked.');
  expect(code).toBe(3);
  expect(found).toMatchObject({
    equal: 13,
    unchecked: 1,
    differences: [],
    failures: [{ entity_type: 'jockeys', ...jockey, reason: why }],
  });
}

it('names an entity that cannot be checked', async () => {
  inject(world, status(404), callsOf(jockey.id));
  await expectUnchecked('the API does not know it (404)');
});

it('names an entity whose statistics vanish meanwhile', async () => {
  world.database.intercept = async (request, _, next) => {
    if (request.url?.includes(`id=eq.${jockey.id}`)) {
      await sql(`update ra_jockeys set stats_updated_at = null where id = '${jockey.id}'`);
    }
    await next();
  };
  await expectUnchecked('its row or its statistics are gone');
});

it('takes a sample of the size asked for, of entities with statistics', async () => {
  await sql('update ra_owners set stats_updated_at = null');
  expect((await verify({ sample: 5 })).lines).toContain('5 equal, 0 different, 0 could not be checked.');
  const nothing = await verify({ entities: [typeNamed('owners')] });
  expect(nothing.lines).toEqual(['No entity has statistics to be checked against their own results.']);
  expect(nothing.code).toBe(3);
});
