import { setMaxListeners } from 'node:events';
import { createClient, type PostgrestSingleResponse, type SupabaseClient } from '@supabase/supabase-js';
import { WebSocket } from 'undici';
import * as z from 'zod';
import { inLimitedTime, withRetries } from './concurrently.js';
import type { EntityType } from './entity-types.js';
import { exitCodes, FatalError, innermostError } from './errors.js';
import type { Tell } from './events.js';
import { bodyText, parseJson, printable } from './format.js';

export interface DataApiOptions {
  url: string;
  serviceKey: string;
  tell: Tell;
  /** Aborts requests under way; its reason is thrown. */
  signal: AbortSignal;
  /** The first wait before a retry; each further one is twice as long, and jittered up to double. */
  firstRetryMs?: number;
}

/** With the further ones at least 34 s: PostgREST tries 31 s after a failover began, and not before, to connect again. */
const usualFirstRetryMs = 1_100;
/** The schema cache may be a moment behind. */
const retriesOfMissingFunction = 2;
const requestTimeoutMs = 30_000;
/** Who waits for so long wants to know for what. */
const slowMs = 5_000;

/** Rows of which only the ids are asked for. */
export const idRows = z.array(z.object({ id: z.string() }));

/** Rows of which columns of ours are asked for. */
export const valueRows = z.array(z.object({ id: z.string() }).catchall(z.union([z.string(), z.number(), z.null()])));

/** The kinds of faults, and for each what is wrong and what to do about it. */
const advices = {
  unreachable: () =>
    'The database cannot be reached or does not answer. Check SUPABASE_URL and the project, then run again.',
  'unknown-host': () =>
    'The database cannot be reached or does not answer. Check SUPABASE_URL: its host name is not known. A project that is paused or deleted loses its name: look at it in the dashboard.',
  failing: (table) =>
    `The database cannot do what it is asked about ${table}: see its state and its log in the dashboard, then run again.`,
  busy: (table) =>
    `The database gave up on ${table}: it is overloaded, or another session holds its rows locked. docs/operators.md says how to find that one; then run again.`,
  paused: () => 'The project is paused: restore it in the dashboard, then run again.',
  certificate: () =>
    `The certificate of the database's host is not to be trusted, so nothing is sent there. Check SUPABASE_URL, the clock, and a proxy in between.`,
  schema: (table) =>
    `The table ${table} or a column of it is missing. Check that SUPABASE_URL is the right project's; if so, apply supabase/migrations (supabase db push), then run again.`,
  refused: (table, serviceKey) =>
    `The database refuses access to ${table}. ${secretKeyAdvice(serviceKey)} If it is that one: grant select, update on ${table} to service_role.`,
  'wrong-key': (_, serviceKey) =>
    `Supabase refuses the key: it is cut off, revoked, or of another project than SUPABASE_URL. ${secretKeyAdvice(serviceKey)}`,
  'not-ours': (table) =>
    `What answers for ${table} is not Supabase's Data API. Check SUPABASE_URL: it is the project's URL, https://<project>.supabase.co.`,
  'function-refused': (_, serviceKey) =>
    `The function populate_statistics cannot be called. ${secretKeyAdvice(serviceKey)} If it is that one: drop other functions of this name, apply supabase/migrations (supabase db push), then run again.`,
  'function-missing': () => 'A function of the database is missing: apply supabase/migrations (supabase db push).',
  computed: (table) =>
    `Postgres computes a column of ${table} that we write. In a view, make it an ordinary one; for a table, apply supabase/migrations (supabase db push), whose function leaves it out.`,
  'row-refused': (table) =>
    `The database refuses what it is asked about ${table}. If it is about our columns, apply supabase/migrations (supabase db push).`,
  other: (table) => `The database answers ${table} with an error.`,
} satisfies Record<string, (table: string, serviceKey: string) => string>;
type FaultKind = keyof typeof advices;

/** An error of the database or of the Data API before it. */
export class DatabaseFault extends Error {
  readonly kind: FaultKind;
  /** Of Postgres, of PostgREST or our own; '' if there is none. */
  readonly code: string;

  constructor(kind: FaultKind, message: string, code = '') {
    super(message);
    this.kind = kind;
    this.code = code;
  }

  /** Canceled by statement_timeout (8 s on hosted Supabase) or lock_timeout: what asks for less may succeed at once. */
  get isTooSlow(): boolean {
    return this.code === '57014' || this.code === '55P03';
  }

  /** Not answered in our own time: where statement_timeout is longer, it may be under way still. */
  get isUnanswered(): boolean {
    return this.code === 'ETIMEDOUT';
  }
}

/**
 * By code: of Postgres (https://www.postgresql.org/docs/current/errcodes-appendix.html, by class), of PostgREST, of a
 * network error, and our own for what is no answer: CUT, REDIRECT, NOT_JSON and NO_RANGE.
 */
