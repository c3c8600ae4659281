import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Simulator, startSimulator } from './simulator.js';
import { startWorld, today, type World } from './world.js';

/** ENTITIES=20000 for the size of the promise, which takes some minutes. */
const owners = Number(process.env.ENTITIES ?? 6_000);
const warmUp = 2_000;
const season = { jockeys: 40, trainers: 30, owners, races: 60 };

let world: World;
let simulator: Simulator;

beforeAll(async () => {
  world = await startWorld({ season });
  simulator = await startSimulator({ season: { today, ...season } });
});
afterAll(async () => {
  simulator.close();
  await world.close();
});

function residentMegabytes(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

it.runIf(process.platform === 'linux')(
  `the memory of a walk of ${owners} entities does not grow after the first ${warmUp}`,
  { timeout: 900_000 },
  async () => {
    const running = world.start(['--entities', 'owners', '--strategy', 'walk', '--rate', '1000'], {
      RACING_API_BASE_URL: simulator.url,
    });
    const samples: { walked: number; megabytes: number }[] = [];
    let walked = 0;
    const sampling = setInterval(() => {
      const [, done] = /.*walking owners ([\d,]+)\//s.exec(running.output()) ?? [];
      walked = Number(done?.replaceAll(',', '') ?? 0);
      if (walked > 0) samples.push({ walked, megabytes: residentMegabytes(running.child.pid) });
    }, 50);
    running.child.once('exit', () => clearInterval(sampling));
    expect(await running.ended).toMatchObject({ code: 0 });
    const level = (from: number) =>
      median(
        samples.filter((one) => one.walked >= from && one.walked < from + 1_000).map((one) => one.megabytes),
      );
    const levels: number[] = [];
    for (let from = warmUp; from < owners; from += 1_000) levels.push(Math.round(level(from)));
    const [first = 0, ...later] = levels;
    expect(Math.max(...later) - first, `MB by thousands: ${levels.join(' ')}`).toBeLessThanOrEqual(20);
  },
);
