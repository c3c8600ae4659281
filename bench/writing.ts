import { createDatabase, type Database } from '../src/database.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { type StatisticsRow, statisticsWindow, Tallies } from '../src/statistics.js';
import { count, type Table } from './table.js';
import { type World, withWorld } from './world.js';

const batches = 10;
const rowsInBatch = 2000;

/** Writing through the database function, and without it. */
export async function measureWrites(): Promise<Table> {
  const [byFunction, byRow] = await withWorld({ scale: 1, requestsPerSecond: 2, latencyMs: 0 }, async (world) => {
    const owners = entityTypes.find(({ name }) => name === 'owners');
    if (owners === undefined) throw new Error('There are no owners');
    const database = openDatabase(world);
    const rows = await emptyStatistics(database, owners, batches * rowsInBatch);
    const functionSpeed = await measureWriting(database, owners, rows);
    await world.query('drop function public.populate_statistics');
    await world.query("notify pgrst, 'reload schema'");
    const rowSpeed = await measureWriting(database, owners, rows.slice(0, rowsInBatch));
    return [functionSpeed, rowSpeed];
  });
  const times = byFunction / byRow;
  return {
    columns: ['way', 'rows', 'rows a second'],
    rows: [
      [`database function, batches of ${count(rowsInBatch)}`, count(batches * rowsInBatch), count(byFunction)],
      ['row by row, as without the function', count(rowsInBatch), count(byRow)],
    ],
    notes: [`The function is ${times.toFixed(1)} times as fast, on loopback; over a network, more.`],
  };
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
  for (let first = 0; first < rows.length; first += rowsInBatch) {
    const { refused, gone } = await database.writeStatistics(type, rows.slice(first, first + rowsInBatch));
    if (refused.size + gone.size > 0) throw new Error(`Not written: ${[...gone, ...refused.values()][0]}`);
  }
  return (1000 * rows.length) / (performance.now() - startedAtMs);
}
