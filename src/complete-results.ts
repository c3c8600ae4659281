import { ResultsError } from './errors.js';
import type { RacingApi, ResultsQuery } from './racing-api.js';
import { pageSize, type ResultsPage } from './results-page.js';
import type { Race } from './statistics.js';

const tries = 3;

/**
 * Reads all pages of a query, counts each race once in a tally of the caller's, and accepts only what adds up to
 * the API's `total`. Races that appear, vanish or shift to another page meanwhile make it read again into a new
 * tally, at most three times in all. `accept` may refuse a reading by the ids of its races.
 * @throws ResultsError, FatalError
 */
export async function readCompleteResults<Tally extends { count(race: Race): void }>(
  api: Pick<RacingApi, 'resultsPage'>,
  query: ResultsQuery,
  newTally: () => Tally,
  accept: (raceIds: Set<string>) => boolean = () => true,
): Promise<Tally> {
  for (let attempt = 1; attempt <= tries; attempt += 1) {
    const tally = newTally();
    const raceIds = await readOnce(api, query, tally);
    if (raceIds && accept(raceIds)) return tally;
  }
  throw new ResultsError('unusable', `its results did not add up to their total in ${tries} readings`);
}

/** The ids of the races read; undefined if the pages do not fit together. */
async function readOnce(
  api: Pick<RacingApi, 'resultsPage'>,
  query: ResultsQuery,
  tally: { count(race: Race): void },
): Promise<Set<string> | undefined> {
  const raceIds = new Set<string>();
  const take = ({ races }: ResultsPage) => {
    for (const race of races) {
      if (raceIds.has(race.race_id)) continue;
      raceIds.add(race.race_id);
      tally.count(race);
    }
  };

  const first = await api.resultsPage(query, 0);
  take(first);
  const skips: number[] = [];
  for (let skip = pageSize; skip < first.total; skip += pageSize) skips.push(skip);
  let totalStayed = true;
  await Promise.all(
    skips.map(async (skip) => {
      const page = await api.resultsPage(query, skip);
      if (page.total === first.total) take(page);
      else totalStayed = false;
    }),
  );
  return totalStayed && raceIds.size === first.total ? raceIds : undefined;
}
