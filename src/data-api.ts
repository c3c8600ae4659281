import { setMaxListeners } from 'node:events';
import { createClient, type SupabaseClient } from '@supabase/supabase-js';
import pRetry from 'p-retry';
import { WebSocket } from 'undici';
import type { z } from 'zod';
import type { EntityType } from './entity-types.js';
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

/** What supabase-js answers: `error` or `data`; status 0 when nothing was answered at all. */
interface DatabaseAnswer {
  status: number;
  data: unknown;
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

function faultOf({ status, error }: DatabaseAnswer, redact: (text: string) => string): DatabaseFault {
  const code = error?.code ?? '';
  // A body that is not PostgREST's (a proxy's page, say) becomes the message as it is.
  const message = redact(printable(error?.message ?? '')).slice(0, 300) || `HTTP ${status}`;
  const text = code === '' ? message : `${message} (${code})`;
  const byCode = kindsByCode.find(([pattern]) => pattern.test(code))?.[1];
  if (byCode) return new DatabaseFault(byCode, text);
  if (status === 401 || status === 403) return new DatabaseFault('refused', text);
  if (status === 0 || status === 408 || status === 429 || status >= 500)
    return new DatabaseFault('passing', text);
  return new DatabaseFault('other', text);
}

/** Supabase's Data API (PostgREST): asked with care, its answers checked. */
export class DataApi {
  readonly client: SupabaseClient;
  private readonly options: DataApiOptions;

  constructor(options: DataApiOptions) {
    this.options = options;
    // One listener for each request in flight is no leak.
    setMaxListeners(0, options.signal);
    this.client = createClient(options.url, options.serviceKey, {
      auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
      // Node 20 has no WebSocket of its own, and the client wants one even when nothing is realtime.
      realtime: { transport: WebSocket as never },
      global: {
        fetch: (input, init) => {
          const signal = AbortSignal.any([options.signal, AbortSignal.timeout(requestTimeoutMs)]);
          return fetch(input, { ...init, signal });
        },
      },
    });
  }

  /**
   * Asks until the database answers, up to six times. Returns the answer's data in the shape of `schema`.
   * @throws DatabaseFault `function-missing` or `value-refused`, for which the caller has another way; otherwise
   * FatalError
   */
  async ask<Data>(
    type: EntityType,
    schema: z.ZodType<Data>,
    request: () => PromiseLike<DatabaseAnswer>,
  ): Promise<Data> {
    const { signal, firstRetryMs = 700 } = this.options;
    const attempt = async () => {
      const answer = await request();
      signal.throwIfAborted();
      if (answer.error) throw faultOf(answer, (text) => this.redact(text));
      return answer.data;
    };
    try {
      const data = await pRetry(attempt, {
        retries,
        minTimeout: firstRetryMs,
        randomize: true,
        signal,
        shouldRetry: ({ error }) => error instanceof DatabaseFault && error.kind === 'passing',
      });
      return checked(type, schema, data);
    } catch (error) {
      if (!(error instanceof DatabaseFault)) throw error;
      if (error.kind === 'function-missing' || error.kind === 'value-refused') throw error;
      const message = `${advice[error.kind](type)} (${error.message})`;
      throw new FatalError(exitCodes.databaseFailed, message, { cause: error });
    }
  }

  /** A proxy or a talkative server may repeat what we sent. */
  private redact(text: string): string {
    const { serviceKey } = this.options;
    const base64 = Buffer.from(serviceKey).toString('base64').replace(/=+$/, '');
    return text.replaceAll(serviceKey, '[key]').replaceAll(base64, '[key]');
  }
}

function checked<Data>({ table }: EntityType, schema: z.ZodType<Data>, data: unknown): Data {
  const parsed = schema.safeParse(data);
  if (parsed.success) return parsed.data;
  throw new FatalError(
    exitCodes.databaseFailed,
    `What answers for ${table} is not Supabase's Data API. Check SUPABASE_URL: it is the project's URL, https://<project>.supabase.co.`,
    { cause: parsed.error },
  );
}

const advice: Record<
  Exclude<FaultKind, 'function-missing' | 'value-refused'>,
  (type: EntityType) => string
> = {
  passing: () =>
    'The database cannot be reached or does not answer. Check SUPABASE_URL and the project, then run again with --resume.',
  schema: ({ table }) =>
    `The table ${table} or a column of it is missing: apply supabase/migrations/20251101000000_entity_statistics.sql (supabase db push), then run again.`,
  refused: ({ table }) =>
    `The database refuses access to ${table}. Use the project's secret (service_role) key as SUPABASE_SERVICE_KEY.`,
  other: ({ table }) => `The database answers ${table} with an error.`,
};
