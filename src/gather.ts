import { mapConcurrently } from './concurrently.js';
import type { Entity, EntityType } from './entity-types.js';
import { type ExitCode, exitCodes, FatalError, ResultsError } from './errors.js';
import type { Strategy, Tell, Written } from './events.js';
import { formatCount } from './format.js';
import { pageSize, type RacingApi, type ResultsPage, type ResultsQuery } from './racing-api.js';
import { addDays, type StatisticsWindow, Tallies } from './statistics.js';

/** The entities of one type that a run takes, the most recently active first. */
export interface Selection {
  type: EntityType;
  entities: Entity[];
  /** How many of the type the run's options leave out. */
  skipped: number;
  /** How many entities of the whole type were recently active by their stored date. */
  recentlyActive: number;
}

/** An entity's complete statistics, or why there are none. */
export type Outcome = Written | { entity: Entity; failure: string };

/** A way to gather statistics, ready to give the outcomes of entities. */
export interface Gathering {
  /** How many outcomes to write at once, and how many such batches at a time. */
  batchSize: number;
  writesInFlight: number;
  /** The outcomes as they come; those of a walk end with an error when the run is stopped. */
  outcomes(type: EntityType, entities: Entity[]): AsyncIterable<Outcome> | Iterable<Outcome>;
}

export interface GatherOptions {
  api: Pick<RacingApi, 'resultsPage' | 'maxInFlight'>;
  window: StatisticsWindow;
  tell: Tell;
  /** Aborted, with a FatalError, to stop asking the API. */
  stop: AbortController;
  /** Passes the safety brake. */
  force: boolean;
}

/** Four weeks: about 1,000 races in ten pages, little to read again if its results change meanwhile. */
const sweepDays = 28;
/** What a year of GB and IRE racing takes: about 12,900 races, and a part-filled last page a window. */
export const typicalSweepRequests = 135;
const readings = 3;
const recentDays = 300;
const tolerableShare = 0.05;

/**
 * Sweeps all races of the window before the first outcome, or walks entity by entity as outcomes are asked for.
 * @throws FatalError: a sweep is complete or it is nothing
 */
export async function gather(
  strategy: Strategy,
  selections: readonly Selection[],
  options: GatherOptions,
): Promise<Gathering> {
  if (strategy === 'walk') return walk(options);
  const { window, tell, force } = options;
  const tallies = await sweep(selections, options);
  tell({ kind: 'line', line: `Swept ${formatCount(tallies.races)} races.` });
  if (!force) brake(tallies, selections, window);
  return {
    batchSize: 1000,
    writesInFlight: 4,
    *outcomes(type, entities) {
      for (const entity of entities) yield outcomeOf(type, entity, tallies, window);
    },
  };
}

/** The tallies of every GB and IRE race of the window. Tells of each page. */
async function sweep(selections: readonly Selection[], { api, window, tell }: GatherOptions): Promise<Tallies> {
  const types = selections.map(({ type }) => type);
  const newTallies = () => new Tallies(types, window);
  const all = newTallies();
  const countedRaces = new Set<string>();
  let pages = 0;
  const resultsPage: RacingApi['resultsPage'] = async (query, skip) => {
    const page = await api.resultsPage(query, skip);
    pages += 1;
    tell({ kind: 'step', label: 'sweeping', done: pages, total: Math.max(typicalSweepRequests, pages + 1) });
    return page;
  };
  // A race whose date was corrected meanwhile turns up in a second window.
  const accept = (raceIds: Set<string>) => {
    if ([...raceIds].some((id) => countedRaces.has(id))) return false;
    for (const id of raceIds) countedRaces.add(id);
    return true;
  };
  const sweepWindow = async (query: ResultsQuery) => {
    all.add(await readCompleteResults({ resultsPage }, query, newTallies, accept));
  };
  tell({ kind: 'phase', label: 'sweeping', done: pages, total: typicalSweepRequests });
  try {
    const [first, ...rest] = sweepQueries(window);
    // Alone, so that a plan without this endpoint is refused once and not by every request in flight.
    if (first) await sweepWindow(first);
    await Promise.all(rest.map(sweepWindow));
  } catch (error) {
    throw error instanceof ResultsError ? sweepFailure(error) : error;
  }
  return all;
}

/** Oldest first: /v1/results reaches back 365 days, and at midnight the first of them is out of its reach. */
function sweepQueries(window: StatisticsWindow): ResultsQuery[] {
  const queries: ResultsQuery[] = [];
  for (let end = window.today; end >= window.start; end = addDays(end, -sweepDays)) {
    const start = addDays(end, 1 - sweepDays);
    const startDate = start > window.start ? start : window.start;
    queries.unshift({ path: '/results', startDate, endDate: end });
  }
  return queries;
}

function sweepFailure(error: ResultsError): FatalError {
  const what = `The sweep of /results is not complete: ${error.message}. Nothing was written.`;
  const ended = (exitCode: ExitCode, advice: string) => new FatalError(exitCode, `${what} ${advice}`, { cause: error });
  if (error.kind === 'unavailable') return ended(exitCodes.apiUnavailable, 'Run again when the API answers.');
  if (error.kind === 'not-found') {
    return ended(exitCodes.apiRefused, 'The plan or RACING_API_BASE_URL does not offer /results.');
  }
  const advice = 'Run again; if it stays so, use --strategy walk and see whether the API has changed.';
  return ended(exitCodes.unsafeToWrite, advice);
}

