import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from './command.js';
import { count, megabytes, percent, seconds, type Table } from './table.js';
import { nearestToHosted, type World, withWorld } from './world.js';

const latencyMs = 250;
const entities = 54_429;

interface Case {
  name: string;
  /** --rate. */
  rate: number;
  /** What the account allows in a second where that is another. */
  allowed?: number;
  /** How many times as many entities. */
  scale?: number;
  api?: 'jittery';
  database?: 'far' | 'as hosted';
  /** The types that each of the processes takes. */
  processes?: string[][];
  /** How many runs there are, one after the other in the same folder. */
  runs?: number;
  /** Share of the ideal, or what else it should reach. */
  target: string;
}

const near: Case[] = [
  { name: '2 requests/s', rate: 2, target: '96%' },
  { name: '5 requests/s', rate: 5, target: 'ideal + 6 s' },
  { name: '20 requests/s', rate: 20, target: '' },
];
const far = near.map(
  (one): Case => ({
    ...one,
    name: `${one.name}, far database`,
    database: 'far',
    target: one.rate === 2 ? '93%' : one.target,
  }),
);
const cases: Case[] = [
  ...near,
  ...far,
  { name: '2 requests/s, jittery network', rate: 2, api: 'jittery', target: 'at most 1 refused' },
  { name: '2 requests/s where 1.5 are allowed', rate: 2, allowed: 1.5, target: '85%, a quarter refused' },
  { name: '2 requests/s where 1 is allowed', rate: 2, allowed: 1, target: '85%, a quarter refused' },
  {
    name: '2 requests/s, two processes',
    rate: 2,
    processes: [['jockeys', 'trainers'], ['owners']],
    target: '95%, none refused',
  },
];
const hosted: Case[] = [
  { name: '2 requests/s', rate: 2, runs: 2, database: 'as hosted', target: '96%' },
  {
    name: '20 requests/s, ten times the entities',
    rate: 20,
    scale: 10,
    runs: 2,
    database: 'as hosted',
    target: 'ideal + 25 s, 200 MB',
  },
];

const columns = [
  'case',
  'requests',
  'refused',
  'ideal',
  'start to exit',
  'share of the ideal',
  'peak memory',
  'to reach',
];
const ideal = 'Requests: those that were answered; ideal: these / the requests that are allowed in a second.';

/** Full populations by sweep: how near they come to the ideal, which is requests / what is allowed in a second. */
export async function measurePopulations(): Promise<Table> {
  const notes = [
    `${count(entities)} entities, API latency ${latencyMs} ms. ${ideal} Far database: 100 to 150 ms to it, 100 ms to ` +
      'connect. Jittery network: a request is 0 to 60 ms on its way to the API, and a connection takes 150 ms. Two ' +
      'processes sweep at the same time in one folder, one the jockeys and trainers, the other the owners: the ' +
      'requests of both, and the larger memory.',
  ];
  return { columns, rows: await measureEach(cases), notes };
}

/** The same on what is nearest to a hosted project here. */
export async function measureHostedPopulations(): Promise<Table> {
  const notes = [
    `Database: ${nearestToHosted}. ${count(entities)} entities or ten times as many, API latency ${latencyMs} ms. ` +
      `${ideal} A second run has the season of the first one to read.`,
  ];
  return { columns, rows: await measureEach(hosted), notes };
}

async function measureEach(some: readonly Case[]): Promise<string[][]> {
  const rows: string[][] = [];
  for (const one of some) rows.push(...(await measure(one)));
  return rows;
}

async function measure(one: Case): Promise<string[][]> {
  const { scale = 1, rate, allowed = rate, api, database, runs = 1 } = one;
  const options = {
    engine: database === 'as hosted' ? nearestToHosted : undefined,
    scale,
    requestsPerSecond: allowed,
    latencyMs,
    apiNetwork: api && { connectMs: 150, requestMs: [0, 60] as [number, number] },
    databaseNetwork: database === 'far' ? { connectMs: 100, requestMs: [100, 150] as [number, number] } : undefined,
  };
  const folder = mkdtempSync(join(tmpdir(), 'populate-bench-'));
  try {
    return await withWorld(options, async (world) => {
      const rows: string[][] = [];
      for (let run = 1; run <= runs; run += 1) {
        rows.push(await runOnce(run === 1 ? one : { ...one, name: `${one.name}, run ${run}` }, world, folder));
        console.log(rows.at(-1)?.join(' · '));
      }
      return rows;
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runOnce(
  { name, rate, allowed = rate, processes = [[]], target }: Case,
  { environment, takeCalls }: World,
  folder: string,
): Promise<string[]> {
  const commands = processes.map((types) => {
    const args = [...(types.length > 0 ? ['--entities', ...types] : ['--all']), '--rate', String(rate)];
    return runCommand([...args, '--strategy', 'sweep'], environment, folder);
  });
  const runs = await Promise.all(commands);
  const calls = await takeCalls();
  const answered = calls.arrivalsMs.length - calls.rejected;
  const idealSeconds = answered / allowed;
  const wall = Math.max(...runs.map(({ wallSeconds }) => wallSeconds));
  const peak = Math.max(...runs.map(({ peakMegabytes }) => peakMegabytes ?? 0)) || null;
  const times = [seconds(idealSeconds), seconds(wall), percent(idealSeconds / wall)];
  return [name, count(answered), count(calls.rejected), ...times, megabytes(peak), target];
}
