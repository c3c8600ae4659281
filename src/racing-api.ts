import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import pRetry, { type Options as RetryOptions } from 'p-retry';
import { Agent, fetch, type Response } from 'undici';
import * as z from 'zod';
import packageJson from '../package.json' with { type: 'json' };
import { exitCodes, FatalError, ResultsError, type ResultsErrorKind } from './errors.js';
import { formatDuration, parseJson } from './format.js';
import type { HttpAnswer, Pace } from './pace.js';
import { countedRegions, type Race } from './statistics.js';

/** The API's largest page and its largest `skip`: see `limit` and `skip` in its OpenAPI description. */
export const pageSize = 100;
const largestSkip = 20_000;

/** Races of one entity, or of all when `path` is /results; both dates YYYY-MM-DD and included. */
export interface ResultsQuery {
  path: string;
  startDate: string;
  endDate: string;
}

/** One page of a query's races, checked, and how many races the whole query has. */
export interface ResultsPage {
  races: Race[];
  total: number;
}

export interface RacingApiOptions {
  baseUrl: string;
  username: string;
  password: string;
  pace: Pace;
  /** Aborts what is under way; its reason is thrown. */
  signal: AbortSignal;
  /** For a whole answer, from the request's start to the last byte of the body. */
  timeoutMs?: number;
  /** The first wait before a retry; each further one is twice as long, and jittered up to double. */
  firstRetryMs?: number;
}

export type RacingApi = ReturnType<typeof createRacingApi>;

const retries = 5;
const longestWaitMs = 90 * 60 * 1000;

/** One fault of one request: an error of the query if no retry mends it. */
class RequestFault extends ResultsError {
  readonly status: number | undefined;
  readonly retryAfterMs: number;

  constructor(kind: ResultsErrorKind, message: string, answer?: HttpAnswer, options?: ErrorOptions) {
    super(kind, message, options);
    this.status = answer?.status;
    this.retryAfterMs = answer?.retryAfterMs ?? 0;
  }
}

/** The Racing API's results, page by page: paced, retried, and checked before anybody uses them. */
export function createRacingApi(options: RacingApiOptions) {
  const { pace, signal } = options;
  // One listener for each request in flight is no leak.
  setMaxListeners(0, signal);
  const dispatcher = new Agent({ connections: pace.maxInFlight, keepAliveTimeout: 30_000 });
  const send = sender(options, dispatcher);
  const judge = createJudge();

  /** The answer to a request. A 429 is none: the pace holds everything back for as long as it takes. */
  async function answerTo(url: string): Promise<HttpAnswer> {
    for (;;) {
      const answer = await pace.run(() => send(url));
      if (answer.status !== 429) return answer;
    }
  }

  /**
   * The page of a query that begins after its first `skip` races.
   * @throws ResultsError when retries did not help; FatalError when it is not this query but the API or the account.
   */
  async function resultsPage(query: ResultsQuery, skip: number): Promise<ResultsPage> {
    const url = pageUrl(options.baseUrl, query, skip);
    const attempt = async () => parsePage(await answerTo(url), skip);
    const page = await pRetry(attempt, retryPolicy(options)).catch((error) => {
      throw error instanceof RequestFault ? judge.judged(error) : error;
    });
    judge.answered();
    return page;
  }

  return {
    resultsPage,
    /** Whether any page was answered in full so far. */
    hasAnswered: judge.hasAnswered,
    /** How many requests it is worth to have under way at once. */
    maxInFlight: pace.maxInFlight,
    close: () => dispatcher.destroy(),
  };
}

/** Judges whether a fault that retries did not mend is its query's alone, or the API's. */
function createJudge() {
  let everAnswered = false;
  let failuresInARow = 0;
  return {
    hasAnswered: () => everAnswered,
    answered: () => {
      everAnswered = true;
      failuresInARow = 0;
    },
    judged: (fault: RequestFault): ResultsError | FatalError => {
      const { kind, status } = fault;
      // An API that has answered others and says no to this one works.
      if ((kind === 'not-found' || kind === 'rejected') && everAnswered) return fault;
      failuresInARow += 1;
      const unreachable = kind === 'unavailable' && status === undefined && !everAnswered;
      // More patience for 404s: entities that the API has never heard of may stand side by side.
      const patience = kind === 'not-found' ? 25 : everAnswered ? 10 : 3;
      return unreachable || failuresInARow >= patience ? hopelessApi(fault) : fault;
    },
  };
}

function hopelessApi(fault: RequestFault): FatalError {
  const unavailable = fault.kind === 'unavailable';
  return new FatalError(
    unavailable ? exitCodes.apiUnavailable : exitCodes.unsafeToWrite,
    unavailable
      ? `The Racing API does not answer: ${fault.message}. Check RACING_API_BASE_URL and the network, then run again with --resume.`
      : `The Racing API answers nothing usable: ${fault.message}. Check RACING_API_BASE_URL; if it is right, the API has changed.`,
    { cause: fault },
  );
}

function mayPass(error: Error): error is RequestFault {
  return error instanceof RequestFault && (error.kind === 'unavailable' || error.kind === 'unusable');
}

