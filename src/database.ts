import { z } from 'zod';
import { mapConcurrently } from './concurrently.js';
import { DataApi, type DataApiOptions, DatabaseFault } from './data-api.js';
import type { EntityType } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import { printable } from './format.js';
import type { EntityRow, StatisticsRow } from './rows.js';

/** PostgREST's usual cap; a server with a lower one only means more pages. */
const pageRows = 1000;
/** So many ids fit into a URL. */
const idsInUrl = 100;
const rowWritesInFlight = 8;

export interface DatabaseOptions extends DataApiOptions {
  log: (line: string) => void;
}

const entityRows = z.array(
  z.object({
    id: z.string(),
    name: z.string(),
    lastDate: z.string().nullable(),
    statsUpdatedAt: z.string().nullable(),
  }),
);
const statisticsRows = z.array(
  z.object({ id: z.string() }).catchall(z.union([z.string(), z.number(), z.null()])),
);
const idRows = z.array(z.object({ id: z.string() }));

/** The three tables, over Supabase's Data API. Every method throws a FatalError when the database fails for good. */
export class Database {
  private readonly dataApi: DataApi;
  private readonly log: (line: string) => void;
  private functionInstalled = true;

  constructor({ log, ...options }: DatabaseOptions) {
    this.dataApi = new DataApi(options);
    this.log = log;
  }

  /** Checks that the table has every column that we write, by reading a row of it. Returns how many rows it has. */
  async checkTable(type: EntityType): Promise<number> {
    const columns = ['id', 'name', ...Object.values(type.columns), 'stats_updated_at'].join(',');
    let rows = 0;
    await this.dataApi.ask(type, z.unknown(), async () => {
      const answer = await this.dataApi.client
        .from(type.table)
        .select(columns, { count: 'exact' })
        .limit(1)
        .retry(false);
      rows = answer.count ?? 0;
      return answer;
    });
    return rows;
  }

  /**
   * All rows of the type's table but the test rows, page by page in the order of their ids. Each page begins after
   * the last id of the one before, so that rows that appear or vanish meanwhile shift nothing.
   */
  async *entities(type: EntityType): AsyncGenerator<EntityRow[]> {
    const columns = `id,name,lastDate:${type.columns.lastDate},statsUpdatedAt:stats_updated_at`;
    let after: string | undefined;
    for (;;) {
      const page = await this.dataApi.ask(type, entityRows, () => {
        const query = this.dataApi.client
          .from(type.table)
          .select(columns)
          .order('id')
          .limit(pageRows)
          .retry(false);
        return after === undefined ? query : query.gt('id', after);
      });
      const last = page.at(-1);
      if (last === undefined) return;
      after = last.id;
      // Here and not in the query: PostgREST would read the asterisks as wildcards.
      yield page.filter(({ id }) => !id.startsWith('**TEST**'));
    }
  }

  /** The stored statistics of entities, by the names of the table's columns; ids without a row are left out. */
  async storedStatistics(type: EntityType, ids: readonly string[]): Promise<StatisticsRow[]> {
    const columns = ['id', ...Object.values(type.columns), 'stats_updated_at'].join(',');
    const rows: StatisticsRow[] = [];
    for (const some of chunks(ids)) {
      // A server that caps pages lower answers with the first of them.
      for (let missing = some; missing.length > 0; ) {
        const page = await this.dataApi.ask(type, statisticsRows, () =>
          this.dataApi.client.from(type.table).select(columns).in('id', missing).retry(false),
        );
        if (page.length === 0) break;
        rows.push(...page);
        missing = missing.filter((id) => !page.some((row) => row.id === id));
      }
    }
    return rows;
  }

  /** Writes rows that exist; returns those that could not be written, by id, with the reason. */
  async writeStatistics(type: EntityType, rows: StatisticsRow[]): Promise<Map<string, string>> {
    if (!this.functionInstalled) return await this.writeRowByRow(type, rows);
    try {
      const unknownIds = await this.dataApi.ask(type, z.array(z.string()), () =>
        this.dataApi.client
          .rpc('populate_statistics', { entity_type: type.name, statistics: rows })
          .retry(false),
      );
      return await this.explainUnknown(type, unknownIds);
    } catch (error) {
      if (!(error instanceof DatabaseFault)) throw error;
      if (error.kind === 'function-missing') this.announceRowByRow();
      // Otherwise the database refuses a value of some row: let it refuse only that row.
      return await this.writeRowByRow(type, rows);
    }
  }

  private announceRowByRow(): void {
    if (!this.functionInstalled) return;
    this.functionInstalled = false;
    this.log(
      'The database function populate_statistics is not installed: writing row by row, which is much slower. ' +
        'Apply supabase/migrations (supabase db push) to install it.',
    );
  }

  private async writeRowByRow(type: EntityType, rows: StatisticsRow[]): Promise<Map<string, string>> {
    const reasons = new Map<string, string>();
    const unknownIds: string[] = [];
    const writes = mapConcurrently(rows, rowWritesInFlight, async ({ id, ...values }) => {
      try {
        const updated = await this.dataApi.ask(type, idRows, () =>
          this.dataApi.client.from(type.table).update(values).eq('id', id).select('id').retry(false),
        );
        if (updated.length === 0) unknownIds.push(id);
      } catch (error) {
        if (!(error instanceof DatabaseFault)) throw error;
        reasons.set(id, `the database refuses its values: ${error.message}`);
      }
    });
    for await (const _ of writes);
    for (const [id, reason] of await this.explainUnknown(type, unknownIds)) reasons.set(id, reason);
    return reasons;
  }

  /** Rows that an update did not match are gone, or the database hides them from updates: then from all of them. */
  private async explainUnknown(type: EntityType, ids: string[]): Promise<Map<string, string>> {
    for (const some of chunks(ids)) {
      const [visible] = await this.dataApi.ask(type, idRows, () =>
        this.dataApi.client.from(type.table).select('id').in('id', some).retry(false),
      );
      if (visible) {
        throw new FatalError(
          exitCodes.databaseFailed,
          `${type.table} shows rows such as ${printable(visible.id)} but lets no update match them: row-level security. ` +
            'Use the secret (service_role) key as SUPABASE_SERVICE_KEY.',
        );
      }
    }
    return new Map(ids.map((id) => [id, `its row is no longer in ${type.table}`]));
  }
}

function* chunks(ids: readonly string[]): Generator<string[]> {
  for (let first = 0; first < ids.length; first += idsInUrl) yield ids.slice(first, first + idsInUrl);
}
