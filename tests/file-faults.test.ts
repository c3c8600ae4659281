import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { checkpointIds, runCommand, startTinyWorld, typeNamed, wholeTables } from './faults.js';
import type { Ended, World } from './world.js';

const jockeys = typeNamed('jockeys');
let world: World;

beforeAll(async () => {
  world = await startTinyWorld();
});
beforeEach(() => world.reset());
afterAll(() => world.close());

const logs = (name = '') => join(world.folder, 'logs', name);
const run = (args: string[], shell = ''): Promise<Ended> =>
  runCommand([...args, '--rate', '1000'], { cwd: world.folder, environment: world.environment, shell });

function expectUnusable({ code, stderr }: Ended, file: string): void {
  expect(stderr).toContain(file);
  expect(stderr).toMatch(/cannot be (made|written|used|read|kept)/);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(stderr).not.toContain('This is a bug');
  expect(code).toBe(8);
}

/** Rows with statistics, of all jockeys. */
async function writtenIds(): Promise<string[]> {
  const rows = [...(await world.rows(jockeys)).values()];
  return rows.filter(({ stats_updated_at }) => stats_updated_at !== null).map(({ id }) => id);
}

describe('logs that cannot be made', () => {
  it('end the run before any request', async () => {
    writeFileSync(logs(), 'not a folder');
    const before = await wholeTables(world);
    expectUnusable(await run(['--all']), 'logs');
    expect(world.api.calls).toEqual([]);
    expect(await wholeTables(world)).toEqual(before);
  });

  it('are told by verify too', async () => {
    await world.runHere({ entities: [jockeys] });
    const elsewhere = join(world.folder, 'elsewhere');
    mkdirSync(elsewhere);
    writeFileSync(join(elsewhere, 'logs'), 'not a folder');
    const ended = await runCommand(['verify', '--sample', '1'], {
      cwd: elsewhere,
      environment: world.environment,
    });
    expectUnusable(ended, 'logs');
  });
});

it('a request budget that cannot be kept ends the run before any request', async () => {
  mkdirSync(logs('request_budget/in-the-way'), { recursive: true });
  expectUnusable(await run(['--entities', 'jockeys']), 'request_budget');
  expect(world.api.calls).toEqual([]);
  expect(await writtenIds()).toEqual([]);
});

describe('a checkpoint that cannot be saved', () => {
  it('ends the run before any request when it is so from the start', async () => {
    mkdirSync(logs('checkpoint_jockeys.json.tmp/in-the-way'), { recursive: true });
    expectUnusable(await run(['--entities', 'jockeys']), 'checkpoint_jockeys.json');
    expect(world.api.calls).toEqual([]);
    expect(await writtenIds()).toEqual([]);
  });

  // A limit of 512 bytes on files takes the first bytes and then refuses, as a full disk does.
  const fullDisk = 'ulimit -f 1; ';

  it('keeps the last whole one when the disk gets full, and a resumed run goes on from there', async () => {
    // 60 ids more than fit.
    await world.database.query(
      `insert into ra_jockeys (id, name) select 'jky_more_' || n, 'More' from generate_series(1, 60) as n`,
    );
    try {
      const ended = await run(['--entities', 'jockeys', '--strategy', 'sweep'], fullDisk);
      expectUnusable(ended, 'checkpoint_jockeys.json');
      expect(readdirSync(logs()).filter((name) => name.endsWith('.tmp'))).toEqual([]);
      const saved = checkpointIds(world, jockeys);
      const written = await writtenIds();
      expect(written).toEqual(expect.arrayContaining(saved));
      const resumed = await run(['--entities', 'jockeys', '--strategy', 'sweep', '--resume']);
      expect(resumed.code).toBe(0);
      expect(await writtenIds()).toHaveLength(74);
      expect(checkpointIds(world, jockeys)).toHaveLength(74);
    } finally {
      await world.database.query(`delete from ra_jockeys where id like 'jky_more_%'`);
    }
  });

  it('a full disk that has room for the checkpoint and not for the report', async () => {
    const ended = await run(['--entities', 'jockeys', '--limit', '2'], fullDisk);
    expectUnusable(ended, 'statistics_population_report');
    expect(await writtenIds()).toHaveLength(2);
    expect(checkpointIds(world, jockeys)).toHaveLength(2);
    expect(readdirSync(logs()).filter((name) => /report/.test(name))).toEqual([]);
  });
});

