import * as z from 'zod';
import { mapConcurrently } from './concurrently.js';
import { type Ask, type DataApiOptions, DatabaseFault, openDataApi, secretKeyAdvice } from './data-api.js';
import { Entities, type Entity, type EntityType } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import type { Tell } from './events.js';
import { printable } from './format.js';
import { columnOf, lastDateColumn, type StatisticsRow, statisticsColumns } from './statistics.js';

/** PostgREST's usual cap; a server with a lower one only means more pages. */
const pageRows = 1000;
/** So many rows, or this share of them, may vanish while they are read. */
const mayVanish = { rows: 5, share: 0.01 };
/** So many ids fit into a URL. */
const idsInUrl = 100;
/** Ranges of ids of a type, of which two at a time are read: there is time, and the database has other users. */
const mostRanges = 6;
const rowWritesInFlight = 8;
/** From so many rows on, that none of a run's can be written is not their own fault: more are seldom refused for good. */
const telling = 100;

const entityRows = z.array(
  z.object({
    id: z.string(),
    name: z.string(),
    lastDate: z.string().nullable(),
    recentRuns: z.number().nullable().transform(Number),
    recentWins: z.number().nullable().transform(Number),
    lastWinDate: z.string().nullable(),
    statsUpdatedAtMs: z.string().transform(instantMs).nullable(),
  }),
);
const statisticsRows = z.array(z.object({ id: z.string() }).catchall(z.union([z.string(), z.number(), z.null()])));
const idRows = z.array(z.object({ id: z.string() }));
/** What populate_statistics returns: see its comment in the migration. */
const outcome = z.object({
  written: z.int().nonnegative(),
  gone: z.array(z.string()),
  unreached: z.array(z.string()),
  refused: z.record(z.string(), z.string()),
});
type WriteOutcome = z.infer<typeof outcome>;
/** An earlier version of it returned the ids that the table does not hold. */
const earlierOutcome = z.array(z.string()).transform(() => 'of an earlier version' as const);

/** A stored instant in milliseconds since 1970. A `timestamp` column tells no zone; it holds UTC. */
export function instantMs(stored: string): number {
  const hasZone = /(Z|[+-]\d\d(:?\d\d)?)$/.test(stored);
  return Date.parse(hasZone ? stored : `${stored}Z`);
}

export type Database = ReturnType<typeof createDatabase>;

/** The three tables, over Supabase's Data API. What it does throws a FatalError when the database fails for good. */
export function createDatabase(options: DataApiOptions) {
  const ask = openDataApi(options);
  return {
    checkTable: (type: EntityType) => checkTable(ask, type, options.serviceKey),
    entities: (type: EntityType) => entities(ask, type),
    strays: (type: EntityType, from: string, to: string) => strays(ask, type, from, to),
    stored: (type: EntityType, ids: string[]) => stored(ask, type, ids),
    storedStatistics: (type: EntityType, id: string) => storedStatistics(ask, type, id),
    ...statisticsWriter(ask, options),
  };
}

/** Checks that the table has every column that we write and some rows. Returns how many. */
async function checkTable(ask: Ask, type: EntityType, serviceKey: string): Promise<number> {
  const columns = ['id', 'name', ...statisticsColumns(type), 'stats_updated_at'].join(',');
  const { count } = await ask(type, idRows, (client) =>
    client.from(type.table).select(columns, { count: 'exact' }).limit(1),
  );
  if (count > 0) return count;
  const perhaps = 'Check that SUPABASE_URL and SUPABASE_SERVICE_KEY are those of the project that has the rows.';
  const told = `${type.table} is empty, or hidden from the key. ${perhaps} ${secretKeyAdvice(serviceKey)}`;
  throw new FatalError(exitCodes.databaseFailed, told);
}

/**
 * All rows of the type's table but the test rows, page by page in the order of their ids. Ranges of ids are read
 * several at once, for a database may be far away; rows that appear or vanish meanwhile shift nothing.
 */
async function* entities(ask: Ask, type: EntityType): AsyncGenerator<Entity[]> {
  const { count, ends } = await countedRanges(ask, type);
  let read = 0;
  for await (const page of pagesInOrder(ask, type, ends)) {
    read += page.length;
    yield [...page].filter(isNoTest);
  }
  if (count - read <= Math.max(mayVanish.rows, mayVanish.share * count)) return;
  const what = `The database has ${count} rows of ${type.table} and answered with ${read} of them.`;
  throw new FatalError(exitCodes.databaseFailed, `${what} Run again, when nobody deletes rows.`);
}

async function* pagesInOrder(ask: Ask, type: EntityType, ends: string[]): AsyncGenerator<Entities> {
  let next: Promise<Entities[]> | undefined = readRange(ask, type, undefined, ends[0]);
  for (const [index, end] of [...ends, undefined].entries()) {
    const range = next;
    next = end === undefined ? undefined : readRange(ask, type, end, ends[index + 1]);
    // It is awaited, but another is before it.
    next?.catch(() => {});
    yield* (await range) ?? [];
  }
}

