import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from './command.js';
import { count, megabytes, percent, seconds, type Table } from './table.js';
import { withWorld } from './world.js';

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
  database?: 'far';
  /** The types that each of the processes takes. */
  processes?: string[][];
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
  { name: '20 requests/s, ten times the entities', rate: 20, scale: 10, target: 'ideal + 25 s, 200 MB' },
];

/** Full populations by sweep: how near they come to the ideal, which is requests / what is allowed in a second. */
export async function measurePopulations(): Promise<Table> {
  const rows: string[][] = [];
  for (const one of cases) {
    rows.push(await measure(one));
    console.log(rows.at(-1)?.join(' · '));
  }
  return {
    columns: ['case', 'requests', 'refused', 'ideal', 'start to exit', 'share of the ideal', 'peak memory', 'to reach'],
    rows,
    notes: [
      `${count(entities)} entities, API latency ${latencyMs} ms. Requests: those that were answered; ideal: these / the ` +
        'requests that are allowed in a second. Far database: 100 to 150 ms to it, 100 ms to connect. Jittery network: ' +
        'a request is 0 to 60 ms on its way to the API, and a connection takes 150 ms. Two processes sweep at the same ' +
        'time in one folder, one the jockeys and trainers, the other the owners: the requests of both, and the larger memory.',
    ],
  };
}

async function measure({
  name,
  scale = 1,
  rate,
  allowed = rate,
  api,
  database,
  processes = [[]],
  target,
}: Case): Promise<string[]> {
  const options = {
    scale,
    requestsPerSecond: allowed,
    latencyMs,
    apiNetwork: api && { connectMs: 150, requestMs: [0, 60] as [number, number] },
    databaseNetwork: database && { connectMs: 100, requestMs: [100, 150] as [number, number] },
  };
  const folder = mkdtempSync(join(tmpdir(), 'populate-bench-'));
  try {
    const { runs, calls } = await withWorld(options, async ({ environment, takeCalls }) => {
      const commands = processes.map((types) => {
        const args = [...(types.length > 0 ? ['--entities', ...types] : ['--all']), '--rate', String(rate)];
        return runCommand([...args, '--strategy', 'sweep'], environment, folder);
      });
      return { runs: await Promise.all(commands), calls: await takeCalls() };
    });
    const answered = calls.arrivalsMs.length - calls.rejected;
    const ideal = answered / allowed;
    const wall = Math.max(...runs.map(({ wallSeconds }) => wallSeconds));
    const peak = Math.max(...runs.map(({ peakMegabytes }) => peakMegabytes ?? 0)) || null;
    const times = [seconds(ideal), seconds(wall), percent(ideal / wall)];
    return [name, count(answered), count(calls.rejected), ...times, megabytes(peak), target];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
