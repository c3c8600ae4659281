import { ResultsError } from './errors.js';
import { pageSize, type ResultsPage, type ResultsQuery } from './racing-api.js';
import { addDays, daysBetween, type Race } from './statistics.js';

/** Asks for the page of a query that begins after its first `skip` races. */
export type ReadPage = (query: ResultsQuery, skip: number) => Promise<ResultsPage>;

/** What is kept of a race until all are read. */
type Keep<Kept> = (race: Race) => Kept;

/** How often a query whose results change meanwhile is read. */
export const readings = 3;

/**
 * Reads all pages of a query: what is kept of its races, each once, by id. Accepts only what adds up to the API's
 * `total`: races that appear, vanish or shift to another page meanwhile make it read again, at most three times in all.
 * Throws ResultsError or FatalError.
 */
export async function readCompletely<Kept>(query: ResultsQuery, readPage: ReadPage, keep: Keep<Kept>) {
  for (let reading = 1; reading <= readings; reading += 1) {
    const races = await readOnce(query, readPage, keep);
    if (races) return races;
  }
  throw notAddingUp();
}

function notAddingUp(): ResultsError {
  return new ResultsError('unusable', `its results did not add up to their total in ${readings} readings`);
}

/** What is kept of the races of all pages; undefined if the pages do not fit together. */
async function readOnce<Kept>(
  query: ResultsQuery,
  readPage: ReadPage,
  keep: Keep<Kept>,
  firstPage = readPage(query, 0),
): Promise<Map<string, Kept> | undefined> {
  const kept = new Map<string, Kept>();
  const take = ({ races }: ResultsPage) => {
    for (const race of races) if (!kept.has(race.race_id)) kept.set(race.race_id, keep(race));
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
  return totalStayed && kept.size === first.total ? kept : undefined;
}

/**
 * Reads windows one after the other, for the pages of each should be of one moment, and takes what is kept of the races
 * of each, or of a part of it, once it was read completely. Only the next one's first page is asked for ahead, so that
 * the account never waits to hear how many there are. Throws as `readCompletely` does.
 */
export async function readInTurn<Kept>(
  queries: readonly ResultsQuery[],
  readPage: ReadPage,
  keep: Keep<Kept>,
  take: (races: ReadonlyMap<string, Kept>) => void,
): Promise<void> {
  /** In halves when its results change meanwhile, and those once more in halves. */
  async function readWindow(query: ResultsQuery, first = readPage(query, 0), reading = 1): Promise<void> {
    const races = await readOnce(query, readPage, keep, first);
    if (races) return take(races);
    if (reading === readings) throw notAddingUp();
    for (const half of halvesOf(query)) await readWindow(half, undefined, reading + 1);
  }

  async function readOn([query, ...rest]: readonly ResultsQuery[], first = query && readPage(query, 0)): Promise<void> {
    if (query === undefined || first === undefined) return;
    const next = rest[0] && readPage(rest[0], 0);
    const goOn = async () => {
      await first;
      await readOn(rest, next);
    };
    await Promise.all([readWindow(query, first), goOn(), next]);
  }

  await readOn(queries);
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