/** How many rows there are, and the last ids of ranges of a few pages each, but of the last range: that has no end. */
async function countedRanges(ask: Ask, type: EntityType): Promise<{ count: number; ends: string[] }> {
  const { count } = await ask(type, idRows, (client) =>
    client.from(type.table).select('id', { count: 'exact' }).order('id').limit(1),
  );
  const rangeRows = pageRows * Math.ceil(count / pageRows / mostRanges);
  const offsets: number[] = [];
  for (let end = rangeRows; end < count; end += rangeRows) offsets.push(end - 1);
  const ends = offsets.map(async (offset) => {
    const { data } = await ask(type, idRows, (client) =>
      client.from(type.table).select('id').order('id').range(offset, offset),
    );
    return data.map(({ id }) => id);
  });
  return { count, ends: (await Promise.all(ends)).flat() };
}

/** The rows, but the test rows, whose statistics were not written between two instants (ISO text), both included. */
async function strays(ask: Ask, type: EntityType, from: string, to: string): Promise<Entities> {
  const filter = `stats_updated_at.is.null,stats_updated_at.lt."${from}",stats_updated_at.gt."${to}"`;
  const pages = await readRange(ask, type, undefined, undefined, filter);
  return pages.reduce((all, page) => all.followedBy(page.filter(isNoTest)), new Entities());
}

/** Here and not in the query: PostgREST would read the asterisks as wildcards. */
const isNoTest = ({ id }: Entity) => !id.startsWith('**TEST**');

/** The rows that pass a filter, after the id `after` and up to `last`; each page begins after the one before. */
async function readRange(ask: Ask, type: EntityType, after: string | undefined, last: string | undefined, filter = '') {
  const pages: Entities[] = [];
  const seen = new Set<string>();
  for (let from = after; from === undefined || from !== last; ) {
    const { data: page } = await ask(type, entityRows, (client) => {
      let query = client.from(type.table).select(entityColumns(type)).order('id').limit(pageRows);
      if (filter !== '') query = query.or(filter);
      if (from !== undefined) query = query.gt('id', from);
      return last === undefined ? query : query.lte('id', last);
    });
    const unseen = page.filter(({ id }) => !seen.has(id) && seen.add(id));
    from = unseen.at(-1)?.id;
    if (from === undefined) break;
    pages.push(new Entities(unseen));
  }
  return pages;
}

/** What an Entity holds, by its names. */
function entityColumns(type: EntityType): string {
  const recentRuns = columnOf(type, 'recent_30d_{runs}');
  const wins = 'recentWins:recent_30d_wins,lastWinDate:last_win_date';
  const runs = `lastDate:${lastDateColumn(type)},recentRuns:${recentRuns}`;
  return `id,name,${runs},${wins},statsUpdatedAtMs:stats_updated_at`;
}

/** An entity's stored statistics, with stats_updated_at; undefined if its row is gone. */
async function storedStatistics(ask: Ask, type: EntityType, id: string): Promise<StatisticsRow | undefined> {
  const columns = ['id', ...statisticsColumns(type), 'stats_updated_at'].join(',');
  const { data: rows } = await ask(type, statisticsRows, (client) =>
    client.from(type.table).select(columns).eq('id', id),
  );
  return rows[0];
}

/** Which rows could not be written: by id why the database refuses some, and the ids of those that it does not hold. */
interface Unwritten {
  refused: ReadonlyMap<string, string>;
  gone: ReadonlySet<string>;
}

function statisticsWriter(ask: Ask, { tell, serviceKey }: DataApiOptions) {
  const all = { written: 0, refused: 0, firstReason: '' };
  const write = batchWriter(ask, tell);
  return {
    /** Writes rows that exist. All are written but those that it returns. */
    writeStatistics: async (type: EntityType, rows: StatisticsRow[]): Promise<Unwritten> => {
      if (rows.length === 0) return { refused: new Map(), gone: new Set() };
      const outcome = await write(type, rows);
      const unwritten = unwrittenOf(type, rows, outcome);
      const { refused } = unwritten;
      all.written += outcome.written;
      all.refused += refused.size;
      all.firstReason ||= [...refused.values()][0] ?? '';
      return unwritten;
    },
    /** Throws a FatalError when many rows, and no others, could not be written so far: then it is not the rows. */
    checkWriting: () => {
      if (all.written > 0 || all.refused < telling) return;
      const advice = all.firstReason.endsWith(keeps) ? ` ${secretKeyAdvice(serviceKey)}` : '';
      const what = `The database writes none of ${all.refused} rows, the first one because`;
      throw new FatalError(exitCodes.databaseFailed, `${what} ${printable(all.firstReason)}.${advice}`);
    },
  };
}

