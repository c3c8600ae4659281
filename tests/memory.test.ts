import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { sharedWorld, startWorld } from './world.js';

/** ENTITIES=20000 for the size of the promise, which takes some minutes. */
const owners = Number(process.env.ENTITIES ?? 3_000);
const world = sharedWorld(() => startWorld({ season: { jockeys: 40, trainers: 30, owners, races: 90 } }));

function median(values: readonly number[]): number {
  return Math.round(values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0);
}

it.runIf(process.platform === 'linux')(
  `the memory of a walk of ${owners} entities does not grow after the first thousand`,
  { timeout: 900_000 },
  async () => {
    const running = world.start(['--entities', 'owners', '--strategy', 'walk', '--rate', '1000']);
    /** Resident megabytes, by how many times 500 entities the latest line tells as walked. */
    const samples: number[][] = [];
    const sampling = setInterval(() => {
      const [, walked = ''] = /.*walking ([\d,]+)\//s.exec(running.output()) ?? [];
      const [, kilobytes] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${running.child.pid}/status`, 'utf8')) ?? [];
      const stage = Math.floor(Number(walked.replaceAll(',', '')) / 500);
      samples[stage] ??= [];
      // None at the very end.
      if (kilobytes !== undefined) samples[stage].push(Number(kilobytes) / 1024);
    }, 20);
    running.child.once('exit', () => clearInterval(sampling));
    expect(await running.ended).toMatchObject({ code: 0 });
    // Without those that were walked faster than lines come.
    const [first = Number.NaN, ...later] = Object.values(samples.slice(2)).map(median);
    expect(later).not.toEqual([]);
    expect(Math.max(...later) - first, `MB in turn: ${first} ${later.join(' ')}`).toBeLessThanOrEqual(12);
  },
);
