import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { z } from 'zod';
import { listen, stop } from './loopback.js';
import { daysBefore, describeRace, type EntityType, newestFirst, type Season, type SeasonRace } from './season.js';

/** A request as it arrived. */
export interface ApiCall {
  /** In milliseconds of performance.now(). */
  at: number;
  method: string;
  /** `/v1/results`, without the query. */
  path: string;
  url: URL;
  headers: IncomingMessage['headers'];
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
  /** Tells of a race only what a season has of it, which is a tenth and sent as it is; false. */
  isBrief: boolean;
  /** The UTC date (YYYY-MM-DD) by the API's clock, on which its longest ranges depend; the season's by default. */
  today: string;
  /** Answers a call itself, or calls `next` for the normal answer. Comes before authentication and rate. */
  intercept?: (call: ApiCall, response: ServerResponse, next: () => Promise<void>) => void | Promise<void>;
}

export interface SimulatedRacingApiOptions extends Partial<SimulatedRacingApiSettings> {
  season: Season;
  username: string;
  password: string;
}

/** The Racing API, simulated: a server on loopback and the races that it tells. */
export type SimulatedRacingApi = Awaited<ReturnType<typeof startSimulatedRacingApi>>;

/** What is sent back; the body becomes JSON. */
interface Answer {
  status: number;
  body: unknown;
  headers?: Record<string, string>;
}

const refusal = (status: number, detail: unknown, headers?: Answer['headers']): Answer => ({
  status,
  body: { detail },
  headers,
});

const usualSettings = { requestsPerSecond: 2, latencyMs: 0, plan: 'pro', isBrief: false } as const;

/** Serves a season as The Racing API would (https://api.theracingapi.com/documentation). */
export async function startSimulatedRacingApi(options: SimulatedRacingApiOptions) {
  const { today } = options.season;
  const settings: SimulatedRacingApiSettings = { ...usualSettings, today, ...options };
  const gate = openGate(options, settings);
  const book = openRaceBook(options.season);
  const calls: ApiCall[] = [];

  const respond = async (call: ApiCall, response: ServerResponse) => {
    const refused = gate.refuse(call);
    const { latencyMs } = settings;
    const waitMs = typeof latencyMs === 'function' ? latencyMs() : latencyMs;
    if (waitMs > 0) await sleep(waitMs);
    await send(call, response, refused ?? answerResults(call.url, settings, book), !settings.isBrief);
  };
  const server = createServer({ keepAliveTimeout: 75_000 }, (request, response) => {
    const { method = '', headers } = request;
    const url = new URL(`http://${headers.host}${request.url}`);
    const call = { at: performance.now(), method, path: url.pathname, url, headers, number: calls.length + 1 };
    calls.push(call);
    const next = () => respond(call, response);
    const handled = async () => (settings.intercept ? settings.intercept(call, response, next) : next());
    handled().catch((error: unknown) => fail(response, error));
  });

  return {
    ...book,
    /** The base URL with its version: `http://127.0.0.1:1234/v1`. */
    url: `${await listen(server)}/v1`,
    calls,
    /** How many calls were answered with 429 because of the rate. */
    get rejected() {
      return gate.rejected;
    },
    options: settings,
    /** The normal answer to a request, regardless of account, plan and rate; or what it would be with other races. */
    answer: (url: URL, races = book.races) => answerResults(url, settings, { ...book, races }),
    /** Also cuts the connections that are open. */
    close: () => stop(server),
  };
}

async function send(call: ApiCall, response: ServerResponse, answer: Answer, mayZip: boolean): Promise<void> {
  const text = Buffer.from(JSON.stringify(answer.body));
  const zipped = mayZip && `${call.headers['accept-encoding'] ?? ''}`.includes('gzip');
  const payload = zipped ? await promisify(gzip)(text, { level: 1 }) : text;
  const headers = { 'content-type': 'application/json', 'content-length': payload.length, ...answer.headers };
  response.writeHead(answer.status, zipped ? { ...headers, 'content-encoding': 'gzip' } : headers);
  response.end(payload);
}

