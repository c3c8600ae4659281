import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { checkpointIds, expectNaiveRows, latestReport, reports, until } from './watching.js';
import { type RunningCommand, startWorld, type World } from './world.js';

let world: World;

beforeAll(async () => {
  world = await startWorld({ season: { jockeys: 40, trainers: 30, owners: 60, races: 60 } });
});
beforeEach(() => world.reset());
afterAll(() => world.close());

const [jockeys, trainers] = entityTypes as [EntityType, EntityType];
const walkJockeys = ['--entities', 'jockeys', '--strategy', 'walk', '--rate', '100'];

const stops = [
  { signal: 'SIGINT', code: 130 },
  { signal: 'SIGTERM', code: 143 },
] as const;

/** Sends the signal; fails unless the run ends with the code within the promised ten seconds. */
async function stop(running: RunningCommand, signal: NodeJS.Signals, code: number): Promise<void> {
  const sentAtMs = performance.now();
  running.child.kill(signal);
  expect(await running.ended).toMatchObject({ code, signal: null });
  expect(performance.now() - sentAtMs).toBeLessThan(10_000);
}

/** From now on no write is answered; tells whether so many have come. */
function hangWrites(wanted = 1): () => boolean {
  let hanging = 0;
  world.database.intercept = (request, _response, next) => {
    if (!request.url?.includes('/rpc/')) return next();
    hanging += 1;
  };
  return () => hanging >= wanted;
}

/** What is written, what the checkpoint holds and what the report says is the same. Returns how many. */
async function savedEntities(type: EntityType): Promise<number> {
  const rows = [...(await world.rows(type)).values()];
  const written = rows.filter((row) => row.stats_updated_at !== null).map(({ id }) => id);
  expect(checkpointIds(world, type).sort()).toEqual(written.sort());
  const report = reports(world).find(({ statistics }) => type.name in statistics);
  expect(report?.statistics[type.name]?.successful).toBe(written.length);
  return written.length;
}

describe.each(stops)('$signal', ({ signal, code }) => {
  const report = { exit_code: code, stopped_by: expect.stringContaining(signal) };

  it('in a walk: writes what is gathered, saves checkpoint and report', async () => {
    world.api.options.intercept = (call, _response, next) => (call.number <= 25 ? next() : undefined);
    const running = world.start(walkJockeys);
    await until('requests that wait', () => world.api.calls.length > 25);
    await sleep(1_000);
    await stop(running, signal, code);
    expect(latestReport(world)).toMatchObject(report);
    expect(await savedEntities(jockeys)).toBe(25);
    expect(world.api.calls.length).toBeLessThanOrEqual(40);
  });

  it('in a long pause: writes what is gathered, saves checkpoint and report', async () => {
    world.api.options.intercept = async (call, response, next) => {
      if (call.number <= 10) return next();
      await sleep(1_000);
      response.writeHead(429, { 'retry-after': '1800' }).end();
    };
    const running = world.start([...walkJockeys.slice(0, -1), '20']);
    await running.printed('refuses requests');
    await stop(running, signal, code);
    expect(latestReport(world)).toMatchObject(report);
    expect(await savedEntities(jockeys)).toBe(10);
  });

  it('while a sweep gathers: writes nothing, saves checkpoint and report', async () => {
    world.api.options.intercept = (call, _response, next) => (call.number <= 5 ? next() : undefined);
    const running = world.start(['--all', '--strategy', 'sweep', '--rate', '100']);
    await until('requests that wait', () => world.api.calls.length > 5);
    await stop(running, signal, code);
    expect(latestReport(world)).toMatchObject(report);
    for (const type of entityTypes) expect(await savedEntities(type)).toBe(0);
  });

  it('while a sweep writes: writes all of it', async () => {
    const running = world.start(['--all', '--strategy', 'sweep', '--rate', '1000']);
    world.database.intercept = async (request, _response, next) => {
      if (request.url?.includes('/rpc/')) {
        running.child.kill(signal);
        world.database.intercept = undefined;
        await sleep(500);
      }
      return next();
    };
    expect(await running.ended).toMatchObject({ code });
    expect(latestReport(world)).toMatchObject(report);
    for (const type of entityTypes) expect(await savedEntities(type)).toBe(world.season[type.name].length);
    await expectNaiveRows(world);
  });

  it('for the second time: ends at once', async () => {
    const hangs = hangWrites();
    const running = world.start(walkJockeys);
    await until('a write that hangs', hangs);
    running.child.kill(signal);
    await running.printed('Once more');
    const sentAtMs = performance.now();
    running.child.kill(signal);
    expect(await running.ended).toMatchObject({ code });
    // Without the second signal it would wait for the write some seven seconds.
    expect(performance.now() - sentAtMs).toBeLessThan(5_000);
  });
});

it('SIGINT and SIGTERM end runs whose writes hang, each with its report', async () => {
  const hangs = hangWrites(2);
  const running = [jockeys, trainers].map(({ name }) =>
    world.start(['--entities', name, '--strategy', 'walk', '--rate', '100']),
  );
  await until('two writes that hang', hangs);
  await Promise.all(
    stops.map(async ({ signal, code }, index) => {
      const one = running[index];
      if (one) await stop(one, signal, code);
    }),
  );
  const codes = reports(world).map(({ exit_code }) => exit_code);
  expect(codes.sort()).toEqual([130, 143]);
  for (const type of [jockeys, trainers]) expect(await savedEntities(type)).toBe(0);
});

describe('what stops nothing', () => {
  const hangUps = async (kill: () => void) => {
    for (const calls of [1, 10, 20]) {
      await until(`${calls} calls`, () => world.api.calls.length >= calls);
      kill();
    }
  };

  it('SIGHUP', async () => {
    const running = world.start([...walkJockeys.slice(0, -1), '30']);
    await hangUps(() => running.child.kill('SIGHUP'));
    expect(await running.ended).toMatchObject({ code: 0 });
    expect(await savedEntities(jockeys)).toBe(40);
  });

  it('SIGHUP under nohup', async () => {
    const command = fileURLToPath(new URL('../dist/populate-all-statistics.js', import.meta.url));
    const child = spawn('nohup', [process.execPath, command, ...walkJockeys.slice(0, -1), '30'], {
      cwd: world.folder,
      env: { PATH: process.env.PATH, ...world.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.resume();
    child.stderr.resume();
    const closed = once(child, 'close');
    await hangUps(() => child.kill('SIGHUP'));
    expect(await closed).toEqual([0, null]);
    expect(await savedEntities(jockeys)).toBe(40);
  });

  it.each([['stdout'], ['stdout', 'stderr']] as const)('a closed output: %s %s', async (...outputs) => {
    const running = world.start([...walkJockeys.slice(0, -1), '30']);
    await until('the first call', () => world.api.calls.length > 0);
    for (const output of outputs) if (output) running.child[output]?.destroy();
    expect(await running.ended).toMatchObject({ code: 0 });
    expect(await savedEntities(jockeys)).toBe(40);
  });
});
