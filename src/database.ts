import { z } from 'zod';
import { mapConcurrently } from './concurrently.js';
import { createDataApi, type DataApiOptions, DatabaseFault } from './data-api.js';
import type { Entity, EntityType } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import type { Tell } from './events.js';
import { printable } from './format.js';
import { lastDateColumn, type StatisticsRow, statisticsColumns } from './statistics.js';

/** PostgREST's usual cap; a server with a lower one only means more pages. */
const pageRows = 1000;
/** So many ids fit into a URL. */
const idsInUrl = 100;
const rowWritesInFlight = 8;

/** The three tables, over Supabase's Data API. Every method throws a FatalError when the database fails for good. */
export interface Database {
  /** Checks that the table has every column that we write, by reading a row of it. Returns how many rows it has. */
  checkTable(type: EntityType): Promise<number>;
  /**
   * All rows of the type's table but the test rows, page by page in the order of their ids. Each page begins after
   * the last id of the one before, so that rows that appear or vanish meanwhile shift nothing.
   */
  entities(type: EntityType): AsyncGenerator<Entity[]>;
  /** An entity's stored statistics, with stats_updated_at; undefined if its row is gone. */
  storedStatistics(type: EntityType, id: string): Promise<StatisticsRow | undefined>;
  /** Writes rows that exist; returns those that could not be written, by id, with the reason. */
  writeStatistics(type: EntityType, rows: StatisticsRow[]): Promise<Map<string, string>>;
}

const storedInstant = z.string().transform(instantMs);
const entityRows = z.array(
  z.object({
    id: z.string(),
    name: z.string(),
    lastDate: z.string().nullable(),
    statsUpdatedAtMs: storedInstant.nullable(),
  }),
);
const statisticsRows = z.array(z.object({ id: z.string() }).catchall(z.union([z.string(), z.number(), z.null()])));
const idRows = z.array(z.object({ id: z.string() }));
const ids = z.array(z.string());

/** A stored instant in milliseconds since 1970. A `timestamp` column tells no zone; it holds UTC. */
export function instantMs(stored: string): number {
  const hasZone = /(Z|[+-]\d\d(:?\d\d)?)$/.test(stored);
  return Date.parse(hasZone ? stored : `${stored}Z`);
}

/** Every column that we write. */
function writtenColumns(type: EntityType): string[] {
  return [...statisticsColumns(type), 'stats_updated_at'];
}

export function createDatabase({ tell, ...options }: DataApiOptions & { tell: Tell }): Database {
  const { client, ask } = createDataApi(options);
  let functionInstalled = true;

  async function* entities(type: EntityType): AsyncGenerator<Entity[]> {
    const columns = `id,name,lastDate:${lastDateColumn(type)},statsUpdatedAtMs:stats_updated_at`;
    let after: string | undefined;
    for (;;) {
      const { data: page } = await ask(type.table, entityRows, () => {
        const query = client.from(type.table).select(columns).order('id').limit(pageRows).retry(false);
        return after === undefined ? query : query.gt('id', after);
      });
      const last = page.at(-1);
      if (last === undefined) return;
      after = last.id;
      // Here and not in the query: PostgREST would read the asterisks as wildcards.
      yield page.filter(({ id }) => !id.startsWith('**TEST**'));
    }
  }

  async function storedStatistics(type: EntityType, id: string): Promise<StatisticsRow | undefined> {
    const columns = ['id', ...writtenColumns(type)].join(',');
    const { data: rows } = await ask(type.table, statisticsRows, () =>
      client.from(type.table).select(columns).eq('id', id).retry(false),
    );
    return rows[0];
  }

  async function writeStatistics(type: EntityType, rows: StatisticsRow[]): Promise<Map<string, string>> {
    if (!functionInstalled) return await writeRowByRow(type, rows);
    try {
      const { data: unknownIds } = await ask(type.table, ids, () =>
        client.rpc('populate_statistics', { entity_type: type.name, statistics: rows }).retry(false),
      );
      return await explainUnknown(type, unknownIds);
    } catch (error) {
      if (!(error instanceof DatabaseFault)) throw error;
      if (error.kind === 'function-missing') announceRowByRow();
      // Otherwise the database refuses a value of some row: let it refuse only that row.
      return await writeRowByRow(type, rows);
    }
  }

  function announceRowByRow(): void {
    if (!functionInstalled) return;
    functionInstalled = false;
    const line =
      'The database function populate_statistics is not installed: writing row by row, which is much slower. ' +
      'Apply supabase/migrations (supabase db push) to install it.';
    tell({ kind: 'line', line });
  }

  async function writeRowByRow(type: EntityType, rows: StatisticsRow[]): Promise<Map<string, string>> {
    const reasons = new Map<string, string>();
    const unknownIds: string[] = [];
    const writes = mapConcurrently(rows, rowWritesInFlight, async ({ id, ...values }) => {
      try {
        const { data: updated } = await ask(type.table, idRows, () =>
          client.from(type.table).update(values).eq('id', id).select('id').retry(false),
        );
        if (updated.length === 0) unknownIds.push(id);
      } catch (error) {
        if (!(error instanceof DatabaseFault)) throw error;
        reasons.set(id, `the database refuses its values: ${error.message}`);
      }
    });
    for await (const _ of writes);
    for (const [id, reason] of await explainUnknown(type, unknownIds)) reasons.set(id, reason);
    return reasons;
  }

  /** Rows that an update did not match are gone, or the database hides them from updates: then from all of them. */
  async function explainUnknown(type: EntityType, unknownIds: string[]): Promise<Map<string, string>> {
    for (let from = 0; from < unknownIds.length; from += idsInUrl) {
      const some = unknownIds.slice(from, from + idsInUrl).map(quoted);
      const { data: visible } = await ask(type.table, idRows, () =>
        client.from(type.table).select('id').filter('id', 'in', `(${some})`).retry(false),
      );
      if (visible[0]) throw hiddenFromUpdates(type, visible[0].id);
    }
    return new Map(unknownIds.map((id) => [id, `its row is no longer in ${type.table}`]));
  }

  return {
    entities,
    storedStatistics,
    writeStatistics,
    checkTable: async (type) => {
      const columns = ['id', 'name', ...writtenColumns(type)].join(',');
      const { count } = await ask(type.table, z.unknown(), () =>
        client.from(type.table).select(columns, { count: 'exact' }).limit(1).retry(false),
      );
      return count;
    },
  };
}

function hiddenFromUpdates({ table }: EntityType, id: string): FatalError {
  return new FatalError(
    exitCodes.databaseFailed,
    `${table} shows rows such as ${printable(id)} but lets no update match them: row-level security. ` +
      'Use the secret (service_role) key as SUPABASE_SERVICE_KEY.',
  );
}

/** As PostgREST reads a value of a list that holds commas, parentheses or quotes. */
function quoted(value: string): string {
  return `"${value.replace(/["\\]/g, '\\$&')}"`;
}
