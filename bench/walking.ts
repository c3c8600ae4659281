import { runInEmptyFolder } from './command.js';
import { askSerially } from './serial-client.js';
import { count, percent, type Table } from './table.js';
import { type Calls, withWorld } from './world.js';

const walkedEntities = 300;
/** At 2 s of latency they take 80 seconds; the share of the limit is the same from the first of them on. */
const serialRequests = 40;

/** Walking, beside what a plain serial client does at the same simulated API. */
export async function measureWalks(): Promise<Table> {
  const rows: string[][] = [];
  for (const latencyMs of [50, 250, 2000]) rows.push(...(await walkAt(latencyMs)));
  return {
    columns: ['API latency', 'client', 'requests', 'refused (429)', 'first to last request', 'start to exit'],
    rows: [...rows, ['to reach', 'walk', '', '', '97%', '']],
    notes: [
      'Share of the limit used; refused requests do not count. Serial client: asks the same URLs one after the ' +
        'other, each when the one before is answered, waiting only as long as the rate demands; ' +
        `the first ${serialRequests} of them.`,
    ],
  };
}

async function walkAt(latencyMs: number): Promise<string[][]> {
  const requestsPerSecond = 2;
  const latency = `${latencyMs} ms`;
  return await withWorld({ scale: 1, requestsPerSecond, latencyMs }, async ({ environment, takeCalls }) => {
    const args = ['--entities', 'owners', '--limit', String(walkedEntities), '--strategy', 'walk'];
    const { wallSeconds } = await runInEmptyFolder(args, environment);
    const walked = await takeCalls();
    const requests = walked.arrivalsMs.length;
    const { origin } = new URL(environment.RACING_API_BASE_URL);
    const urls = walked.paths.slice(0, serialRequests).map((path) => origin + path);
    await askSerially(urls, requestsPerSecond, {
      username: environment.RACING_API_USERNAME,
      password: environment.RACING_API_PASSWORD,
    });
    const serial = await takeCalls();
    return [
      [
        latency,
        'walk',
        count(requests),
        count(walked.rejected),
        percent(steadyShare(walked, requestsPerSecond)),
        percent((requests - walked.rejected) / requestsPerSecond / wallSeconds),
      ],
      [
        latency,
        'serial client',
        count(serial.arrivalsMs.length),
        count(serial.rejected),
        percent(steadyShare(serial, requestsPerSecond)),
        '',
      ],
    ];
  });
}

/** Of the limit, from the first request's arrival to the last one's. */
function steadyShare({ arrivalsMs, rejected }: Calls, requestsPerSecond: number): number {
  const spanMs = (arrivalsMs.at(-1) ?? 0) - (arrivalsMs[0] ?? 0);
  return (1000 * (arrivalsMs.length - rejected - 1)) / requestsPerSecond / spanMs;
}