const kindsByCode: [RegExp, FaultKind][] = [
  [/^(42P01|42703|PGRST204|PGRST205)$/, 'schema'],
  [/^(42501|0[LP]...|28...)$/, 'refused'],
  [/^PGRST30.$/, 'wrong-key'],
  [/^(57014|55P03|55006)$/, 'busy'],
  [/^(08...|57P0.|PGRST00.|CUT)$/, 'unreachable'],
  // 25006: a failover has led to a copy that only reads.
  [/^(25006|40...|53...|57...|58000|58030|XX...)$/, 'failing'],
  [/^(ENOTFOUND|EAI_AGAIN)$/, 'unknown-host'],
  [/CERT|SELF_SIGNED|UNABLE_TO_VERIFY/, 'certificate'],
  [/^(REDIRECT|NOT_JSON|NO_RANGE)$/, 'not-ours'],
  [/^(E[A-Z]+|UND_ERR_.*)$/, 'unreachable'],
  [/^428C9$/, 'computed'],
  // What else Postgres or a trigger says to what it is asked.
  [/^([0-9A-Z]{5}|PGRST121)$/, 'row-refused'],
];

/**
 * Asks the Data API (PostgREST) about a type's table until the database answers, up to six times: the answer's data in
 * the shape of `schema`, and the count that the request asks for. Throws a FatalError; but a fault for which the caller
 * has `anotherWay`, given how often its kind was met, as it is and at once, a DatabaseFault.
 */
export type Ask = <Data>(
  type: EntityType,
  schema: z.ZodType<Data>,
  request: (client: SupabaseClient) => { retry(enabled: false): PromiseLike<PostgrestSingleResponse<unknown>> },
  anotherWay?: (fault: DatabaseFault, times: number) => boolean,
) => Promise<{ data: Data; count: number }>;

/** A way to ask the Data API with a key, patiently. Tells a line when it begins to wait for the database. */
export function openDataApi(options: DataApiOptions): Ask {
  const { signal, serviceKey, firstRetryMs = usualFirstRetryMs } = options;
  const client = createSupabaseClient(options);
  const trouble = troubleTeller(options.tell);
  return async ({ table }, schema, request, anotherWay = () => false) => {
    const met: FaultKind[] = [];
    const timesOf = (kind: FaultKind) => met.filter((one) => one === kind).length;
    const attempt = async () => {
      const slow = setTimeout(() => trouble.begins(table, `no answer for ${slowMs / 1000} s`, 'late'), slowMs);
      const answer = await request(client).retry(false);
      clearTimeout(slow);
      signal.throwIfAborted();
      if (answer.error) throw faultOf(answer);
      const parsed = schema.safeParse(answer.data);
      if (!parsed.success) throw new DatabaseFault('not-ours', 'the answer has another shape than asked for');
      trouble.ends();
      return { data: parsed.data, count: answer.count ?? 0 };
    };
    const leastWaitMs = (error: Error) => {
      if (!(error instanceof DatabaseFault)) return undefined;
      met.push(error.kind);
      const times = timesOf(error.kind);
      if (!mayPass(error.kind, times)) return undefined;
      trouble.begins(table, error.message, error.kind);
      return error.kind !== 'function-missing' && anotherWay(error, times) ? undefined : 0;
    };
    try {
      return await withRetries(attempt, firstRetryMs, leastWaitMs, options);
    } catch (error) {
      if (!(error instanceof DatabaseFault) || anotherWay(error, timesOf(error.kind))) throw error;
      const told = `${advices[error.kind](table, serviceKey)} (${error.message})`;
      throw new FatalError(exitCodes.databaseFailed, told, { cause: error });
    }
  };
}

function mayPass(kind: FaultKind, times: number): boolean {
  if (kind === 'function-missing') return times <= retriesOfMissingFunction;
  return ['unreachable', 'unknown-host', 'failing', 'busy'].includes(kind);
}

const ifBusy = '; it may be overloaded, or another session may hold rows locked';

/**
 * Tells a stretch of trouble of a kind once; that an answer is late may be of any kind. A success ends it, but later:
 * others under way may still be in it.
 */
function troubleTeller(tell: Tell) {
  let last: FaultKind | 'late' | undefined;
  let lastMs = 0;
  let hasSuccess = false;
  return {
    begins: (table: string, what: string, kind: FaultKind | 'late') => {
      const isOther = last === undefined || (kind !== last && kind !== 'late' && last !== 'late');
      const isAnew = isOther || (hasSuccess && performance.now() - lastMs > slowMs);
      const told = kind === 'busy' || kind === 'late' ? what + ifBusy : what;
      if (isAnew) tell({ kind: 'line', line: `Waiting for the database about ${table}: ${told}.` });
      [last, lastMs, hasSuccess] = [kind === 'late' && !isAnew ? last : kind, performance.now(), false];
    },
    ends: () => {
      hasSuccess = true;
    },
  };
}

function createSupabaseClient(options: DataApiOptions): SupabaseClient {
  // One listener for each request in flight is no leak.
  setMaxListeners(0, options.signal);
  return createClient(options.url, options.serviceKey, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    // Node 20 has no WebSocket of its own, and the client wants one even when nothing is realtime.
    realtime: { transport: WebSocket as never },
    global: { fetch: fetcher(options) },
  });
}