/** A fault of the simulation or of a test's intercept, told where a test will see it. */
function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent) response.destroy();
  else response.writeHead(500).end(JSON.stringify({ detail: `${error}` }));
}

/** Refuses calls with a wrong path, method or password, outside the plan, or over the rate. */
function openGate(account: { username: string; password: string }, settings: SimulatedRacingApiSettings) {
  const authorization = `Basic ${Buffer.from(`${account.username}:${account.password}`).toString('base64')}`;
  const admits = makeRateLimit(25);
  const gate = { rejected: 0, refuse };

  function refuse(call: ApiCall): Answer | undefined {
    const route = findRoute(call.path);
    if (route === undefined) return refusal(404, 'Not Found');
    if (call.method !== 'GET') return refusal(405, 'Method Not Allowed', { allow: 'GET' });
    const closedTo = route.type ? 'standard' : 'pro-without-results';
    if (call.headers.authorization !== authorization || settings.plan === closedTo) {
      return refusal(401, 'Unauthorized', { 'www-authenticate': 'Basic' });
    }
    if (admits(call.at, settings.requestsPerSecond)) return undefined;
    gate.rejected++;
    return refusal(429, 'Too Many Requests', { 'retry-after': '1' });
  }
  return gate;
}

/**
 * Makes a check that admits so many calls in any rolling second and no more; refused calls do not count.
 * @param toleranceMs The second is shorter by this, so that jitter on the way does not make a call early.
 */
export function makeRateLimit(toleranceMs: number): (at: number, requestsPerSecond: number) => boolean {
  let admitted: number[] = [];
  return (at, requestsPerSecond) => {
    if (requestsPerSecond === Number.POSITIVE_INFINITY) return true;
    // Half a request a second is one in two seconds.
    const most = Math.max(1, Math.floor(requestsPerSecond));
    const windowMs = (1000 * most) / requestsPerSecond - toleranceMs;
    admitted = admitted.filter((earlier) => at - earlier < windowMs);
    if (admitted.length >= most) return false;
    admitted.push(at);
    return true;
  };
}

/** The API's path segments and the field of a runner that bears such an entity's id. */
const idFields = { jockeys: 'jockey_id', trainers: 'trainer_id', owners: 'owner_id' } as const;
const entityTypes: EntityType[] = ['jockeys', 'trainers', 'owners'];

/** What a path asks for: all races without a type, otherwise those of an entity, its id percent-decoded. */
function findRoute(path: string): { type?: EntityType; id: string } | undefined {
  if (path === '/v1/results') return { id: '' };
  const [, segment, id] = /^\/v1\/([^/]+)\/([^/]+)\/results$/.exec(path) ?? [];
  const type = entityTypes.find((name) => name === segment);
  return type && id ? { type, id: decodeURIComponent(id) } : undefined;
}

/** Answers a request for results as the API does to an account that may ask it. */
function answerResults({ pathname, searchParams }: URL, settings: SimulatedRacingApiSettings, book: RaceBook): Answer {
  const route = findRoute(pathname);
  if (route === undefined) return refusal(404, 'Not Found');
  const { type, id } = route;
  const asked = { ...Object.fromEntries(searchParams), region: searchParams.getAll('region') };
  const { data: query, error } = queryOf(settings.today, type !== undefined).safeParse(asked);
  if (error) {
    const detail = error.issues.map(({ path, message, code }) => ({
      loc: ['query', ...path],
      msg: message,
      type: code,
    }));
    return refusal(422, detail);
  }
  if (type && !book.names[type].has(id)) return refusal(404, 'Not Found');

  const { start_date, end_date, region: regions, limit, skip } = query;
  const matching = book.races.filter(
    ({ date, region, runners }) =>
      date >= start_date &&
      date <= end_date &&
      (regions.length === 0 || regions.includes(region)) &&
      (!type || runners.some((runner) => runner[idFields[type]] === id)),
  );
  const total = matching.length;
  const page = matching.slice(skip, skip + limit);
  const told = settings.isBrief ? page : page.map((race) => describeRace(race, book.names));
  const results = total === 0 ? null : told;
  return { status: 200, body: { results, total, limit, skip, query: [...searchParams] } };
}

