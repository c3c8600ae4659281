import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { beforeEach, describe, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { openCheckpoint } from '../src/files/checkpoint.js';
import type { PopulateOptions } from '../src/options.js';
import { idsInOrder, jockeys, startTinyWorld } from './faults.js';
import { checkpointIds, latestReport, placeCheckpoint, reports, writtenIds } from './watching.js';
import { type Ended, readJson, sharedWorld, startCommand, today } from './world.js';

/** What lies in logs/, and what happens when it cannot be used. */
const world = sharedWorld(startTinyWorld);
beforeEach(() => mkdirSync(logs()));

const logs = (name = '') => join(world.folder, 'logs', name);
const logsLike = (pattern: RegExp) => readdirSync(logs()).filter((name) => pattern.test(name));
const path = () => logs('checkpoint_jockeys.json');
const run = (options: Partial<PopulateOptions> = {}) =>
  world.runHere({ entities: [jockeys], strategy: 'sweep', ...options });

/** A thread that reads a file all the time until told to stop, then tells what was no whole checkpoint. */
const readAgainAndAgain = `
  const { readFileSync } = require('node:fs');
  const { parentPort, workerData } = require('node:worker_threads');
  const counts = new Set();
  const torn = [];
  const timer = setInterval(() => {
    const text = readFileSync(workerData, 'utf8');
    try {
      counts.add(JSON.parse(text).count);
    } catch {
      torn.push(text.slice(0, 60));
    }
  }, 1);
  parentPort.postMessage('reading');
  parentPort.once('message', () => {
    clearInterval(timer);
    parentPort.postMessage({ torn, several: counts.size > 1 });
  });`;

describe('a checkpoint', () => {
  it('of each type has the documented format and every id that is written', async () => {
    const before = Date.now();
    const { lines } = await run({ entities: entityTypes, resume: true });
    expect(lines).toContain('jockeys: no checkpoint to resume from; starting from the beginning.');
    for (const type of entityTypes) {
      const saved = readJson(world, `checkpoint_${type.name}.json`) as { timestamp: string };
      expect(saved).toEqual({
        entity_type: type.name,
        processed_ids: expect.any(Array),
        count: world.season[type.name].length,
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      });
      expect(Date.parse(saved.timestamp)).toBeGreaterThanOrEqual(before);
      expect(checkpointIds(world, type).sort()).toEqual(await writtenIds(world, type));
    }
    expect(logsLike(/^(?!checkpoint_\w+\.json$)/)).toEqual(['season.json.gz', expect.stringMatching(/report/)]);
  });

  it.each(['2025-10-19T14:17:14.123456', null])(
    'of the original program, time %s: only a walk with --resume goes on from it, a run without keeps it aside',
    async (timestamp) => {
      const ids = await idsInOrder(world, jockeys);
      placeCheckpoint(world, jockeys, [...ids.slice(0, 5), ids[4] ?? ''], timestamp);
      const resumed = await run({ strategy: 'walk', resume: true, limit: 4 });
      expect(resumed.statistics.jockeys).toMatchObject({ total: 4, successful: 4, skipped: 5 });
      const told = [timestamp ? '\\d+ d ago' : 'at an unknown time', timestamp?.slice(0, 10) ?? 'an unknown day'];
      const line = `^jockeys: resuming after 5 written, as saved ${told[0]}. Their rows are of ${told[1]}.$`;
      expect(resumed.lines).toContainEqual(expect.stringMatching(line));
      expect(readJson(world, 'checkpoint_jockeys.json')).toMatchObject({ rows_from: timestamp ? told[1] : null });
      expect(await writtenIds(world, jockeys)).toEqual(ids.slice(5, 9).sort());
      expect(checkpointIds(world, jockeys).sort()).toEqual(ids.slice(0, 9).sort());
      expect((await run({ dryRun: true, resume: true })).statistics.jockeys).toMatchObject({ total: 14, skipped: 0 });

      const started = await run({ limit: 3 });
      expect(started.statistics.jockeys).toMatchObject({ total: 3, skipped: 0 });
      expect(started.lines.join()).not.toContain('resum');
      expect(started.lines).toContain(`The earlier checkpoint is kept as ${path()}.previous.`);
      expect(checkpointIds(world, jockeys)).toHaveLength(3);
      expect(readJson(world, 'checkpoint_jockeys.json.previous')).toMatchObject({ count: 9 });
    },
  );

  it('of several types are told in one line when they are kept aside', async () => {
    for (const type of entityTypes) placeCheckpoint(world, type, ['one']);
    const { lines } = await run({ entities: entityTypes, limit: 1 });
    const kept = lines.filter((line) => line.includes('kept as'));
    expect(kept).toEqual([`The earlier checkpoints are kept as ${logs('checkpoint_<type>.json.previous')}.`]);
  });

  it('of an earlier run is not taken for that of a run which wrote some of the types', async () => {
    const walked = { entities: entityTypes, strategy: 'walk' } as const;
    await run(walked);
    // The account is refused when the jockeys are written.
    world.api.options.intercept = (call, response, next) =>
      call.path.startsWith('/v1/trainers/') ? void response.writeHead(403).end() : next();
    const stopped = await run(walked);
    expect(stopped).toMatchObject({ exit_code: 5, stopped_by: expect.stringContaining('With --resume the next run') });
    const written = stopped.overall.total_successful;
    expect(written).toBe(checkpointIds(world, jockeys).length);
    world.api.options.intercept = undefined;
    const resumed = await run({ ...walked, resume: true });
    const all = entityTypes.map(({ name }) => world.season[name].length).reduce((sum, count) => sum + count, 0);
    expect(resumed.overall.total_successful).toBe(all - written);
  });

  it('is forgotten with --clear-checkpoints, and a dry run leaves it alone', async () => {
    placeCheckpoint(world, jockeys, await idsInOrder(world, jockeys));
    const before = readFileSync(path(), 'utf8');
    const all = { total: 14, skipped: 0 };
    for (const options of [{ clearCheckpoints: true, resume: true }, {}]) {
      expect((await run({ ...options, dryRun: true })).statistics.jockeys).toMatchObject(all);
      expect(readFileSync(path(), 'utf8')).toBe(before);
    }
    expect((await run({ dryRun: true, resume: true })).statistics.jockeys).toMatchObject({ skipped: 14 });
    expect((await run({ clearCheckpoints: true, resume: true })).statistics.jockeys).toMatchObject(all);
    expect(await writtenIds(world, jockeys)).toHaveLength(14);
  });

  it('is saved again when that is so long ago, and when it is asked for', () => {
    const checkpoint = openCheckpoint(logs(), jockeys, undefined, today);
    const saved = () => checkpointIds(world, jockeys);
    checkpoint.add(['jky_1'], 60_000);
    expect(saved()).toEqual([]);
    checkpoint.add(['jky_2'], 0);
    expect(saved()).toEqual(['jky_1', 'jky_2']);
    checkpoint.add(['jky_3'], 60_000);
    checkpoint.close();
    expect(saved()).toHaveLength(3);
    rmSync(path());
    checkpoint.close();
    expect(existsSync(path())).toBe(false);
  });

  it('is whole for a reader at every moment', async () => {
    const checkpoint = openCheckpoint(logs(), jockeys, undefined, today);
    checkpoint.add(['jky_first'], 0);
    const reader = new Worker(readAgainAndAgain, { eval: true, workerData: path() });
    const message = () => new Promise((resolve, reject) => reader.once('message', resolve).once('error', reject));
    await message();
    for (let save = 0; save < 150; save += 1) {
      checkpoint.add(
        Array.from({ length: 100 }, (_, index) => `jky_${save}_${index}`),
        0,
      );
      await sleep(0);
    }
    reader.postMessage('stop');
    expect(await message()).toEqual({ torn: [], several: true });
  });
});

const usable = '{"entity_type": "jockeys", "processed_ids": ["jky_1"], "count": 1, "timestamp": ""}';

it.each([
  ['is torn', usable.slice(0, -20), 'it is not a whole checkpoint'],
  ['is empty', '', 'it is not a whole checkpoint'],
  ['is a foreign object', '{"position": 17}', 'it is not a whole checkpoint'],
  ['has ids that are no texts', usable.replace('"jky_1"', '17'), 'it is not a whole checkpoint'],
  ['is of another type', usable.replace('jockeys', 'owners\\u001b[31m'), 'it is a checkpoint of owners'],
  ['is a folder', undefined, 'it is a folder'],
])('a checkpoint that %s is kept aside, and not gone on from', async (_, text, told) => {
  const place = () => (text === undefined ? mkdirSync(path()) : writeFileSync(path(), text));
  function expectKeptAside(message = ''): void {
    expect(message).toContain(`${path()} cannot be used (${told}`);
    expect(message).not.toMatch(/\p{Cc}/u);
    const aside = logsLike(/^checkpoint_jockeys\.json\.unusable-20\d{12}$/);
    expect(aside).toHaveLength(1);
    expect(message).toContain(logs(aside[0]));
    if (text !== undefined) expect(readFileSync(logs(aside[0]), 'utf8')).toBe(text);
  }

  place();
  expect((await run({ dryRun: true, resume: true })).exit_code).toBe(8);
  const resumed = await run({ resume: true });
  expect(resumed).toMatchObject({ exit_code: 8, stopped_by: expect.stringContaining(`${path()} cannot be used: `) });
  expect(resumed.stopped_by).toContain('without --resume');
  expect(resumed.stopped_by).not.toMatch(/\p{Cc}/u);
  expect(logsLike(/checkpoint/)).toEqual(['checkpoint_jockeys.json']);
  expect(world.api.calls).toEqual([]);
  expect(await writtenIds(world, jockeys)).toEqual([]);

  const startedOver = await run();
  expect(startedOver.exit_code).toBe(0);
  expectKeptAside(startedOver.lines.find((line) => line.includes('cannot be used')));
  expect(checkpointIds(world, jockeys)).toHaveLength(14);
});

it('a run that ends before it writes leaves the checkpoint as it is, and so does one that has nothing to do', async () => {
  placeCheckpoint(world, jockeys, await idsInOrder(world, jockeys));
  const before = readFileSync(path(), 'utf8');
  world.database.intercept = (request, response, next) =>
    request.url?.includes('order=id') ? void response.writeHead(403).end('{}') : next();
  expect((await run()).exit_code).toBe(6);
  world.database.intercept = undefined;
  world.api.options.intercept = (_call, response) => void response.writeHead(404).end();
  expect((await run()).exit_code).toBe(5);
  world.api.options.intercept = undefined;
  const resumed = await run({ resume: true });
  expect(resumed).toMatchObject({ exit_code: 0, statistics: { jockeys: { total: 0, skipped: 14 } } });
  expect(resumed.lines).toContain('Nothing is left to do: no row was written.');
  expect(readFileSync(path(), 'utf8')).toBe(before);
  expect(logsLike(/checkpoint/)).toEqual(['checkpoint_jockeys.json']);
});

it.each(['walk', 'sweep'] as const)(
  'a finished checkpoint of yesterday does not keep a %s from renewing',
  async (strategy) => {
    const yesterday = new Date(Date.now() - 24 * 3600 * 1000).toISOString();
    placeCheckpoint(world, jockeys, await idsInOrder(world, jockeys), yesterday);
    const resumed = await run({ resume: true, strategy });
    expect(resumed).toMatchObject({ exit_code: 0, statistics: { jockeys: { successful: 14, skipped: 0 } } });
    expect(resumed.lines).toContain('jockeys: the checkpoint is of another day, 24 h ago: all rows are written anew.');
    expect(checkpointIds(world, jockeys)).toHaveLength(14);
  },
);

it('a checkpoint that cannot be saved after a batch ends the run, and the report tells what that wrote', async () => {
  world.database.intercept = (request, _response, next) => {
    if (request.url?.includes('/rpc/')) mkdirSync(`${path()}.tmp`);
    return next();
  };
  expect(await run()).toMatchObject({ exit_code: 8, overall: { total_successful: 14, total_failed: 0 } });
  expect(await writtenIds(world, jockeys)).toHaveLength(14);
  expect(checkpointIds(world, jockeys)).toEqual([]);
});

describe('the command', () => {
  const command = (args: string[], shell?: string) =>
    startCommand([...args, '--rate', '1000'], world.folder, world.environment, shell).ended;
  /** A limit on files takes the first bytes and then refuses, as a full disk does. */
  const diskOf = (bytes: number) => `ulimit -f ${bytes / 512}; `;

  function expectUnusable({ code, stderr }: Ended, file: string): void {
    expect(stderr).toContain(file);
    expect(stderr).toMatch(/cannot be (made|written|used|read|kept)/);
    expect(stderr).not.toMatch(/^\s+at |\p{Cc}\[/mu);
    expect(stderr).not.toContain('This is a bug');
    expect(code).toBe(8);
  }

  it('keeps the last whole checkpoint when the disk gets full; a resumed run goes on from there', async () => {
    // 60 ids more than fit.
    await world.database.query(
      `insert into ra_jockeys (id, name) select 'jky_more_' || n, 'More' from generate_series(1, 60) as n`,
    );
    try {
      const sweep = ['--entities', 'jockeys', '--strategy', 'sweep'];
      expectUnusable(await command(sweep, diskOf(512)), 'checkpoint_jockeys.json');
      expect(logsLike(/\.tmp$/)).toEqual([]);
      expect(await writtenIds(world, jockeys)).toEqual(expect.arrayContaining(checkpointIds(world, jockeys)));
      expect((await command([...sweep, '--resume'])).code).toBe(0);
      expect(await writtenIds(world, jockeys)).toHaveLength(74);
      expect(checkpointIds(world, jockeys)).toHaveLength(74);
    } finally {
      await world.database.query(`delete from ra_jockeys where id like 'jky_more_%'`);
    }
  });

  it.each([
    [512, 'the report', 'statistics_population_report', 0],
    [4096, 'its page', '.html', 1],
  ])('ends with 8 when %i bytes are too few for %s, everything else done', async (bytes, _, file, saved) => {
    const args = ['--entities', 'jockeys', '--limit', '2', '--html'];
    expectUnusable(await command(args, diskOf(bytes)), file);
    expect(await writtenIds(world, jockeys)).toHaveLength(2);
    expect(checkpointIds(world, jockeys)).toHaveLength(2);
    expect(logsLike(/report/)).toHaveLength(saved);
    expect(reports(world)).toHaveLength(saved);
    if (saved > 0) expect(latestReport(world)).toMatchObject({ exit_code: 8, failures: [] });
  });
});