/** Gathers statistics entity by entity: at least one request each. */
function walk({ api, window, stop }: GatherOptions): Gathering {
  async function outcome(type: EntityType, entity: Entity): Promise<Outcome> {
    try {
      return outcomeOf(type, entity, await walkEntity(api, type, entity.id, window), window);
    } catch (error) {
      if (error instanceof ResultsError) return { entity, failure: error.message };
      throw error;
    }
  }

  // Together with a batch that waits to be written: no more than 100 entities are walked again after a crash.
  const concurrency = Math.min(api.maxInFlight, 50);
  return {
    batchSize: 50,
    writesInFlight: 1,
    outcomes: (type, entities) => askEach(entities, concurrency, stop, (entity) => outcome(type, entity)),
  };
}

/**
 * What `ask` answers for each item, as it comes. The first alone, so that an account that may not do this at all is
 * refused once and not by every request in flight; of the others, an error of one stops all, and `stop` ends them.
 */
export async function* askEach<Item, Answer>(
  [first, ...rest]: Item[],
  concurrency: number,
  stop: AbortController,
  ask: (item: Item) => Promise<Answer>,
): AsyncGenerator<Answer> {
  if (first !== undefined) yield await ask(first);
  yield* mapConcurrently(rest, concurrency, async (item) => {
    try {
      stop.signal.throwIfAborted();
      return await ask(item);
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  });
}

/** The tallies of one entity's own results. Throws ResultsError or FatalError. */
export async function walkEntity(
  api: Pick<RacingApi, 'resultsPage'>,
  type: EntityType,
  id: string,
  window: StatisticsWindow,
): Promise<Tallies> {
  const path = `/${type.name}/${encodeURIComponent(id)}/results`;
  const query = { path, startDate: window.start, endDate: window.today };
  return await readCompleteResults(api, query, () => new Tallies([type], window));
}

/**
 * The outcome of an entity whose results were read completely. One that has a stored date inside the window but
 * no race any more keeps its row: results do not vanish, so something is wrong with the answer.
 */
function outcomeOf(type: EntityType, entity: Entity, tallies: Tallies, window: StatisticsWindow): Outcome {
  const { id, lastDate } = entity;
  if (tallies.has(type, id) || lastDate === null || lastDate < window.start) {
    return { entity, row: tallies.row(type, id) };
  }
  const failure = `results vanished: the database has ${lastDate} as its last date, the API has no race in the window`;
  return { entity, failure };
}

/**
 * Reads all pages of a query, tallies each race once, and accepts only what adds up to the API's `total`. Races that
 * appear, vanish or shift to another page meanwhile make it read again, at most three times in all; so do those whose
 * ids `accept` refuses. Throws ResultsError or FatalError.
 */
async function readCompleteResults(
  api: Pick<RacingApi, 'resultsPage'>,
  query: ResultsQuery,
  newTallies: () => Tallies,
  accept = (_raceIds: Set<string>) => true,
): Promise<Tallies> {
  for (let reading = 1; reading <= readings; reading += 1) {
    const tallies = newTallies();
    const raceIds = await readOnce((skip) => api.resultsPage(query, skip), tallies);
    if (raceIds && accept(raceIds)) return tallies;
  }
  throw new ResultsError('unusable', `its results did not add up to their total in ${readings} readings`);
}

/** The ids of the races read; undefined if the pages do not fit together. */
async function readOnce(readPage: (skip: number) => Promise<ResultsPage>, tallies: Tallies) {
  const raceIds = new Set<string>();
  const take = ({ races }: ResultsPage) => {
    for (const race of races) {
      if (raceIds.has(race.race_id)) continue;
      raceIds.add(race.race_id);
      tallies.count(race);
    }
  };
  const first = await readPage(0);
  take(first);
  const skips: number[] = [];
  for (let skip = pageSize; skip < first.total; skip += pageSize) skips.push(skip);
  let totalStayed = true;
  await Promise.all(
    skips.map(async (skip) => {
      const page = await readPage(skip);
      if (page.total === first.total) take(page);
      else totalStayed = false;
    }),
  );
  return totalStayed && raceIds.size === first.total ? raceIds : undefined;
}

/**
 * Refuses a sweep that is complete by the API's own count and still cannot be true: nothing raced in a year, or
 * too many entities that raced lately by our own database have no race any more. Throws FatalError (unsafe to write).
 */
function brake(tallies: Tallies, selections: readonly Selection[], window: StatisticsWindow): void {
  if (tallies.races === 0) throw unsafe('the API has no GB or IRE race at all in the last 365 days');
  const since = recentSince(window);
  let recent = 0;
  let vanished = 0;
  for (const { type, entities, recentlyActive } of selections) {
    // Of the whole type: the few that vanished once are most of a small selection, again and again.
    recent += recentlyActive;
    for (const { id, lastDate } of entities) {
      if (lastDate !== null && lastDate >= since && !tallies.has(type, id)) vanished += 1;
    }
  }
  if (vanished <= recent * tolerableShare) return;
  const known = `${formatCount(recent)} entities that the database knows as active in the last ${recentDays} days`;
  throw unsafe(`${formatCount(vanished)} of the ${known} have no race any more`);
}

/** From when on (YYYY-MM-DD) an entity is so recently active that it would be missed. */
export function recentSince(window: StatisticsWindow): string {
  return addDays(window.today, -recentDays);
}

function unsafe(what: string): FatalError {
  return new FatalError(
    exitCodes.unsafeToWrite,
    `Stopped before the first write: ${what}. Nothing was written. If you know why this is right, run again with --force.`,
  );
}
