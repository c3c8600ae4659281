import { readCompleteResults } from './complete-results.js';
import type { EntityType, EntityTypeName } from './entity-types.js';
import { exitCodes, FatalError, ResultsError } from './errors.js';
import type { RacingApi, ResultsQuery } from './racing-api.js';
import { addDays, type Race, type StatisticsWindow, Tallies } from './statistics.js';
import { outcomeOf, type StatisticsSource } from './statistics-source.js';

/** Four weeks: about 1,000 races in ten pages, little to read again if its results change meanwhile. */
const windowDays = 28;

/** What a year of GB and IRE racing takes: about 12,900 races, and a part-filled last page a window. */
export const typicalSweepRequests = 135;

/** The tallies of all requested types, so that one pass over the races feeds them all. */
class TalliesByType {
  races = 0;
  private readonly byType: Map<EntityTypeName, Tallies>;

  constructor(types: readonly EntityType[], window: StatisticsWindow) {
    this.byType = new Map(types.map((type) => [type.name, new Tallies(type, window)]));
  }

  count(race: Race): void {
    this.races += 1;
    for (const tallies of this.byType.values()) tallies.count(race);
  }

  add(other: TalliesByType): void {
    this.races += other.races;
    for (const [name, tallies] of this.byType) tallies.add(other.of(name));
  }

  of(name: EntityTypeName): Tallies {
    const tallies = this.byType.get(name);
    if (tallies === undefined) throw new Error(`The sweep was not asked for ${name}`);
    return tallies;
  }
}

/** What one sweep gathered. */
export interface Sweep {
  /** How many races of the whole year were counted. */
  races: number;
  tallies(type: EntityType): Tallies;
  source: StatisticsSource;
}

/** Oldest first: /v1/results reaches back 365 days, and at midnight the first of them is out of its reach. */
function sweepQueries(window: StatisticsWindow): ResultsQuery[] {
  const queries: ResultsQuery[] = [];
  for (let end = window.today; end >= window.start; end = addDays(end, -windowDays)) {
    const start = addDays(end, 1 - windowDays);
    queries.unshift({
      path: '/results',
      startDate: start > window.start ? start : window.start,
      endDate: end,
    });
  }
  return queries;
}

/**
 * Reads every GB and IRE race of the window once and gathers the statistics of all entities of all `types`.
 * `onPages` is told how many pages have been read so far.
 * @throws FatalError: a sweep is complete or it is nothing
 */
export async function sweep(
  api: RacingApi,
  types: readonly EntityType[],
  window: StatisticsWindow,
  onPages: (pages: number) => void,
): Promise<Sweep> {
  const countedApi = countingPages(api, onPages);
  const all = new TalliesByType(types, window);
  const countedRaces = new Set<string>();

  /** False for a race whose date was corrected meanwhile, so that it turns up in a second window. */
  function claim(raceIds: Set<string>): boolean {
    for (const id of raceIds) if (countedRaces.has(id)) return false;
    for (const id of raceIds) countedRaces.add(id);
    return true;
  }

  async function sweepWindow(query: ResultsQuery): Promise<void> {
    all.add(await readCompleteResults(countedApi, query, () => new TalliesByType(types, window), claim));
  }

  try {
    const [first, ...rest] = sweepQueries(window);
    // Alone, so that a plan without this endpoint is refused once and not by every request in flight.
    if (first) await sweepWindow(first);
    await Promise.all(rest.map(sweepWindow));
  } catch (error) {
    throw error instanceof ResultsError ? sweepFailure(error) : error;
  }

  return {
    races: all.races,
    tallies: (type) => all.of(type.name),
    source: {
      strategy: 'sweep',
      batchSize: 1000,
      writesInFlight: 4,
      *outcomes(type, entities) {
        const tallies = all.of(type.name);
        for (const entity of entities) yield outcomeOf(entity, tallies.statistics(entity.id), window.start);
      },
    },
  };
}

function countingPages(api: RacingApi, onPages: (pages: number) => void): Pick<RacingApi, 'resultsPage'> {
  let pages = 0;
  return {
    async resultsPage(query, skip) {
      const page = await api.resultsPage(query, skip);
      pages += 1;
      onPages(pages);
      return page;
    },
  };
}

function sweepFailure(error: ResultsError): FatalError {
  const what = `The sweep of /results is not complete: ${error.message}. Nothing was written.`;
  switch (error.kind) {
    case 'not-found':
      return new FatalError(
        exitCodes.apiRefused,
        `${what} The plan or RACING_API_BASE_URL does not offer /results.`,
        {
          cause: error,
        },
      );
    case 'unavailable':
      return new FatalError(exitCodes.apiUnavailable, `${what} Run again when the API answers.`, {
        cause: error,
      });
    default:
      return new FatalError(
        exitCodes.unsafeToWrite,
        `${what} Run again; if it stays so, use --strategy walk and see whether the API has changed.`,
        { cause: error },
      );
  }
}
