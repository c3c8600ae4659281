import { mapConcurrently } from './concurrently.js';
import type { Entity, EntityType } from './entity-types.js';
import { type ExitCode, exitCodes, FatalError, ResultsError } from './errors.js';
import type { Strategy, Tell, Written } from './events.js';
import { formatCount } from './format.js';
import { pageSize, type RacingApi, type ResultsQuery } from './racing-api.js';
import { type ReadPage, readCompletely, readInTurn, readings } from './reading.js';
import { addDays, daysBetween, type StatisticsWindow, Tallies } from './statistics.js';

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
  /** How long written rows may wait for their checkpoint, which grows with them. */
  saveIntervalMs: number;
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

/**
 * The windows of a sweep, the newest first: each wastes part of its last page, so they are few; and the days whose
 * results still change are in a small one, of which little has to be read again.
 */
const sweepDays = [30, 84, 84, 84, 84];
/** What a year of GB and IRE racing takes: about 12,900 races, and a part-filled last page a window. */
export const typicalSweepRequests = 132;
const recentDays = 300;
const tolerableShare = 0.05;

/**
 * Sweeps all races of the window before the first outcome, while the entities are still being selected; or walks
 * entity by entity as outcomes are asked for.
 * @throws FatalError: a sweep is complete or it is nothing
 */
export async function gather(
  strategy: Strategy,
  types: readonly EntityType[],
  selecting: Promise<readonly Selection[]>,
  options: GatherOptions,
): Promise<Gathering> {
  if (strategy === 'walk') return walk(options);
  const { window, tell, force } = options;
  const [tallies, selections] = await Promise.all([sweep(types, options), selecting]);
  tell({ kind: 'line', line: `Swept ${formatCount(tallies.races)} races.` });
  if (!force) brake(tallies, selections, window);
  return {
    batchSize: 2000,
    writesInFlight: 2,
    saveIntervalMs: 1_000,
    *outcomes(type, entities) {
      for (const entity of entities) yield outcomeOf(type, entity, tallies, window);
    },
  };
}

/** The tallies of every GB and IRE race of the window. Tells of each page. */
async function sweep(types: readonly EntityType[], options: GatherOptions): Promise<Tallies> {
  const { window } = options;
  const newTallies = () => new Tallies(types, window);
  try {
    for (let reading = 1; reading <= readings; reading += 1) {
      const all = newTallies();
      const counted = new Set<string>();
      let isTwice = false;
      await readInTurn(sweepQueries(window), watchedPages(options), newTallies, (tallies, raceIds) => {
        for (const id of raceIds) {
          if (counted.has(id)) isTwice = true;
          counted.add(id);
        }
        all.add(tallies);
      });
      // A race whose date is corrected meanwhile may be in one window and then in another: then all is read again.
      if (!isTwice) return all;
    }
    throw new ResultsError('unusable', `a race was in two windows in ${readings} readings`);
  } catch (error) {
    throw error instanceof ResultsError ? sweepFailure(error) : error;
  }
}

/** Oldest first: /v1/results reaches back 365 days, and at midnight the first of them is out of its reach. */
function sweepQueries(window: StatisticsWindow): ResultsQuery[] {
  let endDate = window.today;
  const newestFirst = sweepDays.map((days) => {
    const startDate = addDays(endDate, 1 - days);
    const query = { path: '/results', startDate, endDate };
    endDate = addDays(startDate, -1);
    return query;
  });
  return newestFirst.reverse();
}

/** Tells of each page, and of how many there are: as many as usual of a window that has not answered yet. */
function watchedPages({ api, window, tell }: GatherOptions): ReadPage {
  const allDays = daysBetween(window.start, window.today) + 1;
  const expected = new Map<string, number>();
  let done = 0;
  const step = () => {
    const total = [...expected.values()].reduce((sum, pages) => sum + pages, 0);
    return { label: 'sweeping', done, total: Math.ceil(total) };
  };
  for (const { startDate, endDate } of sweepQueries(window)) {
    expected.set(startDate + endDate, (typicalSweepRequests * (daysBetween(startDate, endDate) + 1)) / allDays);
  }
  tell({ kind: 'phase', ...step() });
  return async (query, skip) => {
    const page = await api.resultsPage(query, skip);
    done += 1;
    expected.set(query.startDate + query.endDate, Math.max(1, Math.ceil(page.total / pageSize)));
    tell({ kind: 'step', ...step() });
    return page;
  };
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
    saveIntervalMs: 0,
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
  return await readCompletely(query, api.resultsPage, () => new Tallies([type], window));
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