/** The API's rule for the default of `start_date`, the longest range, and how far back all results go. */
const maximumDays = 365;
const dateParameter = z.iso.date({ error: 'Date must be in the format YYYY-MM-DD', abort: true });
const integerParameter = (least: number, most: number) => z.coerce.number().int().min(least).max(most);

const queries = new Map<string, ReturnType<typeof makeQuery>>();

/** Kept, for making one takes longer than the rest of an answer. */
function queryOf(today: string, wholeHistory: boolean) {
  const key = `${today} ${wholeHistory}`;
  const query = queries.get(key) ?? makeQuery(today, wholeHistory);
  queries.set(key, query);
  return query;
}

/** The parameters that are simulated; the API's other filters have no effect. */
function makeQuery(today: string, wholeHistory: boolean) {
  const oldest = daysBefore(today, maximumDays);
  const parameters = z.object({
    start_date: dateParameter.default(oldest),
    end_date: dateParameter.default(today),
    region: z.array(z.string().toUpperCase()),
    limit: integerParameter(1, 100).default(50),
    skip: integerParameter(0, 20_000).default(0),
  });
  return parameters.superRefine(({ start_date, end_date }, { addIssue }) => {
    const refuse = (name: string, message: string) => addIssue({ code: 'custom', path: [name], message });
    if (start_date > end_date) refuse('start_date', 'Start date must not be after end date');
    else if (start_date < daysBefore(end_date, maximumDays)) {
      refuse('end_date', `Maximum range between start and end date is ${maximumDays} days`);
    }
    if (!wholeHistory && start_date < oldest) {
      refuse('start_date', `Start date is limited to up to ${maximumDays} days in the past`);
    }
  });
}

type RaceBook = ReturnType<typeof openRaceBook>;

/** The races of the moment and who takes part; results may come, change and go, while the season stays as it is. */
function openRaceBook(season: Season) {
  const all = [...season.races];
  const namesOf = (type: EntityType) => new Map(season[type].map(({ id, name }) => [id, name]));
  const names = { jockeys: namesOf('jockeys'), trainers: namesOf('trainers'), owners: namesOf('owners') };

  /** A result appears. Throws when the race is there already. */
  function publish(race: SeasonRace): void {
    if (all.some(({ race_id }) => race_id === race.race_id)) {
      throw new Error(`Race ${race.race_id} is there already; amend it instead.`);
    }
    const index = all.findIndex((other) => newestFirst(race, other) < 0);
    all.splice(index === -1 ? all.length : index, 0, race);
    for (const type of entityTypes) {
      for (const { [idFields[type]]: id } of race.runners) names[type].set(id, names[type].get(id) ?? id);
    }
  }

  /** A race disappears and is returned. Throws when there is no such race, as does `amend`. */
  function withdraw(raceId: string): SeasonRace {
    const index = all.findIndex(({ race_id }) => race_id === raceId);
    const race = all[index];
    if (race === undefined) throw new Error(`There is no race ${raceId} to withdraw or amend.`);
    all.splice(index, 1);
    return race;
  }

  /** A result is corrected, as after an objection. `change` leaves its argument as it is. */
  const amend = (raceId: string, change: (race: SeasonRace) => SeasonRace) => publish(change(withdraw(raceId)));
  /** Newest first. */
  const races: readonly SeasonRace[] = all;
  /** `names` are by id those of all entities that there are or ever were in a race. */
  return { races, names, publish, withdraw, amend };
}