/** Writes by the database function, in halves what takes too long; or row by row where that is not as we know it. */
function batchWriter(ask: Ask, tell: Tell) {
  let functionInstalled = true;
  return async function write(type: EntityType, rows: StatisticsRow[]): Promise<WriteOutcome> {
    if (!functionInstalled) return await writeRowByRow(ask, type, rows);
    const done = await writeByFunction(ask, type, rows);
    if (typeof done === 'object') return done;
    if (done === 'too slow') {
      const half = Math.ceil(rows.length / 2);
      return joined(await write(type, rows.slice(0, half)), await write(type, rows.slice(half)));
    }
    const line = `The database function populate_statistics is ${done}: ${rowByRowAdvice}`;
    if (functionInstalled) tell({ kind: 'line', line });
    functionInstalled = false;
    return await writeRowByRow(ask, type, rows);
  };
}

const rowByRowAdvice =
  'writing row by row, which is much slower. Apply supabase/migrations (supabase db push) to install it.';

async function writeByFunction(ask: Ask, type: EntityType, rows: StatisticsRow[]) {
  try {
    const { data } = await ask(
      type,
      z.union([outcome, earlierOutcome]),
      (client) => client.rpc('populate_statistics', { entity_type: type.name, statistics: rows }),
      ({ kind, isTooSlow }) => kind === 'function-missing' || (isTooSlow && rows.length > 1),
    );
    return data;
  } catch (error) {
    if (!(error instanceof DatabaseFault)) throw error;
    return error.isTooSlow ? 'too slow' : 'not installed';
  }
}

function joined(one: WriteOutcome, other: WriteOutcome): WriteOutcome {
  return {
    written: one.written + other.written,
    gone: [...one.gone, ...other.gone],
    unreached: [...one.unreached, ...other.unreached],
    refused: { ...one.refused, ...other.refused },
  };
}

async function writeRowByRow(ask: Ask, type: EntityType, rows: StatisticsRow[]): Promise<WriteOutcome> {
  const refused: Record<string, string> = {};
  const missing: string[] = [];
  const writes = mapConcurrently(rows, rowWritesInFlight, async ({ id, ...values }) => {
    try {
      const { data: updated } = await ask(
        type,
        idRows,
        (client) => client.from(type.table).update(values).eq('id', id).select('id'),
        (fault) => isOfRow(fault, type),
      );
      if (updated.length === 0) missing.push(id);
    } catch (error) {
      if (!(error instanceof DatabaseFault)) throw error;
      refused[id] = error.message;
    }
  });
  for await (const _ of writes);
  const unreached = (await stored(ask, type, missing)).map(({ id }) => id);
  const gone = missing.filter((id) => !unreached.includes(id));
  return { written: rows.length - missing.length - Object.keys(refused).length, gone, unreached, refused };
}

/** Whether a single row's update was refused, and not all. Class 42 is also what a trigger lacks, or a policy says. */
function isOfRow({ kind, code, message }: DatabaseFault, { table }: EntityType): boolean {
  const isOfTable = new RegExp(`\\b${table}\\b`).test(message) && !message.startsWith('new row violates');
  return kind === 'row-refused' || kind === 'other' || (code.startsWith('42') && !isOfTable);
}

/** Those of the ids that the table shows, as they are there. */
async function stored(ask: Ask, type: EntityType, ids: string[]): Promise<Entity[]> {
  const found: Entity[] = [];
  for (let from = 0; from < ids.length; from += idsInUrl) {
    const some = ids.slice(from, from + idsInUrl).map(quoted);
    const { data } = await ask(type, entityRows, (client) =>
      client.from(type.table).select(entityColumns(type)).filter('id', 'in', `(${some})`),
    );
    found.push(...data);
  }
  return found;
}

/** As PostgREST reads a value of a list that holds commas, parentheses or quotes. */
function quoted(value: string): string {
  return `"${value.replace(/["\\]/g, '\\$&')}"`;
}

/** Each row is written or is one of these; otherwise it is not our function that has answered. */
function unwrittenOf({ table }: EntityType, rows: StatisticsRow[], { written, ...others }: WriteOutcome): Unwritten {
  const gone = new Set(others.gone);
  const refused = new Map([
    ...others.unreached.map((id) => [id, `no update reaches its row in ${table}: ${keeps}`] as const),
    ...Object.entries(others.refused).map(([id, told]) => [id, `the database refuses its values: ${told}`] as const),
  ]);
  const known = new Set(rows.map(({ id }) => id));
  const areKnown = [...gone, ...refused.keys()].every((id) => known.has(id));
  if (written + gone.size + refused.size === known.size && areKnown) return { refused, gone };
  const what = `populate_statistics does not account for the ${known.size} rows of ${table} that it was given`;
  throw new FatalError(exitCodes.databaseFailed, `${what}. Apply supabase/migrations (supabase db push).`);
}

const keeps = 'a trigger or row-level security keeps it as it is';