it('a report that cannot be written is the outcome of a run that went well', async () => {
  mkdirSync(logs());
  // Whatever name the report of the next two minutes gets, its draft leads nowhere.
  for (let second = -5; second < 120; second += 1) {
    const [date, time] = new Date(Date.now() + second * 1000).toISOString().split(/[T.]/);
    const name = `statistics_population_report_${date?.replaceAll('-', '')}_${time?.replaceAll(':', '')}.json`;
    symlinkSync('/nowhere/at/all', logs(`${name}.tmp`));
  }
  const ended = await run(['--entities', 'jockeys']);
  expectUnusable(ended, 'statistics_population_report');
  expect(await writtenIds()).toHaveLength(14);
  expect(checkpointIds(world, jockeys)).toHaveLength(14);
});

describe('a file that is not the checkpoint of the type', () => {
  const files = [
    {
      what: 'torn',
      text: '{"entity_type": "jockeys", "processed_ids": ["jky_1", "jk',
      told: 'not a whole checkpoint',
    },
    { what: 'empty', text: '', told: 'not a whole checkpoint' },
    { what: 'foreign', text: '{"hello": "world"}', told: 'not a whole checkpoint' },
    {
      what: 'of another type',
      text: '{"entity_type": "owners\\u001b[31m", "processed_ids": [], "count": 0, "timestamp": "2025-10-19T14:17:14"}',
      told: 'it is a checkpoint of owners',
    },
  ];
  const aside = () =>
    readdirSync(logs()).filter((name) => name.startsWith('checkpoint_jockeys.json.unusable-'));

  it.each(files)('$what: --resume stops, keeps it aside and says so', async ({ text, told }) => {
    mkdirSync(logs());
    writeFileSync(logs('checkpoint_jockeys.json'), text);
    const ended = await run(['--entities', 'jockeys', '--resume']);
    expectUnusable(ended, told);
    expect(ended.stderr).not.toContain('\u001b');
    expect(aside()).toHaveLength(1);
    expect(ended.stderr).toContain(aside()[0]);
    expect(readFileSync(logs(aside()[0]), 'utf8')).toBe(text);
    expect(world.api.calls).toEqual([]);
    expect(await writtenIds()).toEqual([]);
  });

  it.each(files)('$what: a run that starts over keeps it aside and says so', async ({ text, told }) => {
    mkdirSync(logs());
    writeFileSync(logs('checkpoint_jockeys.json'), text);
    const { code, stdout } = await run(['--entities', 'jockeys']);
    expect(code).toBe(0);
    expect(stdout).toContain(told);
    expect(stdout).toContain(aside()[0]);
    expect(readFileSync(logs(aside()[0]), 'utf8')).toBe(text);
    expect(checkpointIds(world, jockeys)).toHaveLength(14);
  });

  it('--dry-run leaves it where it is', async () => {
    mkdirSync(logs());
    writeFileSync(logs('checkpoint_jockeys.json'), 'torn');
    expect((await run(['--entities', 'jockeys', '--dry-run'])).code).toBe(0);
    expectUnusable(await run(['--entities', 'jockeys', '--dry-run', '--resume']), 'checkpoint_jockeys.json');
    expect(readFileSync(logs('checkpoint_jockeys.json'), 'utf8')).toBe('torn');
    expect(aside()).toEqual([]);
  });

  it('a folder in its place', async () => {
    mkdirSync(logs('checkpoint_jockeys.json'), { recursive: true });
    expectUnusable(await run(['--entities', 'jockeys', '--resume']), 'checkpoint_jockeys.json');
    expect(aside()).toHaveLength(1);
  });
});
