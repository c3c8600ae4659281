import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import pRetry from 'p-retry';
import { Agent, fetch } from 'undici';
import { exitCodes, FatalError, ResultsError, type ResultsErrorKind } from './errors.js';
import { formatDuration } from './format.js';
import { describeNetworkError, type HttpAnswer, retryAfterMs } from './http-answer.js';
import type { RequestPacer } from './request-pacer.js';
import { pageSize, parsePage, RequestFault, type ResultsPage } from './results-page.js';
import { countedRegions } from './statistics.js';

/** The API's largest `skip`. */
const largestSkip = 20_000;

/** Races of one entity, or of all when `path` is /results; both dates YYYY-MM-DD and included. */
export interface ResultsQuery {
  path: string;
  startDate: string;
  endDate: string;
}

export interface RacingApiOptions {
  baseUrl: string;
  username: string;
  password: string;
  pacer: RequestPacer;
  /** Aborts what is under way; its reason is thrown. */
  signal: AbortSignal;
  /** For a whole answer, from the request's start to the last byte of the body. */
  timeoutMs?: number;
  /** The first wait before a retry; each further one is twice as long, and jittered up to double. */
  firstRetryMs?: number;
}

const retries = 5;
const longestWaitMs = 90 * 60 * 1000;

/** So many failed queries in a row are not their entities' fault but the API's. */
function hopelessFailures(kind: ResultsErrorKind, everAnswered: boolean): number {
  // More patience for 404s: entities that the API has never heard of may stand side by side.
  if (kind === 'not-found') return 25;
  return everAnswered ? 10 : 3;
}

function mayPass(error: Error): error is RequestFault {
  return error instanceof RequestFault && (error.kind === 'unavailable' || error.kind === 'unusable');
}

/** The Racing API's results, page by page: paced, retried, and checked before anybody uses them. */
export class RacingApi {
  /** How many pages were answered in full so far. */
  answers = 0;
  private failuresInARow = 0;
  private readonly options: RacingApiOptions;
  private readonly authorization: string;
  private readonly dispatcher: Agent;

  constructor(options: RacingApiOptions) {
    this.options = options;
    // One listener for each request in flight is no leak.
    setMaxListeners(0, options.signal);
    const credentials = `${options.username}:${options.password}`;
    this.authorization = `Basic ${Buffer.from(credentials).toString('base64')}`;
    this.dispatcher = new Agent({ connections: options.pacer.maxInFlight, keepAliveTimeout: 30_000 });
  }

  /**
   * The page of a query that begins after its first `skip` races.
   * @throws ResultsError when retries did not help; FatalError when it is not this query but the API or the account.
   */
  async resultsPage(query: ResultsQuery, skip: number): Promise<ResultsPage> {
    if (skip > largestSkip) {
      throw new ResultsError(
        'unusable',
        `more than ${largestSkip + pageSize} races, which the API cannot page`,
      );
    }
    const { signal, firstRetryMs = 700 } = this.options;
    const startedAtMs = performance.now();
    const url = this.pageUrl(query, skip);
    try {
      const page = await pRetry(async () => parsePage(await this.answer(url), skip), {
        retries,
        minTimeout: firstRetryMs,
        randomize: true,
        signal,
        shouldRetry: ({ error }) => mayPass(error),
        onFailedAttempt: ({ error, retriesLeft }) => {
          if (retriesLeft > 0 && mayPass(error))
            return this.waitAsAsked(error, performance.now() - startedAtMs);
        },
      });
      this.answers += 1;
      this.failuresInARow = 0;
      return page;
    } catch (error) {
      throw error instanceof RequestFault ? this.outcomeOf(error) : error;
    }
  }

  async close(): Promise<void> {
    await this.dispatcher.destroy();
  }

  private pageUrl(query: ResultsQuery, skip: number): string {
    const parameters = new URLSearchParams({
      start_date: query.startDate,
      end_date: query.endDate,
      limit: String(pageSize),
      skip: String(skip),
    });
    for (const region of countedRegions) parameters.append('region', region);
    return `${this.options.baseUrl}${query.path}?${parameters}`;
  }

  private async send(url: string): Promise<HttpAnswer> {
    const { signal, timeoutMs = 20_000 } = this.options;
    signal.throwIfAborted();
    const abort = new AbortController();
    const onAbort = () => abort.abort(signal.reason);
    const timer = setTimeout(
      () => abort.abort(new Error(`no complete answer in ${timeoutMs / 1000}s`)),
      timeoutMs,
    );
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const response = await fetch(url, {
        headers: {
          authorization: this.authorization,
          accept: 'application/json',
          'user-agent': 'populate-all-statistics/1.0 (Node.js; batch job, paced)',
        },
        // A redirect could lead the credentials to another host.
        redirect: 'manual',
        dispatcher: this.dispatcher,
        signal: abort.signal,
      });
      return {
        status: response.status,
        retryAfterMs: retryAfterMs(response),
        body: await response.text(),
      };
    } catch (error) {
      signal.throwIfAborted();
      throw new RequestFault('unavailable', describeNetworkError(error), undefined, { cause: error });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** The answer to a request. A 429 is none: the pacer holds everything back for as long as it takes. */
  private async answer(url: string): Promise<HttpAnswer> {
    for (;;) {
      const answer = await this.options.pacer.run(() => this.send(url));
      if (answer.status !== 429) return answer;
    }
  }

  /** Waits for a Retry-After that came with another status than 429. */
  private async waitAsAsked({ retryAfterMs: waitMs }: RequestFault, waitedMs: number): Promise<void> {
    if (waitMs === 0) return;
    if (waitedMs + waitMs > longestWaitMs) {
      throw new FatalError(
        exitCodes.apiUnavailable,
        `The Racing API asks to wait for ${formatDuration(waitMs / 1000)}. Nothing is lost: run again with --resume then.`,
      );
    }
    await sleep(waitMs, undefined, { signal: this.options.signal });
  }

  /** Whether a fault that retries did not mend is this query's alone, or the API's. */
  private outcomeOf(fault: RequestFault): ResultsError | FatalError {
    const { kind, status } = fault;
    const everAnswered = this.answers > 0;
    // An API that has answered others and says no to this one works.
    if ((kind === 'not-found' || kind === 'rejected') && everAnswered) {
      return new ResultsError(kind, fault.message, { cause: fault });
    }
    this.failuresInARow += 1;
    const unreachable = kind === 'unavailable' && status === undefined && !everAnswered;
    const hopeless = unreachable || this.failuresInARow >= hopelessFailures(kind, everAnswered);
    if (!hopeless) return new ResultsError(kind, fault.message, { cause: fault });
    return new FatalError(
      kind === 'unavailable' ? exitCodes.apiUnavailable : exitCodes.unsafeToWrite,
      kind === 'unavailable'
        ? `The Racing API does not answer: ${fault.message}. Check RACING_API_BASE_URL and the network, then run again with --resume.`
        : `The Racing API answers nothing usable: ${fault.message}. Check RACING_API_BASE_URL; if it is right, the API has changed.`,
      { cause: fault },
    );
  }
}
