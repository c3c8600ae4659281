import { runCommand } from './command.js';
import { count, megabytes, percent, seconds, type Table } from './table.js';
import { withWorld } from './world-process.js';

const latencyMs = 250;

/** A full population by sweep of `scale` times the usual entities; `targets` are the cells of the last row. */
export async function measureSweep(scale: number, requestsPerSecond: number, targets: string[]): Promise<Table> {
  const options = { scale, requestsPerSecond, latencyMs };
  const { run, calls } = await withWorld(options, async (world) => {
    const args = ['--all', '--strategy', 'sweep', '--rate', String(requestsPerSecond)];
    return { run: await runCommand(args, world.environment), calls: await world.takeCalls() };
  });
  const requests = calls.arrivalsMs.length;
  const share = (requests - calls.rejected) / requestsPerSecond / run.wallSeconds;
  return {
    columns: ['entities', 'requests', 'start to exit', 'share of the limit', 'peak memory'],
    rows: [
      [count(54_429 * scale), count(requests), seconds(run.wallSeconds), percent(share), megabytes(run.peakMegabytes)],
      targets,
    ],
    notes: [
      `API latency ${latencyMs} ms, ${calls.rejected} requests refused with 429. ` +
        'Share of the limit: answered requests / rate / time from start to exit.',
    ],
  };
}
