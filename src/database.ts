import * as z from 'zod';
import { type Ask, type DataApiOptions, idRows, openDataApi, secretKeyAdvice, valueRows } from './data-api.js';
import { Entities, type Entity, type EntityType } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import { columnOf, instantMs, lastDateColumn, type StatisticsRow, statisticsColumns } from './statistics.js';
import { statisticsWriter } from './statistics-writer.js';

/** PostgREST's usual cap; a server with a lower one only means more pages. */
const pageRows = 1000;
/** So many rows, or this share of them, may vanish while they are read. */
const mayVanish = { rows: 5, share: 0.01 };
/** So many ids fit into a URL. */
const idsInUrl = 100;
/**
 * Ranges of ids of a type, of which two at a time are read and held: there is time, and the database has other users.
 * There are as many as it takes to have no more pages in each.
 */
const leastRanges = 6;
const mostPages = 20;

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
    writeStatistics: statisticsWriter(ask, options),
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
  const { count } = await ask(type, idRows, (client) =>
    client.from(type.table).select('id', { count: 'exact' }).limit(1),
  );
  let read = 0;
  for await (const page of pagesInOrder(ask, type, count)) {
    read += page.length;
    yield [...page].filter(isNoTest);
  }
  if (count - read <= Math.max(mayVanish.rows, mayVanish.share * count)) return;
  const what = `The database has ${count} rows of ${type.table} and answered with ${read} of them.`;
  throw new FatalError(exitCodes.databaseFailed, `${what} Run again, when nobody deletes rows.`);
}

interface Range {
  /** The last id of it; undefined of the last range. */
  end: string | undefined;
  pages: Promise<Entities[]>;
}

/** Some thousand rows are a range of ids, of which two are read at a time; the last one has no end. */
async function* pagesInOrder(ask: Ask, type: EntityType, count: number): AsyncGenerator<Entities> {
  const rangeRows = pageRows * Math.min(mostPages, Math.ceil(count / pageRows / leastRanges));
  const begun = async (after: string | undefined, rowsBefore: number): Promise<Range> => {
    const end = rowsBefore + rangeRows < count ? await idAfter(ask, type, after, rangeRows) : undefined;
    const pages = readRange(ask, type, after, end);
    // They are awaited, but others are before them.
    pages.catch(() => {});
    return { end, pages };
  };
  let next: Promise<Range> | undefined = begun(undefined, 0);
  for (let rowsBefore = rangeRows; next; rowsBefore += rangeRows) {
    const { end, pages }: Range = await next;
    next = end === undefined ? undefined : begun(end, rowsBefore);
    next?.catch(() => {});
    yield* await pages;
  }
}

/** The id of the so many-th row after an id, or of all; undefined if there are fewer. */
async function idAfter(ask: Ask, type: EntityType, after: string | undefined, rows: number) {
  const { data } = await ask(type, idRows, (client) => {
    const query = client
      .from(type.table)
      .select('id')
      .order('id')
      .range(rows - 1, rows - 1);
    return after === undefined ? query : query.gt('id', after);
  });
  return data[0]?.id;
}

/** The rows, but the test rows, whose statistics were not written between two instants (ISO text), both included. */
async function strays(ask: Ask, type: EntityType, from: string, to: string): Promise<Entities> {
  const filter = `stats_updated_at.is.null,stats_updated_at.lt."${from}",stats_updated_at.gt."${to}"`;
  const pages = await readRange(ask, type, undefined, undefined, filter);
  const [least, most] = [Date.parse(from) - 1_000, Date.parse(to) + 1_000];
  // A column of whole seconds rounds.
  const isRounded = (ms: number | null) => ms !== null && ms % 1_000 === 0 && ms > least && ms < most;
  const isStray = (one: Entity) => isNoTest(one) && !isRounded(one.statsUpdatedAtMs);
  return Entities.inTurn(pages.map((page) => page.filter(isStray)));
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
  const { data: rows } = await ask(type, valueRows, (client) => client.from(type.table).select(columns).eq('id', id));
  return rows[0];
}

/** Those of the ids that the table shows, as they are there. */
async function stored(ask: Ask, type: EntityType, ids: string[]): Promise<Entity[]> {
  const found: Entity[] = [];
  for (let from = 0; from < ids.length; from += idsInUrl) {
    let asked = ids.slice(from, from + idsInUrl);
    let isMore = true;
    // A server may cap its answers lower.
    while (isMore) {
      const { data, count } = await ask(type, entityRows, (client) => {
        const query = client.from(type.table).select(entityColumns(type), { count: 'exact' });
        return query.filter('id', 'in', `(${asked.map(quoted)})`);
      });
      found.push(...data);
      isMore = data.length > 0 && data.length < count;
      asked = asked.filter((id) => !data.some((row) => row.id === id));
    }
  }
  return found;
}

/** As PostgREST reads a value of a list that holds commas, parentheses or quotes. */
function quoted(value: string): string {
  return `"${value.replace(/["\\]/g, '\\$&')}"`;
}
