import { setMaxListeners } from 'node:events';
import { createClient, type PostgrestSingleResponse, type SupabaseClient } from '@supabase/supabase-js';
import pRetry from 'p-retry';
import { WebSocket } from 'undici';
import * as z from 'zod';
import { mapConcurrently } from './concurrently.js';
import type { Entity, EntityType } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import type { Tell } from './events.js';
import { printable } from './format.js';
import { columnOf, lastDateColumn, type StatisticsRow, statisticsColumns } from './statistics.js';

const retries = 5;
const requestTimeoutMs = 30_000;
/** PostgREST's usual cap; a server with a lower one only means more pages. */
const pageRows = 1000;
/** So many ids fit into a URL. */
const idsInUrl = 100;
const rowWritesInFlight = 8;

export interface DatabaseOptions {
  url: string;
  serviceKey: string;
  tell: Tell;
  /** Aborts requests under way; its reason is thrown. */
  signal: AbortSignal;
  /** The first wait before a retry; each further one is twice as long, and jittered up to double. */
  firstRetryMs?: number;
}

const entityRows = z.array(
  z.object({
    id: z.string(),
    name: z.string(),
    lastDate: z.string().nullable(),
    recentRuns: z.number().nullable().transform(Number),
    statsUpdatedAtMs: z.string().transform(instantMs).nullable(),
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

export type Database = ReturnType<typeof createDatabase>;

/** The three tables, over Supabase's Data API. What it does throws a FatalError when the database fails for good. */
export function createDatabase(options: DatabaseOptions) {
  const ask = openDataApi(options);
  return {
    checkTable: (type: EntityType) => checkTable(ask, type),
    entities: (type: EntityType) => entities(ask, type),
    storedStatistics: (type: EntityType, id: string) => storedStatistics(ask, type, id),
    writeStatistics: statisticsWriter(ask, options.tell),
  };
}

/** Checks that the table has every column that we write, by reading a row of it. Returns how many rows it has. */
async function checkTable(ask: Ask, type: EntityType): Promise<number> {
  const columns = ['id', 'name', ...statisticsColumns(type), 'stats_updated_at'].join(',');
  const { count } = await ask(type, z.unknown(), (client) =>
    client.from(type.table).select(columns, { count: 'exact' }).limit(1),
  );
  return count;
}

/**
 * All rows of the type's table but the test rows, page by page in the order of their ids. Each page begins after
 * the last id of the one before, so that rows that appear or vanish meanwhile shift nothing.
 */
async function* entities(ask: Ask, type: EntityType): AsyncGenerator<Entity[]> {
  const recentRuns = columnOf(type, 'recent_30d_{runs}');
  const columns = `id,name,lastDate:${lastDateColumn(type)},recentRuns:${recentRuns},statsUpdatedAtMs:stats_updated_at`;
  let after: string | undefined;
  for (;;) {
    const { data: page } = await ask(type, entityRows, (client) => {
      const query = client.from(type.table).select(columns).order('id').limit(pageRows);
      return after === undefined ? query : query.gt('id', after);
    });
    const last = page.at(-1);
    if (last === undefined) return;
    after = last.id;
    // Here and not in the query: PostgREST would read the asterisks as wildcards.
    yield page.filter(({ id }) => !id.startsWith('**TEST**'));
  }
}

/** An entity's stored statistics, with stats_updated_at; undefined if its row is gone. */
async function storedStatistics(ask: Ask, type: EntityType, id: string): Promise<StatisticsRow | undefined> {
  const columns = ['id', ...statisticsColumns(type), 'stats_updated_at'].join(',');
  const { data: rows } = await ask(type, statisticsRows, (client) =>
    client.from(type.table).select(columns).eq('id', id),
  );
  return rows[0];
}

/** By id the reasons why rows could not be written. */
type Unwritten = Map<string, string>;

/** Writes rows that exist by the database function; row by row where that is missing or refuses a value of some row. */
function statisticsWriter(ask: Ask, tell: Tell) {
  let functionInstalled = true;
  return async (type: EntityType, rows: StatisticsRow[]): Promise<Unwritten> => {
    if (functionInstalled) {
      try {
        const { data: unknownIds } = await ask(type, ids, (client) =>
          client.rpc('populate_statistics', { entity_type: type.name, statistics: rows }),
        );
        return await explainUnknown(ask, type, unknownIds);
      } catch (error) {
        if (!(error instanceof DatabaseFault)) throw error;
        if (error.kind === 'function-missing' && functionInstalled) {
          functionInstalled = false;
          tell({ kind: 'line', line: rowByRowLine });
        }
      }
    }
    return await writeRowByRow(ask, type, rows);
  };
}

const rowByRowLine =
  'The database function populate_statistics is not installed: writing row by row, which is much slower. ' +
  'Apply supabase/migrations (supabase db push) to install it.';

async function writeRowByRow(ask: Ask, type: EntityType, rows: StatisticsRow[]): Promise<Unwritten> {
  const reasons: Unwritten = new Map();
  const unknownIds: string[] = [];
  const writes = mapConcurrently(rows, rowWritesInFlight, async ({ id, ...values }) => {
    try {
      const { data: updated } = await ask(type, idRows, (client) =>
        client.from(type.table).update(values).eq('id', id).select('id'),
      );
      if (updated.length === 0) unknownIds.push(id);
    } catch (error) {
      if (!(error instanceof DatabaseFault)) throw error;
      reasons.set(id, `the database refuses its values: ${error.message}`);
    }
  });
  for await (const _ of writes);
  return new Map([...reasons, ...(await explainUnknown(ask, type, unknownIds))]);
}

/** Rows that an update did not match are gone, or the database hides them from updates: then from all of them. */
async function explainUnknown(ask: Ask, type: EntityType, unknownIds: string[]): Promise<Unwritten> {
  for (let from = 0; from < unknownIds.length; from += idsInUrl) {
    const some = unknownIds.slice(from, from + idsInUrl).map(quoted);
    const { data } = await ask(type, idRows, (client) =>
      client.from(type.table).select('id').filter('id', 'in', `(${some})`),
    );
    const [visible] = data;
    if (visible === undefined) continue;
    const what = `${type.table} shows rows such as ${printable(visible.id)} but lets no update match them`;
    const advice = 'Use the secret (service_role) key as SUPABASE_SERVICE_KEY.';
    throw new FatalError(exitCodes.databaseFailed, `${what}: row-level security. ${advice}`);
  }
  return new Map(unknownIds.map((id) => [id, `its row is no longer in ${type.table}`]));
}

/** As PostgREST reads a value of a list that holds commas, parentheses or quotes. */
function quoted(value: string): string {
  return `"${value.replace(/["\\]/g, '\\$&')}"`;
}

type FaultKind = 'passing' | 'function-missing' | 'value-refused' | 'schema' | 'refused' | 'other';

/** An error of the database or of the Data API before it. */
class DatabaseFault extends Error {
  readonly kind: FaultKind;

  constructor(kind: FaultKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** Codes of Postgres (https://www.postgresql.org/docs/current/errcodes-appendix.html, by class) and of PostgREST. */
const kindsByCode: [RegExp, FaultKind][] = [
  [/^PGRST202$/, 'function-missing'],
  [/^(42P01|42703|PGRST204|PGRST205)$/, 'schema'],
  [/^(42501|28...|PGRST30.)$/, 'refused'],
  [/^(08...|40...|53...|55P03|57...|58...|PGRST00.)$/, 'passing'],
  [/^(22...|23...|P0001|44...)$/, 'value-refused'],
];

/**
 * Asks the Data API (PostgREST) about a type's table until the database answers, up to six times: the answer's data in
 * the shape of `schema`, and its count where the request asks for one. Throws a DatabaseFault `function-missing` or
 * `value-refused`, for which the caller has another way; otherwise a FatalError.
 */
type Ask = <Data>(
  type: EntityType,
  schema: z.ZodType<Data>,
  request: (client: SupabaseClient) => { retry(enabled: false): PromiseLike<PostgrestSingleResponse<unknown>> },
) => Promise<{ data: Data; count: number }>;

function openDataApi(options: DatabaseOptions): Ask {
  const { signal, serviceKey, firstRetryMs = 700 } = options;
  const client = createSupabaseClient(options);
  return async ({ table }, schema, request) => {
    const attempt = async () => {
      const answer = await request(client).retry(false);
      signal.throwIfAborted();
      if (answer.error) throw faultOf(answer, serviceKey);
      return answer;
    };
    try {
      const { data, count } = await pRetry(attempt, {
        retries,
        minTimeout: firstRetryMs,
        randomize: true,
        signal,
        shouldRetry: ({ error }) => error instanceof DatabaseFault && error.kind === 'passing',
      });
      return { data: schema.parse(data), count: count ?? 0 };
    } catch (error) {
      throw advised(table, error);
    }
  };
}

function createSupabaseClient({ url, serviceKey, signal }: DatabaseOptions): SupabaseClient {
  // One listener for each request in flight is no leak.
  setMaxListeners(0, signal);
  return createClient(url, serviceKey, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    // Node 20 has no WebSocket of its own, and the client wants one even when nothing is realtime.
    realtime: { transport: WebSocket as never },
    global: {
      fetch: (input, init) =>
        fetch(input, { ...init, signal: AbortSignal.any([signal, AbortSignal.timeout(requestTimeoutMs)]) }),
    },
  });
}

function faultOf({ status, error }: PostgrestSingleResponse<unknown>, serviceKey: string): DatabaseFault {
  const code = error?.code ?? '';
  // A body that is not PostgREST's (a proxy's page, say) becomes the message as it is, and may repeat what we sent.
  const base64 = Buffer.from(serviceKey).toString('base64').replace(/=+$/, '');
  const told = printable(error?.message ?? '')
    .replaceAll(serviceKey, '[key]')
    .replaceAll(base64, '[key]');
  const message = told.slice(0, 300) || `HTTP ${status}`;
  const text = code === '' ? message : `${message} (${code})`;
  const byCode = kindsByCode.find(([pattern]) => pattern.test(code))?.[1];
  if (byCode) return new DatabaseFault(byCode, text);
  if (status === 401 || status === 403) return new DatabaseFault('refused', text);
  // 0: nothing was answered at all.
  const passing = status === 0 || status === 408 || status === 429 || status >= 500;
  return new DatabaseFault(passing ? 'passing' : 'other', text);
}

/** What is wrong and what to do about it; the error as it is where the caller has another way, or it is not ours. */
function advised(table: string, error: unknown): unknown {
  const shape = `What answers for ${table} is not Supabase's Data API. Check SUPABASE_URL: it is the project's URL, https://<project>.supabase.co.`;
  const advices: Partial<Record<FaultKind, string>> = {
    passing:
      'The database cannot be reached or does not answer. Check SUPABASE_URL and the project, then run again with --resume.',
    schema: `The table ${table} or a column of it is missing: apply supabase/migrations/20251101000000_entity_statistics.sql (supabase db push), then run again.`,
    refused: `The database refuses access to ${table}. Use the project's secret (service_role) key as SUPABASE_SERVICE_KEY.`,
    other: `The database answers ${table} with an error.`,
  };
  if (error instanceof z.ZodError) return new FatalError(exitCodes.databaseFailed, shape, { cause: error });
  const advice = error instanceof DatabaseFault && advices[error.kind];
  return advice ? new FatalError(exitCodes.databaseFailed, `${advice} (${error.message})`, { cause: error }) : error;
}
