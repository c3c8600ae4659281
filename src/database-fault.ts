import pRetry from 'p-retry';
import type { EntityType } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import { printable } from './format.js';

const retries = 5;

/** What supabase-js answers: `error` or `data`; status 0 when nothing was answered at all. */
export interface DatabaseAnswer {
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

function faultOf({ status, error }: DatabaseAnswer): DatabaseFault {
  const code = error?.code ?? '';
  // A body that is not PostgREST's (a proxy's page, say) becomes the message as it is.
  const message = printable(error?.message ?? '').slice(0, 300) || `HTTP ${status}`;
  const text = code === '' ? message : `${message} (${code})`;
  const byCode = kindsByCode.find(([pattern]) => pattern.test(code))?.[1];
  if (byCode) return new DatabaseFault(byCode, text);
  if (status === 401 || status === 403) return new DatabaseFault('refused', text);
  if (status === 0 || status === 408 || status === 429 || status >= 500)
    return new DatabaseFault('passing', text);
  return new DatabaseFault('other', text);
}

/**
 * Asks until the database answers, up to six times. Returns the answer's data.
 * @throws DatabaseFault `function-missing` or `value-refused`, for which the caller has another way; otherwise
 * FatalError
 */
export async function retried(
  type: EntityType,
  request: () => PromiseLike<DatabaseAnswer>,
  signal: AbortSignal,
  firstRetryMs = 700,
): Promise<unknown> {
  try {
    return await pRetry(
      async () => {
        const answer = await request();
        signal.throwIfAborted();
        if (answer.error) throw faultOf(answer);
        return answer.data;
      },
      {
        retries,
        minTimeout: firstRetryMs,
        randomize: true,
        signal,
        shouldRetry: ({ error }) => error instanceof DatabaseFault && error.kind === 'passing',
      },
    );
  } catch (error) {
    if (!(error instanceof DatabaseFault)) throw error;
    if (error.kind === 'function-missing' || error.kind === 'value-refused') throw error;
    throw new FatalError(exitCodes.databaseFailed, `${advice[error.kind](type)} (${error.message})`, {
      cause: error,
    });
  }
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
