import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { type Arrival, type Simulator, startSimulator } from './simulator.js';
import { until } from './watching.js';
import { type RunningCommand, smallSeason, startWorld, today, type World } from './world.js';

const rate = 10;
/** On a busy machine some requests are on their way for longer than others; two budgets would halve the second. */
const jitterMs = 100;
const season = { ...smallSeason, jockeys: 30, trainers: 30, owners: 30, races: 40 };

let world: World;
let simulator: Simulator;

beforeAll(async () => {
  world = await startWorld({ season });
});
beforeEach(async () => {
  await world.reset();
  simulator = await startSimulator({ season: { today, ...season }, failEvery: 7 });
});
afterEach(() => simulator.close());
afterAll(() => world.close());

function start(...args: string[]): RunningCommand {
  return world.start([...args, '--rate', String(rate)], { RACING_API_BASE_URL: simulator.url });
}

function walk(type: string, ...more: string[]): RunningCommand {
  return start('--entities', type, '--strategy', 'walk', ...more);
}

/** The arrivals that came when a rolling second before them held as many as the rate allows. */
function tooEarly(arrivals: readonly Arrival[]): number[] {
  return arrivals.flatMap(({ at }, index) => {
    const before = arrivals[index - rate];
    return before && at - before.at < 1000 - jitterMs ? [at - before.at] : [];
  });
}

/** The longest time for which a type had to wait for its next request, from its first to its last. */
function longestWaitMs(arrivals: readonly Arrival[], type: string): number {
  const own = arrivals.filter(({ path }) => path.startsWith(`/v1/${type}/`));
  return Math.max(...own.map(({ at }, index) => at - (own[index - 1]?.at ?? at)));
}

it('two runs and a verification together keep to the rate, retries included, and none starves', async () => {
  await world.runHere({ strategy: 'sweep' });
  const together = [walk('jockeys'), walk('owners'), start('verify', '--entities', 'trainers', '--sample', '30')];
  for (const { ended } of together) expect(await ended).toMatchObject({ code: 0 });
  const arrivals = await simulator.arrivals();
  expect(arrivals.length).toBeGreaterThan(100);
  expect(tooEarly(arrivals)).toEqual([]);
  const half = arrivals.slice(0, arrivals.length / 2);
  for (const type of ['jockeys', 'owners', 'trainers']) {
    const share = half.filter(({ path }) => path.startsWith(`/v1/${type}/`)).length / half.length;
    expect(share, `the share of ${type}`).toBeGreaterThan(0.1);
  }
});

/** Resolves when the process holds the budget's lock, as far as another process can tell. */
async function holdsBudget({ child }: RunningCommand): Promise<void> {
  const lock = join(world.folder, 'logs', 'request_budget.lock');
  await until('the budget', () => {
    try {
      return JSON.parse(readFileSync(lock, 'utf8')).pid === child.pid;
    } catch {
      return false;
    }
  });
}

it('runs killed again and again, also while they hold the budget, delay another by seconds at most', async () => {
  const other = walk('owners');
  for (let kills = 0; kills < 6; kills += 1) {
    const victim = walk('jockeys');
    if (kills % 2 === 0) await holdsBudget(victim);
    else await sleep(300 + 500 * Math.random());
    victim.child.kill('SIGKILL');
    await victim.ended;
  }
  expect(await other.ended).toMatchObject({ code: 0 });
  const arrivals = await simulator.arrivals();
  expect(tooEarly(arrivals)).toEqual([]);
  expect(longestWaitMs(arrivals, 'owners')).toBeLessThan(5_000);
});

it('a run stopped while it holds the budget delays another by seconds at most, and goes on later', async () => {
  const stopped = walk('jockeys');
  await holdsBudget(stopped);
  stopped.child.kill('SIGSTOP');
  const other = walk('owners', '--limit', '15');
  expect(await other.ended).toMatchObject({ code: 0 });
  const whileStopped = await simulator.arrivals();
  expect(longestWaitMs(whileStopped, 'owners')).toBeLessThan(6_000);
  stopped.child.kill('SIGCONT');
  expect(await walk('trainers', '--limit', '15').ended).toMatchObject({ code: 0 });
  expect(await stopped.ended).toMatchObject({ code: 0 });
  expect(tooEarly(await simulator.arrivals())).toEqual([]);
});
