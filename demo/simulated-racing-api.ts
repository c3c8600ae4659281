import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Season, SeasonRace } from './season.js';
import { answerResults, findRoute } from './simulated-answer.js';
import { makeRateLimit } from './simulated-rate-limit.js';
import { makeResultsIndex } from './simulated-results-index.js';

export interface ApiCall {
  /** When the call arrived, in milliseconds of performance.now(). */
  at: number;
  method: string;
  /** `/v1/results`, without the query. */
  path: string;
  url: URL;
  headers: IncomingHttpHeaders;
  /** 1 for the first call. */
  number: number;
}

/** What a test can change while the API runs; every call sees the values of the moment. */
export interface SimulatedRacingApiSettings {
  /** Default 2. More calls in any rolling second are answered with 429; Infinity switches this off. */
  requestsPerSecond: number;
  /** Wait before the head of an answer, default 0. */
  latencyMs: number | (() => number);
  /** `standard` has no results by entity, `pro-without-results` has no `/v1/results`. Default `pro`. */
  plan: 'pro' | 'standard' | 'pro-without-results';
  /** Answers a call itself, or calls `next` for the normal answer. Comes before authentication and rate. */
  intercept?: (call: ApiCall, response: ServerResponse, next: () => Promise<void>) => void | Promise<void>;
}

export interface SimulatedRacingApiOptions extends Partial<SimulatedRacingApiSettings> {
  season: Season;
  username: string;
  password: string;
  /** How much earlier than due a call may come, because arrival times jitter. Default 25. */
  rateToleranceMs?: number;
  /** Default: any free one. */
  port?: number;
}

export interface SimulatedRacingApi {
  /** The base URL with its version: `http://127.0.0.1:1234/v1`. */
  url: string;
  /** Every call received, newest last. */
  calls: ApiCall[];
  /** How many calls were answered with 429 because of the rate. */
  readonly rejected: number;
  /** The races of the moment, newest first. */
  readonly races: readonly SeasonRace[];
  options: SimulatedRacingApiSettings;
  /** A result appears. */
  publish(race: SeasonRace): void;
  /** A race disappears. */
  withdraw(raceId: string): void;
  /** A result is corrected, as after an objection. `change` gives back a race and leaves its argument as it is. */
  amend(raceId: string, change: (race: SeasonRace) => SeasonRace): void;
  /** The normal answer to a request, regardless of account, plan and rate. */
  answer(url: URL): { status: number; body: unknown };
  /** Also cuts the connections that are open. */
  close(): Promise<void>;
}

const KEEP_ALIVE_MS = 75_000;
const compress = promisify(gzip);

/** Serves a season on 127.0.0.1 as The Racing API would (https://api.theracingapi.com/documentation). */
export async function startSimulatedRacingApi(
  options: SimulatedRacingApiOptions,
): Promise<SimulatedRacingApi> {
  const { season, username, password, rateToleranceMs = 25, port = 0 } = options;
  const settings: SimulatedRacingApiSettings = {
    requestsPerSecond: options.requestsPerSecond ?? 2,
    latencyMs: options.latencyMs ?? 0,
    plan: options.plan ?? 'pro',
    intercept: options.intercept,
  };
  const index = makeResultsIndex(season);
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  const admits = makeRateLimit(rateToleranceMs);
  const calls: ApiCall[] = [];
  let rejected = 0;

  const refuse = (call: ApiCall): Refusal | undefined => {
    const route = findRoute(call.path);
    if (route === undefined) return { status: 404, detail: 'Not Found' };
    if (call.method !== 'GET')
      return { status: 405, detail: 'Method Not Allowed', headers: { allow: 'GET' } };
    const closedTo = route.type === 'all' ? 'pro-without-results' : 'standard';
    if (call.headers.authorization !== authorization || settings.plan === closedTo) {
      return { status: 401, detail: 'Unauthorized', headers: { 'www-authenticate': 'Basic' } };
    }
    if (admits(call.at, settings.requestsPerSecond)) return undefined;
    rejected++;
    return { status: 429, detail: 'Too Many Requests', headers: { 'retry-after': '1' } };
  };

  const respond = async (call: ApiCall, response: ServerResponse) => {
    const refusal = refuse(call);
    const { latencyMs } = settings;
    const waitMs = typeof latencyMs === 'function' ? latencyMs() : latencyMs;
    if (waitMs > 0) await sleep(waitMs);
    const { status, body } = refusal
      ? { status: refusal.status, body: { detail: refusal.detail } }
      : answerResults(call.url, index, season.today);
    await send(call, response, { status, body, headers: refusal?.headers });
  };

  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    const call = describeCall(request, calls.length + 1);
    calls.push(call);
    const next = () => respond(call, response);
    const handled = async () => (settings.intercept ? settings.intercept(call, response, next) : next());
    handled().catch((error: unknown) => fail(response, error));
  });
  const actualPort = await listen(server, port);

  return {
    url: `http://127.0.0.1:${actualPort}/v1`,
    calls,
    options: settings,
    get rejected() {
      return rejected;
    },
    get races() {
      return index.races();
    },
    publish: (race) => index.add(race),
    withdraw: (raceId) => void index.remove(raceId),
    amend: (raceId, change) => index.add(change(index.remove(raceId))),
    answer: (url) => answerResults(url, index, season.today),
    close: () => close(server),
  };
}

interface Refusal {
  status: number;
  detail: string;
  headers?: OutgoingHttpHeaders;
}

function describeCall(request: IncomingMessage, number: number): ApiCall {
  const at = performance.now();
  const url = new URL(`http://${request.headers.host}${request.url}`);
  return { at, method: request.method ?? '', path: url.pathname, url, headers: request.headers, number };
}

async function send(
  call: ApiCall,
  response: ServerResponse,
  { status, body, headers }: { status: number; body: unknown; headers: OutgoingHttpHeaders | undefined },
): Promise<void> {
  const text = Buffer.from(JSON.stringify(body));
  const zipped = `${call.headers['accept-encoding'] ?? ''}`.includes('gzip');
  const payload = zipped ? await compress(text, { level: 1 }) : text;
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': payload.length,
    ...(zipped ? { 'content-encoding': 'gzip' } : {}),
    ...headers,
  });
  response.end(payload);
}

/** A fault of the simulation or of a test's intercept, told where a test will see it. */
function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent) response.destroy();
  else
    response
      .writeHead(500, { 'content-type': 'application/json' })
      .end(JSON.stringify({ detail: `${error}` }));
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
