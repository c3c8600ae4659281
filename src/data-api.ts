import { setMaxListeners } from 'node:events';
import { createClient, type SupabaseClient } from '@supabase/supabase-js';
import pRetry from 'p-retry';
import { WebSocket } from 'undici';
import type { z } from 'zod';
import { exitCodes, FatalError } from './errors.js';
import { printable } from './format.js';

const retries = 5;
const requestTimeoutMs = 30_000;

export interface DataApiOptions {
  url: string;
  serviceKey: string;
  /** Aborts requests under way; its reason is thrown. */
  signal: AbortSignal;
  /** The first wait before a retry; each further one is twice as long, and jittered up to double. */
  firstRetryMs?: number;
}

/** Supabase's Data API (PostgREST): asked with care, its answers checked. */
export interface DataApi {
  client: SupabaseClient;
  /**
   * Asks about a table until the database answers, up to six times. Returns the answer's data in the shape of
   * `schema`, and its count where the request asks for one.
   * @throws DatabaseFault `function-missing` or `value-refused`, for which the caller has another way; otherwise
   * FatalError
   */
  ask<Data>(
    table: string,
    schema: z.ZodType<Data>,
    request: () => PromiseLike<DatabaseAnswer>,
  ): Promise<{ data: Data; count: number }>;
}

/** What supabase-js answers: `error` or `data`; status 0 when nothing was answered at all. */
interface DatabaseAnswer {
  status: number;
  data: unknown;
  count?: number | null;
  error: { code?: string; message: string; details?: string | null } | null;
}

type FaultKind = 'passing' | 'function-missing' | 'value-refused' | 'schema' | 'refused' | 'other';

/** An error of the database or of the Data API before it. */
export class DatabaseFault extends Error {
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

export function createDataApi(options: DataApiOptions): DataApi {
  const { signal, serviceKey, firstRetryMs = 700 } = options;
  const client = createSupabaseClient(options);
  const redact = redactor(serviceKey);
  return {
    client,
    ask: async (table, schema, request) => {
      const attempt = async () => {
        const answer = await request();
        signal.throwIfAborted();
        if (answer.error) throw faultOf(answer, redact);
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
        return { data: checked(table, schema, data), count: count ?? 0 };
      } catch (error) {
        throw error instanceof DatabaseFault ? advised(table, error) : error;
      }
    },
  };
}

function createSupabaseClient({ url, serviceKey, signal }: DataApiOptions): SupabaseClient {
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

/** A proxy or a talkative server may repeat what we sent. */
function redactor(serviceKey: string): (text: string) => string {
  const base64 = Buffer.from(serviceKey).toString('base64').replace(/=+$/, '');
  return (text) => text.replaceAll(serviceKey, '[key]').replaceAll(base64, '[key]');
}

function faultOf({ status, error }: DatabaseAnswer, redact: (text: string) => string): DatabaseFault {
  const code = error?.code ?? '';
  // A body that is not PostgREST's (a proxy's page, say) becomes the message as it is.
  const message = redact(printable(error?.message ?? '')).slice(0, 300) || `HTTP ${status}`;
  const text = code === '' ? message : `${message} (${code})`;
  const byCode = kindsByCode.find(([pattern]) => pattern.test(code))?.[1];
  if (byCode) return new DatabaseFault(byCode, text);
  if (status === 401 || status === 403) return new DatabaseFault('refused', text);
  const passing = status === 0 || status === 408 || status === 429 || status >= 500;
  return new DatabaseFault(passing ? 'passing' : 'other', text);
}

function checked<Data>(table: string, schema: z.ZodType<Data>, data: unknown): Data {
  const parsed = schema.safeParse(data);
  if (parsed.success) return parsed.data;
  throw new FatalError(
    exitCodes.databaseFailed,
    `What answers for ${table} is not Supabase's Data API. Check SUPABASE_URL: it is the project's URL, https://<project>.supabase.co.`,
    { cause: parsed.error },
  );
}

/** The fault as it is if the caller has another way; otherwise what to do about it. */
function advised(table: string, fault: DatabaseFault): Error {
  if (fault.kind === 'function-missing' || fault.kind === 'value-refused') return fault;
  const advice = {
    passing:
      'The database cannot be reached or does not answer. Check SUPABASE_URL and the project, then run again with --resume.',
    schema: `The table ${table} or a column of it is missing: apply supabase/migrations/20251101000000_entity_statistics.sql (supabase db push), then run again.`,
    refused: `The database refuses access to ${table}. Use the project's secret (service_role) key as SUPABASE_SERVICE_KEY.`,
    other: `The database answers ${table} with an error.`,
  }[fault.kind];
  return new FatalError(exitCodes.databaseFailed, `${advice} (${fault.message})`, { cause: fault });
}
