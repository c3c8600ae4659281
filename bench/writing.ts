import { inBatches, mapConcurrently } from '../src/concurrently.js';
import { createDatabase, type Database } from '../src/database.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { type StatisticsRow, statisticsWindow, Tallies } from '../src/statistics.js';
import { count, type Table } from './table.js';
import { type Engine, nearestToHosted, type World, withWorld } from './world.js';

const batches = 10;
const rowsInBatch = 2000;
const inFlight = 2;

/** Writing through the database function, and without it. */
export async function measureWrites(): Promise<Table> {
  const rows: string[][] = [];
  for (const engine of new Set<Engine>(['Supabase Lite', nearestToHosted])) rows.push(...(await writesTo(engine)));
  return {
    columns: ['database', 'way', 'rows', 'rows a second', 'to reach'],
    rows,
    notes: [
      `On loopback; over a network single updates are slower still. ${inFlight} batches at a time, as a run writes.`,
    ],
  };
}

async function writesTo(engine: Engine): Promise<string[][]> {
  return await withWorld({ engine, scale: 1, requestsPerSecond: 2, latencyMs: 0 }, async (world) => {
    const owners = entityTypes.find(({ name }) => name === 'owners');
    if (owners === undefined) throw new Error('There are no owners');
    const database = openDatabase(world);
    const rows = await emptyStatistics(database, owners, batches * rowsInBatch);
    const some = rows.slice(0, rowsInBatch);
    const byFunction = await measureWriting(database, owners, rows);
    await world.query('drop function public.populate_statistics');
    await world.query("notify pgrst, 'reload schema'");
    // That it is missing is believed only after a while.
    await measureWriting(database, owners, rows.slice(0, 1));
    const byRow = await measureWriting(database, owners, some);
    return [
      [engine, `database function, batches of ${count(rowsInBatch)}`, count(rows.length), count(byFunction), '20,000'],
      [engine, 'row by row, as without the function', count(some.length), count(byRow), ''],
    ];
  });
}

function openDatabase({ environment }: World): Database {
  return createDatabase({
    url: environment.SUPABASE_URL,
    serviceKey: environment.SUPABASE_SERVICE_KEY,
    tell: (event) => event.kind === 'line' && console.log(event.line),
    signal: new AbortController().signal,
  });
}

async function emptyStatistics(database: Database, type: EntityType, most: number): Promise<StatisticsRow[]> {
  const now = new Date().toISOString();
  const tallies = new Tallies([type], statisticsWindow(now.slice(0, 10)));
  const rows: StatisticsRow[] = [];
  for await (const page of database.entities(type)) {
    for (const { id } of page) rows.push({ ...tallies.row(type, id), stats_updated_at: now });
    if (rows.length >= most) break;
  }
  return rows.slice(0, most);
}

/** Rows a second. */
async function measureWriting(database: Database, type: EntityType, rows: StatisticsRow[]): Promise<number> {
  const startedAtMs = performance.now();
  const write = async (some: StatisticsRow[]) => {
    for await (const { refused, gone } of database.writeStatistics(type, some)) {
      if (refused.size + gone.size > 0) throw new Error(`Not written: ${[...gone, ...refused.values()][0]}`);
    }
  };
  for await (const _ of mapConcurrently(inBatches(rows, rowsInBatch), inFlight, write));
  return (1000 * rows.length) / (performance.now() - startedAtMs);
}
