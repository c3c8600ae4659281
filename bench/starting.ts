import { type CommandRun, runInEmptyFolder } from './command.js';
import { megabytes, seconds, type Table } from './table.js';
import { withWorld } from './world.js';

/** What does not ask the API: --help and --dry-run. */
export async function measureStarts(): Promise<Table> {
  return await withWorld({ scale: 1, requestsPerSecond: 2, latencyMs: 0 }, async ({ environment }) => {
    const help = await medianOf(11, () => runInEmptyFolder(['--help'], {}));
    const dryRun = await medianOf(5, () => runInEmptyFolder(['--all', '--dry-run'], environment));
    return {
      columns: ['command', 'start to exit', 'peak memory'],
      rows: [
        ['--help', seconds(help.wallSeconds), megabytes(help.peakMegabytes)],
        ['to reach', '0.40 s', ''],
        ['--dry-run --all, 54,429 rows', seconds(dryRun.wallSeconds), megabytes(dryRun.peakMegabytes)],
        ['to reach', '2.50 s', '150 MB'],
      ],
      notes: ['Median time of 11 and of 5 starts; the highest peak.'],
    };
  });
}

/** The median time and the highest peak of so many (an odd number of) runs. */
async function medianOf(runs: number, run: () => Promise<CommandRun>): Promise<CommandRun> {
  const all: CommandRun[] = [];
  for (let number = 0; number < runs; number += 1) all.push(await run());
  const times = all.map(({ wallSeconds }) => wallSeconds).sort((a, b) => a - b);
  const peaks = all.flatMap(({ peakMegabytes }) => peakMegabytes ?? []);
  return {
    wallSeconds: times[(runs - 1) / 2] ?? 0,
    peakMegabytes: peaks.length === runs ? Math.max(...peaks) : null,
  };
}
