import { describe, expect, it } from 'vitest';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { checkpointIds, expectNaiveRows, latestReport, reports, until, writtenIds } from './watching.js';
import { preloaded, type RunningCommand, sharedWorld, startWorld } from './world.js';

const world = sharedWorld(() => startWorld({ season: { jockeys: 40, trainers: 30, owners: 60, races: 90 } }));

const [jockeys, trainers, owners] = entityTypes as [EntityType, EntityType, EntityType];
const walk = (type: EntityType, rate: number) => ['--entities', type.name, '--strategy', 'walk', '--rate', `${rate}`];
const sweep = ['--all', '--strategy', 'sweep', '--rate', '1000'];

/** What tells the signals apart; everything else is the same, so that each test below needs only one of them. */
const interrupted = { signal: 'SIGINT', code: 130 } as const;
const terminated = { signal: 'SIGTERM', code: 143 } as const;
type Stop = typeof interrupted | typeof terminated;

/** Answers so many calls and no further one. */
function answerOnly(count: number): void {
  world.api.options.intercept = (call, _response, next) => (call.number <= count ? next() : undefined);
}

/** Sends the signal; fails unless the run ends with the code, on stderr and in its report telling why and what next. */
async function stop(
  running: RunningCommand,
  { signal, code }: Stop,
  advice = 'Run again with --resume to go on.',
): Promise<void> {
  running.child.kill(signal);
  const { stderr, ...ended } = await running.ended;
  expect(ended).toMatchObject({ code, signal: null });
  expect(stderr).toBe(`${`Interrupted by ${signal}. ${advice}`.trim()}\n`);
  const stoppedBy = reports(world).find(({ exit_code }) => exit_code === code)?.stopped_by;
  expect(stoppedBy).toContain(`Interrupted by ${signal}`);
}

/** What is written, what the checkpoint holds and what the report says is the same. Returns how many. */
async function savedEntities(type: EntityType): Promise<number> {
  const written = await writtenIds(world, type);
  expect(checkpointIds(world, type).sort()).toEqual(written);
  const report = reports(world).find(({ statistics }) => type.name in statistics);
  expect(report?.statistics[type.name]?.successful).toBe(written.length);
  return written.length;
}

describe('the first signal', () => {
  it('in a walk: writes what is gathered, asks for nothing more', async () => {
    answerOnly(10);
    const running = world.start(walk(owners, 30));
    // The 30th may leave when the tenth answer is there: at most 20 are in flight.
    await until('requests that wait', () => world.api.calls.length >= 30);
    await stop(running, interrupted);
    expect(await savedEntities(owners)).toBe(10);
    expect(world.api.calls.length).toBeLessThan(60);
  });

  it('while a sweep gathers: writes nothing', async () => {
    answerOnly(2);
    const running = world.start(sweep);
    await until('requests that wait', () => world.api.calls.length > 2);
    await running.printed('owners: 60 selected');
    await stop(running, interrupted, 'Nothing was changed.');
    for (const type of entityTypes) expect(await savedEntities(type)).toBe(0);
  });

  it('while a sweep writes: writes all of it', async () => {
    const running = world.start(sweep);
    let stopped: Promise<void> | undefined;
    world.database.intercept = async (request, _response, next) => {
      if (request.url?.includes('/rpc/')) {
        stopped ??= stop(running, terminated, 'Everything was written by then.');
        await running.printed('Once more');
      }
      return next();
    };
    await running.ended;
    await stopped;
    expect(latestReport(world)).toMatchObject({ exit_code: 143, failures: [] });
    // Otherwise the next refresh would go on from an earlier season than that of the rows.
    expect((await world.run(['--all', '--refresh'])).stdout).toContain('Nothing has changed since then');
    for (const type of entityTypes) expect(await savedEntities(type)).toBe(world.season[type.name].length);
    await expectNaiveRows(world);
  });
});

const lastWrites = 'Its last writes may take seven seconds.';
/** Has a run say so when it begins to wait for them; they are over in one. */
const hasty = preloaded(`const inTime = setTimeout;
  globalThis.setTimeout = (task, ms, ...more) => {
    if (ms === 7_000) console.log(${JSON.stringify(lastWrites)});
    return inTime(task, ms === 7_000 ? 1_000 : ms, ...more);
  };`);

it('a run that has nothing to write ends at once, though the database does not answer', async () => {
  let hanging = 0;
  world.database.intercept = () => {
    hanging += 1;
  };
  const running = world.start(sweep, hasty);
  await until('a request that hangs', () => hanging > 0);
  await stop(running, terminated, 'Nothing was changed.');
  expect(latestReport(world)).toMatchObject({ exit_code: 143 });
  expect(running.output()).not.toContain(lastWrites);
});

it('a run whose writes hang ends in time, after a second signal at once, and either has a report', async () => {
  let hanging = 0;
  world.database.intercept = (request, _response, next) => {
    if (!request.url?.includes('/rpc/')) return next();
    hanging += 1;
  };
  const [once, twice] = [world.start(walk(jockeys, 100), hasty), world.start(walk(trainers, 100))];
  await until('two writes that hang', () => hanging >= 2);
  const stopped = stop(once, interrupted, '');
  twice.child.kill('SIGTERM');
  await twice.printed('Once more');
  twice.child.kill('SIGTERM');
  expect(await twice.ended).toMatchObject({ code: 143, stderr: expect.stringContaining('Interrupted by SIGTERM.') });
  expect(await savedEntities(trainers)).toBe(0);
  await stopped;
  expect(once.output()).toContain(lastWrites);
  expect(await savedEntities(jockeys)).toBe(0);
  expect(reports(world)).toHaveLength(2);
});

it('a run goes on after SIGHUP and when its outputs are closed', async () => {
  const running = world.start(walk(jockeys, 100));
  world.api.options.intercept = (call, _response, next) => {
    // Also under nohup: that has the kernel ignore it, which Node undoes when it starts.
    if (call.number === 1) running.child.kill('SIGHUP');
    if (call.number === 10) for (const output of [running.child.stdout, running.child.stderr]) output.destroy();
    return next();
  };
  expect(await running.ended).toMatchObject({ code: 0 });
  expect(await savedEntities(jockeys)).toBe(40);
});
