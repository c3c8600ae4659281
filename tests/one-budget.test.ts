import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Arrival, SimulatorSettings } from './simulator.js';
import { password, type RunningCommand, sharedWorld, startWorld, today, username } from './world.js';

const rate = 12;
/** On a busy machine some requests are on their way for longer than others; two budgets would halve the second. */
const jitterMs = 300;
const season = { jockeys: 30, trainers: 10, owners: 20, races: 90 };

const world = sharedWorld(() => startWorld({ season }));
/** In a process of its own nothing but the calls themselves keeps it from noting when they arrive. */
let simulator: ChildProcess;
let simulatorUrl: string;
/** How many calls came in earlier tests. */
let earlier = 0;

beforeAll(async () => {
  const settings: SimulatorSettings = { season: { today, ...season }, username, password, failEvery: 7 };
  const script = fileURLToPath(new URL('./simulator.ts', import.meta.url));
  simulator = fork(script, [JSON.stringify(settings)], { execArgv: ['--import', 'tsx'] });
  [simulatorUrl] = await once(simulator, 'message');
});
beforeEach(async () => {
  earlier += (await arrivals()).length;
});
afterAll(() => simulator.disconnect());

async function arrivals(): Promise<Arrival[]> {
  simulator.send('arrivals');
  const [all] = await once(simulator, 'message');
  return all.slice(earlier);
}

const start = (...args: string[]) =>
  world.start([...args, '--rate', String(rate)], { RACING_API_BASE_URL: simulatorUrl });
const walk = (type: string, ...more: string[]) => start('--entities', type, '--strategy', 'walk', ...more);

async function expectEnded(...commands: RunningCommand[]): Promise<void> {
  for (const { ended } of commands) expect(await ended).toMatchObject({ code: 0 });
}

/** Fails if many a request arrived when a rolling second before it held as many as the rate allows. */
function expectRate(all: readonly Arrival[]): void {
  const tooEarly = all.flatMap(({ at }, index) => {
    const before = all[index - rate];
    return before && at - before.at < 1000 - jitterMs ? [at - before.at] : [];
  });
  // With two budgets most of them would.
  expect(tooEarly.length).toBeLessThan(all.length / 4);
}

it('two runs and a verification together keep to the rate, retries included', async () => {
  await world.runHere({ strategy: 'sweep' });
  const verify = start('verify', '--entities', 'trainers', '--sample', '10');
  await expectEnded(verify, walk('jockeys', '--limit', '10'), walk('owners', '--limit', '10'));
  const all = await arrivals();
  expect(all.length).toBeGreaterThan(30);
  expectRate(all);
  const [first, last] = [all[0]?.at ?? 0, all.at(-1)?.at ?? 0];
  expect(last - first).toBeGreaterThan((all.length - 1) * (1000 / rate) - jitterMs);
});

it('a verification killed and a run stopped do not hold up another', async () => {
  await world.runHere({ strategy: 'sweep' });
  const killed = start('verify', '--entities', 'trainers', '--sample', '10');
  const stopped = walk('jockeys', '--limit', '10');
  const other = walk('owners', '--limit', '14');
  const callsFor = async (type: string) =>
    (await arrivals()).filter(({ path }) => path.startsWith(`/v1/${type}/`)).length;
  for (const type of ['trainers', 'jockeys']) {
    await expect.poll(() => callsFor(type), { timeout: 60_000 }).toBeGreaterThan(0);
  }
  killed.child.kill('SIGKILL');
  stopped.child.kill('SIGSTOP');
  const askedBefore = await callsFor('owners');
  await expect.poll(() => callsFor('owners'), { timeout: 60_000 }).toBeGreaterThan(askedBefore + 5);
  stopped.child.kill('SIGCONT');
  await expectEnded(other, stopped);
  expectRate(await arrivals());
});
