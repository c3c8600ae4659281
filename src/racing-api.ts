import { EventEmitter, once } from 'node:events';
import * as z from 'zod';
import { withRetries } from './concurrently.js';
import { exitCodes, FatalError, ResultsError, type ResultsErrorKind } from './errors.js';
import type { Tell } from './events.js';
import type { Exchange, HttpAnswer } from './exchange.js';
import { formatDuration, parseJson, printable } from './format.js';
import type { Pace } from './pace.js';
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

interface RacingApiOptions {
  baseUrl: string;
  exchange: Pick<Exchange, 'send'>;
  pace: Pace;
  tell: Tell;
  /** Ends all waiting; its reason is thrown. */
  signal: AbortSignal;
  /** The first wait before a retry; each further one is twice as long, and jittered up to double. */
  firstRetryMs?: number;
}

export type RacingApi = ReturnType<typeof createRacingApi>;

const usualFirstRetryMs = 700;
const longestWaitMs = 90 * 60 * 1000;

/** What is wrong with one answer: an error of the query if no retry mends it. */
class AnswerFault extends ResultsError {
  readonly retryAfterMs: number;

  constructor(kind: ResultsErrorKind, message: string, { retryAfterMs = 0 }: HttpAnswer) {
    super(kind, message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** All the times that a page is asked for. */
interface Asking {
  /** When it was sent last and when it failed first, counted in such moments; 0 if it was or did not. */
  sentAt: number;
  failedAt: number;
}

/** The Racing API's results, page by page: paced, retried, and checked before anybody uses them. */
export function createRacingApi(options: RacingApiOptions) {
  const outage = createOutageWatch(options);
  const { ask, hasAnswered, stillAnswers } = createPageAsker(options, outage);
  let failuresInARow = 0;

  /**
   * The page of a query that begins after its first `skip` races.
   * @throws ResultsError when retries did not help; FatalError when it is not this query but the API or the account.
   */
  async function resultsPage(query: ResultsQuery, skip: number): Promise<ResultsPage> {
    const asking = { sentAt: 0, failedAt: 0 };
    const attempt = () => ask(query, skip, asking);
    try {
      const page = await withRetries(attempt, options.firstRetryMs ?? usualFirstRetryMs, createWaits(), options);
      failuresInARow = 0;
      return page;
    } catch (error) {
      if (!(error instanceof ResultsError)) throw error;
      const isOutage = mayPass(error) && outage.triesForAll(asking);
      if (isOutage && !(await stillAnswers(asking))) throw hopelessApi(error);
      outage.gaveUp(asking);
      if (error.kind === 'refused') throw refusedAccount(error);
      // An API that has answered others and says no to this one works.
      if (!mayPass(error) && hasAnswered()) throw error;
      failuresInARow += 1;
      throw failuresInARow >= patienceWith(error, hasAnswered()) ? hopelessApi(error) : error;
    }
  }

  return {
    resultsPage,
    /** Whether any page was answered in full so far. */
    hasAnswered,
    /** How many requests it is worth to have under way at once. */
    maxInFlight: options.pace.maxInFlight,
  };
}

/** Asks for pages, each time once. */
function createPageAsker(
  { baseUrl, exchange, pace, tell }: RacingApiOptions,
  outage: ReturnType<typeof createOutageWatch>,
) {
  let lastAnswered: [query: ResultsQuery, skip: number] | undefined;

  /** The answer to a request. A 429 is none: the pace holds everything back for as long as it takes. */
  async function answerTo(url: string, asking: Asking): Promise<HttpAnswer> {
    const send = (hasLeft: () => void) => {
      outage.sent(asking);
      return exchange.send(url, hasLeft);
    };
    for (;;) {
      await outage.over(asking);
      const answer = await pace.run(send, () => outage.holds(asking));
      if (answer === undefined) continue;
      const { status, latencyMs } = answer;
      tell({ kind: 'answer', from: 'API', request: `GET ${url}`, status, seconds: latencyMs / 1000 });
      if (status !== 429) return answer;
    }
  }

  async function ask(query: ResultsQuery, skip: number, asking: Asking): Promise<ResultsPage> {
    try {
      const page = parsePage(await answerTo(pageUrl(baseUrl, query, skip), asking), query, skip);
      outage.answered(asking);
      lastAnswered = [query, skip];
      return page;
    } catch (error) {
      if (mayPass(error)) outage.failed(asking, error);
      throw error;
    }
  }

  return {
    ask,
    hasAnswered: () => lastAnswered !== undefined,
    /** Whether the API still answers what it has answered before: then it is not down, but cannot answer others. */
    stillAnswers: async (asking: Asking): Promise<boolean> => {
      try {
        if (lastAnswered) await ask(...lastAnswered, asking);
        return lastAnswered !== undefined;
      } catch (error) {
        if (error instanceof ResultsError) return false;
        throw error;
      }
    },
  };
}

/** So many requests that fail side by side, and none sent later is answered, are an outage of the API. */
const outageSize = 3;

/**
 * Watches for an outage. Then all requests but one are held: the first that failed tries on, and either it is answered,
 * which lets all go on, or it gives up for all.
 */
function createOutageWatch({ signal, tell }: RacingApiOptions) {
  let moments = 0;
  const failing = new Set<Asking>();
  /** When the last one was sent of those that were answered: what failed before is not the API's fault. */
  let answeredSentAt = 0;
  const changes = new EventEmitter().setMaxListeners(0);

  /** The one that tries on for all, while there is an outage. */
  function leader(): Asking | undefined {
    const telling = [...failing].filter(({ failedAt }) => failedAt > answeredSentAt);
    return telling.length >= outageSize ? telling[0] : undefined;
  }
  function ended(asking: Asking): void {
    failing.delete(asking);
    changes.emit('change');
  }
  const triesForAll = (asking: Asking) => leader() === asking;
  const holds = (asking: Asking) => leader() !== undefined && !triesForAll(asking);

  return {
    triesForAll,
    holds,
    /** Resolves when the request need not be held. Throws the signal's reason. */
    over: async (asking: Asking): Promise<void> => {
      while (holds(asking)) await once(changes, 'change', { signal }).catch(() => signal.throwIfAborted());
    },
    sent: (asking: Asking) => {
      asking.sentAt = ++moments;
    },
    answered: (asking: Asking) => {
      answeredSentAt = Math.max(answeredSentAt, asking.sentAt);
      ended(asking);
    },
    failed: (asking: Asking, { kind, message }: ResultsError) => {
      const wasOutage = leader() !== undefined;
      asking.failedAt ||= ++moments;
      failing.add(asking);
      if (wasOutage || !leader()) return;
      tell({ kind: 'line', line: `${whatItDoes(kind)}: ${message}. One request tries on, the others wait.` });
    },
    /** The request tries no more. */
    gaveUp: ended,
  };
}

/** How many faults in a row, that retries did not mend, are not their queries' but the API's. */
function patienceWith(fault: ResultsError, hasAnswered: boolean): number {
  const isUnreachable = fault.kind === 'unavailable' && !(fault instanceof AnswerFault);
  if (isUnreachable && !hasAnswered) return 1;
  // More patience for 404s: entities that the API has never heard of may stand side by side.
  if (fault.kind === 'not-found') return 25;
  return hasAnswered ? 10 : 3;
}

function refusedAccount(fault: ResultsError): FatalError {
  return new FatalError(
    exitCodes.apiRefused,
    `The Racing API refuses the account (${fault.message}). Wrong credentials, a lapsed account, or an endpoint outside ` +
      'the plan: check RACING_API_USERNAME and RACING_API_PASSWORD, and the plan at theracingapi.com.',
    { cause: fault },
  );
}

function whatItDoes(kind: ResultsErrorKind): string {
  return `The Racing API ${kind === 'unavailable' ? 'is unavailable' : 'answers nothing usable'}`;
}

function hopelessApi(fault: ResultsError): FatalError {
  const isUnavailable = fault.kind === 'unavailable';
  const advice = isUnavailable
    ? 'Check RACING_API_BASE_URL and the network, then run again.'
    : 'Check RACING_API_BASE_URL; if it is right, the API has changed.';
  const exitCode = isUnavailable ? exitCodes.apiUnavailable : exitCodes.unsafeToWrite;
  return new FatalError(exitCode, `${whatItDoes(fault.kind)}: ${fault.message}. ${advice}`, { cause: fault });
}

function mayPass(error: unknown): error is ResultsError {
  return error instanceof ResultsError && (error.kind === 'unavailable' || error.kind === 'unusable');
}

/**
 * How long at least to wait before one page is asked for again: as long as a Retry-After asks for that came with another
 * status than 429. A refused account (401, 403) is asked about once more. Throws a FatalError where that takes too long.
 */
function createWaits() {
  const startedAtMs = performance.now();
  let refusals = 0;
  return (error: Error): number | undefined => {
    const isRefused = error instanceof ResultsError && error.kind === 'refused';
    if (isRefused) refusals += 1;
    if (isRefused ? refusals > 1 : !mayPass(error)) return undefined;
    const askedMs = error instanceof AnswerFault ? error.retryAfterMs : 0;
    if (askedMs === 0 || performance.now() - startedAtMs + askedMs <= longestWaitMs) return askedMs;
    const asked = `The Racing API asks to wait for ${formatDuration(askedMs / 1000)}.`;
    throw new FatalError(exitCodes.apiUnavailable, `${asked} Nothing is lost: run again then.`);
  };
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

/** The page in an answer to a query. Throws an AnswerFault. */
function parsePage(answer: HttpAnswer, query: ResultsQuery, skip: number): ResultsPage {
  checkStatus(answer, query);
  const body = parseJson(answer.body);
  if (body === undefined) throw new AnswerFault('unusable', 'the answer is not JSON', answer);
  const parsed = pageSchema.safeParse(body);
  if (!parsed.success) {
    const place = parsed.error.issues[0]?.path.join('.') || 'the answer';
    throw new AnswerFault('unusable', `the answer has another shape than documented, at ${place}`, answer);
  }
  const { results, total, skip: echoedSkip = skip } = parsed.data;
  const races = results ?? [];
  const expected = Math.min(pageSize, Math.max(0, total - skip));
  if (races.length !== expected) {
    const what = `the page after ${skip} races holds ${races.length} of ${total} races instead of ${expected}`;
    throw new AnswerFault('unusable', what, answer);
  }
  if (echoedSkip !== skip) {
    throw new AnswerFault('unusable', `it answers with the page after ${echoedSkip} races instead of ${skip}`, answer);
  }
  return { races, total };
}

function checkStatus(answer: HttpAnswer, query: ResultsQuery): void {
  const { status } = answer;
  if (status === 200) return;
  const fault = (kind: ResultsErrorKind, message: string) => new AnswerFault(kind, message, answer);
  if (status === 401 || status === 403) throw fault('refused', `${status}, asked twice`);
  if (status === 404) throw fault('not-found', 'the API does not know it (404)');
  // 408 Request Timeout and 425 Too Early ask for another try, as the errors of a server do.
  if (status >= 500 || status === 408 || status === 425) throw fault('unavailable', `the API answered ${status}`);
  if (status >= 300 && status < 400) throw fault('unusable', `the API answered with a redirect (${status})`);
  throw fault('rejected', `the API refused the parameters (${status})${describeRejection(answer, query)}`);
}

const mostDetail = 200;

/** What the body of a 422 says in `detail`: a text, or FastAPI's list of what is wrong with which parameter. */
function describeRejection({ body }: HttpAnswer, { startDate, endDate }: ResultsQuery): string {
  const { detail } = z.object({ detail: z.unknown() }).safeParse(parseJson(body)).data ?? {};
  if (detail === undefined) return '';
  const text = printable(typeof detail === 'string' ? detail : JSON.stringify(detail)).slice(0, mostDetail);
  const aboutDates = /\bdate|_date\b/i.test(text) ? `; asked for ${startDate} to ${endDate}: ${midnight}` : '';
  return `: ${text}${aboutDates}`;
}

const midnight = 'around midnight UTC its day may be another than ours, then run again in a few minutes';