/** Waits for the longer of Retry-After and our own backoff. */
function retryPolicy({ signal, firstRetryMs = 700 }: RacingApiOptions): RetryOptions {
  const startedAtMs = performance.now();
  return {
    retries,
    minTimeout: 0,
    signal,
    shouldRetry: ({ error }) => mayPass(error),
    onFailedAttempt: async ({ error, attemptNumber, retriesLeft }) => {
      if (retriesLeft === 0 || !mayPass(error)) return;
      const ownMs = firstRetryMs * 2 ** (attemptNumber - 1) * (1 + Math.random());
      const waitMs = Math.max(ownMs, askedWaitMs(error, performance.now() - startedAtMs));
      await sleep(waitMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    },
  };
}

/**
 * What a Retry-After asks for that came with another status than 429. Throws a FatalError if that is too long, after
 * `waitedMs` for the same page.
 */
function askedWaitMs({ retryAfterMs }: RequestFault, waitedMs: number): number {
  if (retryAfterMs === 0 || waitedMs + retryAfterMs <= longestWaitMs) return retryAfterMs;
  throw new FatalError(
    exitCodes.apiUnavailable,
    `The Racing API asks to wait for ${formatDuration(retryAfterMs / 1000)}. Nothing is lost: run again with --resume then.`,
  );
}

function pageUrl(baseUrl: string, query: ResultsQuery, skip: number): string {
  const most = largestSkip + pageSize;
  if (skip >= most) throw new ResultsError('unusable', `more than ${most} races, which the API cannot page`);
  const parameters = new URLSearchParams({
    start_date: query.startDate,
    end_date: query.endDate,
    limit: String(pageSize),
    skip: String(skip),
  });
  for (const region of countedRegions) parameters.append('region', region);
  return `${baseUrl}${query.path}?${parameters}`;
}

/** One request, from its first byte to the last of its answer, in limited time. Throws a RequestFault. */
function sender(
  { username, password, signal, timeoutMs = 20_000 }: RacingApiOptions,
  dispatcher: Agent,
): (url: string) => Promise<HttpAnswer> {
  const headers = {
    authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
    accept: 'application/json',
    'user-agent': `populate-all-statistics/${packageJson.version} (Node.js; batch job, paced)`,
  };
  return async (url) => {
    signal.throwIfAborted();
    const abort = new AbortController();
    const onAbort = () => abort.abort(signal.reason);
    const tooLate = () => abort.abort(new Error(`no complete answer in ${timeoutMs / 1000}s`));
    const timer = setTimeout(tooLate, timeoutMs);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      // A redirect could lead the credentials to another host.
      const response = await fetch(url, { headers, redirect: 'manual', dispatcher, signal: abort.signal });
      const { status } = response;
      return { status, retryAfterMs: retryAfterMs(response), body: await response.text() };
    } catch (error) {
      signal.throwIfAborted();
      throw new RequestFault('unavailable', describeNetworkError(error), undefined, { cause: error });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  };
}

/** https://www.rfc-editor.org/rfc/rfc9110#field.retry-after: seconds or a date. */
function retryAfterMs(response: Response): number | undefined {
  const value = response.headers.get('retry-after')?.trim();
  if (!value) return undefined;
  const waitMs = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return waitMs > 0 ? waitMs : undefined;
}

/** Network errors hide their meaning in a chain of causes. */
function describeNetworkError(error: unknown): string {
  let innermost = error;
  while (innermost instanceof Error && innermost.cause instanceof Error) innermost = innermost.cause;
  if (!(innermost instanceof Error)) return String(innermost);
  const code = 'code' in innermost ? ` (${innermost.code})` : '';
  return `${innermost.message || 'the connection failed'}${code}`;
}

const runnerSchema = z.object({
  // Null is a fault (the result may still be to come); a number is its text.
  position: z.union([z.string(), z.number().transform(String)]),
  jockey_id: z.string(),
  trainer_id: z.string(),
  owner_id: z.string(),
});
const raceSchema = z.object({
  race_id: z.string().min(1),
  date: z.iso.date(),
  region: z.string(),
  runners: z.array(runnerSchema),
});
const pageSchema = z.object({
  results: z.array(raceSchema).nullable(),
  total: z.int().nonnegative(),
  skip: z.int().optional(),
});

/** The page in an answer. Throws a RequestFault, or a FatalError when the account is refused. */
function parsePage(answer: HttpAnswer, skip: number): ResultsPage {
  checkStatus(answer);
  const body = parseJson(answer.body);
  if (body === undefined) throw new RequestFault('unusable', 'the answer is not JSON', answer);
  const parsed = pageSchema.safeParse(body);
  if (!parsed.success) {
    const place = parsed.error.issues[0]?.path.join('.') || 'the answer';
    throw new RequestFault('unusable', `the answer has another shape than documented, at ${place}`, answer);
  }
  const { results, total, skip: echoedSkip = skip } = parsed.data;
  const races = results ?? [];
  const expected = Math.min(pageSize, Math.max(0, total - skip));
  if (races.length !== expected || echoedSkip !== skip) {
    const what = `the page after ${skip} races holds ${races.length} of ${total} races instead of ${expected}`;
    throw new RequestFault('unusable', what, answer);
  }
  return { races, total };
}

function checkStatus(answer: HttpAnswer): void {
  const { status } = answer;
  if (status === 200) return;
  if (status === 401 || status === 403) {
    throw new FatalError(
      exitCodes.apiRefused,
      `The Racing API refuses the account (${status}): wrong credentials, a lapsed account, or an endpoint outside the plan. ` +
        'Check RACING_API_USERNAME and RACING_API_PASSWORD, and the plan at theracingapi.com.',
    );
  }
  if (status === 404) throw new RequestFault('not-found', 'the API does not know it (404)', answer);
  if (status >= 500) throw new RequestFault('unavailable', `the API answered ${status}`, answer);
  if (status >= 300 && status < 400) {
    throw new RequestFault('unusable', `the API answered with a redirect (${status})`, answer);
  }
  throw new RequestFault('rejected', `the API refused the parameters (${status})`, answer);
}