/**
 * A `fetch` that never fails and always answers in whole, with what supabase-js takes for an answer of PostgREST: it
 * would drop the code of a network error, and take some answers that are none for success.
 */
function fetcher({ serviceKey, signal, tell }: DataApiOptions): typeof fetch {
  // What answers may repeat what we sent.
  const base64 = Buffer.from(serviceKey).toString('base64').replace(/=+$/, '');
  const withoutKey = (text: string) => text.replaceAll(serviceKey, '[key]').replaceAll(base64, '[key]');
  return async (input, init) => {
    const { host, pathname } = new URL(input instanceof Request ? input.url : input);
    try {
      return await inLimitedTime(signal, requestTimeoutMs, async (limited) => {
        // A redirect could lead the key to another host.
        const askedAtMs = performance.now();
        const response = await fetch(input, { ...init, redirect: 'manual', signal: limited });
        const seconds = (performance.now() - askedAtMs) / 1000;
        const request = `${init?.method ?? 'GET'} ${host}${pathname}`;
        tell({ kind: 'answer', from: 'database', request, status: response.status, seconds });
        return wholeAnswer(response, withoutKey(await bodyText(response)));
      });
    } catch (error) {
      const { code, message } = innermostError(error);
      return errorAnswer(503, code, withoutKey(`${host}: ${message}`));
    }
  };
}

const errorAnswer = (status: number, code: string, message: string) =>
  new Response(JSON.stringify({ code, message }), { status });

function wholeAnswer({ status, headers, ok }: Response, body: string): Response {
  const to = headers.get('location');
  if (to !== null && status >= 300 && status < 400) {
    return errorAnswer(400, 'REDIRECT', `it redirects to ${URL.canParse(to) ? new URL(to).host : 'another path'}`);
  }
  // Of a function that returns nothing.
  const json = status === 204 ? null : parseJson(body);
  if (!ok) {
    const told = z.object({ code: z.string().catch(''), message: z.string().default('').catch(body) });
    const { code, message } = told.safeParse(json).data ?? { code: '', message: body };
    // Without a body of ours a status such as 304 could not be passed on.
    return errorAnswer(status < 400 ? 400 : status, code, message);
  }
  if (json === undefined) {
    // PostgREST says that it is JSON, so that this is not all of it; and it answers nothing of ours with nothing.
    const isCut = body === '' || headers.get('content-type')?.includes('json');
    return isCut ? errorAnswer(400, 'CUT', 'its answer is cut off') : errorAnswer(400, 'NOT_JSON', 'it is no JSON');
  }
  // Which [] could be anybody's.
  const isAnybodys = Array.isArray(json) && !headers.has('content-range');
  if (isAnybodys) return errorAnswer(400, 'NO_RANGE', 'it does not say which rows it answers with');
  return new Response(body || 'null', { status: 200, headers });
}

function faultOf({ status, error }: PostgrestSingleResponse<unknown>): DatabaseFault {
  const code = printable(error?.code ?? '').slice(0, 30);
  const told = printable(error?.message ?? '');
  const message = told.slice(0, 300) || `HTTP ${status}`;
  const text = code === '' || told.includes(code) ? message : `${message} (${code})`;
  return new DatabaseFault(kindOf(code, status, told), text, code);
}

function kindOf(code: string, status: number, told: string): FaultKind {
  // 42883: the schema cache still has it, or it lacks its other half. Otherwise it is a function of a trigger's.
  if (/^(PGRST202|42883)$/.test(code) && told.includes('populate_statistics')) return 'function-missing';
  if (/^(PGRST203|42501)$/.test(code) && told.includes('populate_statistics')) return 'function-refused';
  const byCode = kindsByCode.find(([pattern]) => pattern.test(code))?.[1];
  if (byCode) return byCode;
  // Of the gateway, which knows keys and no tables.
  if (status === 401) return 'wrong-key';
  if (status === 403) return 'refused';
  // https://supabase.com/docs/guides/platform/http-status-codes
  if (status === 540) return 'paused';
  // What PostgREST says when its connection was cut.
  const saysNothing = status === 400 && code === '' && told === '';
  return saysNothing || status === 408 || status === 429 || status >= 500 ? 'unreachable' : 'other';
}

/** What to do about a key that may not do what it should. */
export function secretKeyAdvice(serviceKey: string): string {
  const [, claims = ''] = serviceKey.split('.');
  const token = parseJson(Buffer.from(claims, 'base64url').toString());
  const role = z.object({ role: z.string() }).safeParse(token).data?.role;
  const isPublic = serviceKey.startsWith('sb_publishable_') || role === 'anon';
  const found = isPublic ? 'SUPABASE_SERVICE_KEY holds the publishable (anon) key, which may not. ' : '';
  return `${found}Use the project's secret (service_role) key as SUPABASE_SERVICE_KEY.`;
}
