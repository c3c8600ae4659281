import { ResultsError } from './errors.js';
import { pageSize, type ResultsPage, type ResultsQuery } from './racing-api.js';
import { addDays, daysBetween, type Tallies } from './statistics.js';

/** Asks for the page of a query that begins after its first `skip` races. */
export type ReadPage = (query: ResultsQuery, skip: number) => Promise<ResultsPage>;

/** How often a query whose results change meanwhile is read. */
export const readings = 3;

/**
 * Reads all pages of a query, tallies each race once, and accepts only what adds up to the API's `total`. Races that
 * appear, vanish or shift to another page meanwhile make it read again, at most three times in all. Throws ResultsError
 * or FatalError.
 */
export async function readCompletely(
  query: ResultsQuery,
  readPage: ReadPage,
  newTallies: () => Tallies,
): Promise<Tallies> {
  for (let reading = 1; reading <= readings; reading += 1) {
    const tallies = newTallies();
    if (await readOnce(query, readPage, tallies)) return tallies;
  }
  throw notAddingUp();
}

function notAddingUp(): ResultsError {
  return new ResultsError('unusable', `its results did not add up to their total in ${readings} readings`);
}

/** Tallies the races of all pages and returns their ids; undefined if the pages do not fit together. */
async function readOnce(
  query: ResultsQuery,
  readPage: ReadPage,
  tallies: Tallies,
  firstPage = readPage(query, 0),
): Promise<Set<string> | undefined> {
  const raceIds = new Set<string>();
  const take = ({ races }: ResultsPage) => {
    for (const race of races) {
      if (raceIds.has(race.race_id)) continue;
      raceIds.add(race.race_id);
      tallies.count(race);
    }
  };
  const first = await firstPage;
  take(first);
  const skips: number[] = [];
  for (let skip = pageSize; skip < first.total; skip += pageSize) skips.push(skip);
  let totalStayed = true;
  await Promise.all(
    skips.map(async (skip) => {
      const page = await readPage(query, skip);
      if (page.total === first.total) take(page);
      else totalStayed = false;
    }),
  );
  return totalStayed && raceIds.size === first.total ? raceIds : undefined;
}

/** Takes the tallies and the ids of the races of a window, or of a part of it, that was read completely. */
type Take = (tallies: Tallies, raceIds: ReadonlySet<string>) => void;

/**
 * Reads windows one after the other, for the pages of each should be of one moment. Only the next one's first page is
 * asked for ahead, so that the account never waits to hear how many there are.
 */
export async function readInTurn(
  [query, ...rest]: readonly ResultsQuery[],
  readPage: ReadPage,
  newTallies: () => Tallies,
  take: Take,
  first = query && readPage(query, 0),
): Promise<void> {
  if (query === undefined || first === undefined) return;
  const next = rest[0] && readPage(rest[0], 0);
  const goOn = async () => {
    await first;
    await readInTurn(rest, readPage, newTallies, take, next);
  };
  await Promise.all([readWindow(query, readPage, newTallies, take, first), goOn(), next]);
}

/** Reads a window; in halves when its results change meanwhile, and those once more in halves. */
async function readWindow(
  query: ResultsQuery,
  readPage: ReadPage,
  newTallies: () => Tallies,
  take: Take,
  first = readPage(query, 0),
  reading = 1,
): Promise<void> {
  const tallies = newTallies();
  const raceIds = await readOnce(query, readPage, tallies, first);
  if (raceIds) return take(tallies, raceIds);
  if (reading === readings) throw notAddingUp();
  for (const half of halvesOf(query)) await readWindow(half, readPage, newTallies, take, undefined, reading + 1);
}

/** A single day stays whole. */
function halvesOf(query: ResultsQuery): ResultsQuery[] {
  const { startDate, endDate } = query;
  const middle = addDays(startDate, Math.floor(daysBetween(startDate, endDate) / 2));
  if (middle === endDate) return [query];
  return [
    { ...query, endDate: middle },
    { ...query, startDate: addDays(middle, 1) },
  ];
}
