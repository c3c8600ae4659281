import { Entities, type Entity, type EntityType, type Selection } from './entity-types.js';
import { type ExitCode, exitCodes, FatalError, ResultsError } from './errors.js';
import type { Outcome, Tell } from './events.js';
import { formatCount } from './format.js';
import { pageSize, type RacingApi, type ResultsQuery } from './racing-api.js';
import { type ReadPage, readInTurn, readings } from './reading.js';
import { type Remembered, Season } from './season.js';
import { addDays, daysBetween, isWithin, type StatisticsWindow, Tallies } from './statistics.js';
import {
  asWitness,
  type Doubt,
  daysOfFourWeeks,
  describeLosses,
  doubtsAbout,
  type Evidence,
  fourWeeksAgo,
  goneByTwoReadings,
  lossesSince,
  moved,
} from './witnesses.js';

export interface GatherOptions {
  api: Pick<RacingApi, 'resultsPage' | 'maxInFlight'>;
  window: StatisticsWindow;
  tell: Tell;
  /** Aborted, with a FatalError, to stop asking the API. */
  stop: AbortController;
  /** Writes what a witness contradicts. */
  force: boolean;
}

/**
 * The windows of a sweep, the newest first: each wastes part of its last page, so they are few; and the days whose
 * results still change are in a small one, of which little has to be read again.
 */
const sweepDays = [30, 84, 84, 84, 84];
/** What a year of GB and IRE racing takes: about 12,900 races, and a part-filled last page a window. */
export const typicalSweepRequests = 132;

/**
 * Sweeps all races of the window, while the entities are still being selected and the last season is read, and hears
 * the witnesses before the first outcome; outcomes come type after type.
 * @throws FatalError: a sweep is complete and contradicts nobody, or it is nothing
 */
export async function sweep(
  selecting: Promise<readonly Selection[]>,
  remembering: Promise<Remembered | undefined>,
  types: readonly EntityType[],
  options: GatherOptions,
): Promise<{ season: Season; outcomes: Iterable<Outcome> }> {
  const { window, tell } = options;
  const reading = readWindow(options);
  const [first, last, selections] = await Promise.all([reading, remembering, selecting]);
  const remembered = asWitness(last, window);
  tell({ kind: 'line', line: `Swept ${formatCount(first.size)} races.` });
  let season = first;
  for (let again = 0; ; again += 1) {
    const evidence = { season, tallies: tally(season, types, window), window, remembered, selections };
    const doubts = doubtsAbout(evidence);
    const readable = doubts.filter((doubt) => doubt.readings > again);
    if (readable.length === 0) {
      if (doubts.length > 0) stopUnlessForced(doubts.map(({ what }) => what).join('; '), nothingWritten, options);
      return { season, outcomes: inTurn(selections.map((selection) => outcomesOf(selection, evidence))) };
    }
    for (const { what } of readable) tell({ kind: 'line', line: `Reading again, because ${what}.` });
    season = await readDaysAgain(season, readable, options);
  }
}

/**
 * The outcomes of a type's entities. One that has a stored date in the window and no race is kept as it is. The seasons
 * are looked into now: they need not be kept until all is written.
 */
function outcomesOf({ type, entities }: Selection, evidence: Evidence): Iterable<Outcome> {
  const { tallies, window } = evidence;
  const lacksRaces = ({ id, lastDate }: Entity) =>
    lastDate !== null && isWithin(window, lastDate) && tallies.lastDate(type, id) === null;
  const gone = goneByTwoReadings(type, [...entities.filter(lacksRaces)], evidence);
  function* outcomes(): Generator<Outcome> {
    for (const entity of entities) {
      if (lacksRaces(entity) && !gone.has(entity.id)) yield { type, entity, failure: vanished(entity) };
      else yield { type, entity, row: tallies.row(type, entity.id) };
    }
  }
  return outcomes();
}

function* inTurn(all: readonly Iterable<Outcome>[]): Generator<Outcome> {
  for (const outcomes of all) yield* outcomes;
}

/** Results do not vanish: something is wrong with the answer, or with one race. The row stays as it is. */
function vanished({ lastDate }: Entity): string {
  return `results vanished: the database has ${lastDate} as its last date, the API has no race in the window`;
}

function tally(season: Season, types: readonly EntityType[], window: StatisticsWindow): Tallies {
  const tallies = new Tallies(types, window);
  for (const race of season.races(window)) tallies.count(race);
  return tallies;
}

/** Ends the run with what was not written: throws a FatalError (unsafe to write); or, with --force, tells what it passes. */
export function stopUnlessForced(what: string, unwritten: string, { force, tell, stop }: GatherOptions): void {
  if (force) {
    tell({ kind: 'forced', what });
    tell({ kind: 'line', line: `Going on all the same, for --force: ${what}.` });
    return;
  }
  const advice = 'If you know why this is right, run again with --force.';
  const error = new FatalError(exitCodes.unsafeToWrite, `Stopped, because ${what}. ${unwritten} ${advice}`);
  // Nothing more is to be asked while others are still written.
  stop.abort(error);
  throw error;
}

const nothingWritten = 'Nothing was written.';

/** Every GB and IRE race of the window. */
async function readWindow(options: GatherOptions): Promise<Season> {
  for (let reading = 1; reading <= readings; reading += 1) {
    const season = new Season();
    // A race whose date is corrected meanwhile may be in one window and then in another: then all is read again.
    if (!(await readInto(season, sweepQueries(options.window), options))) return season;
  }
  throw sweepFailure(new ResultsError('unusable', `a race was in two windows in ${readings} readings`));
}

/** Reads the races of the queries into the season. Returns whether it had one of them already. */
async function readInto(season: Season, queries: ResultsQuery[], options: GatherOptions): Promise<boolean> {
  let isTwice = false;
  try {
    await readInTurn(queries, watchedPages(queries, options), season.keep, (races) => {
      for (const [id, race] of races) {
        isTwice ||= season.has(id);
        season.put(race);
      }
    });
    season.forgetPlaces();
    return isTwice;
  } catch (error) {
    throw error instanceof ResultsError ? sweepFailure(error) : error;
  }
}

/** Oldest first: /v1/results reaches back 365 days, and at midnight the first of them is out of its reach. */
function sweepQueries(window: StatisticsWindow): ResultsQuery[] {
  let endDate = window.today;
  const newestFirst = sweepDays.map((days) => {
    const startDate = addDays(endDate, 1 - days);
    const query = resultsOf({ start: startDate, today: endDate });
    endDate = addDays(startDate, -1);
    return query;
  });
  return newestFirst.reverse();
}

/** The season with the doubtful days read again, each with the four weeks that it is in. */
async function readDaysAgain(season: Season, doubts: readonly Doubt[], options: GatherOptions): Promise<Season> {
  const { window } = options;
  const weeks = new Set(doubts.flatMap((doubt) => doubt.days.map((day) => fourWeeksAgo(day, window))));
  const oldestFirst = [...weeks].sort((a, b) => b - a).map((ago) => daysOfFourWeeks(ago, window));
  const others = oldestFirst.reduce((rest, days) => rest.without(days), season);
  await readInto(others, oldestFirst.map(resultsOf), options);
  return others;
}

const resultsOf = ({ start, today }: StatisticsWindow): ResultsQuery => ({
  path: '/results',
  startDate: start,
  endDate: today,
});

/** Tells of each page, and of how many there are: as many as usual of a window that has not answered yet. */
function watchedPages(queries: readonly ResultsQuery[], { api, tell }: GatherOptions): ReadPage {
  const pagesADay = typicalSweepRequests / 366;
  const expected = new Map<string, number>();
  let done = 0;
  const step = () => {
    const total = [...expected.values()].reduce((sum, pages) => sum + pages, 0);
    return { label: 'sweeping', done, total: Math.ceil(total) };
  };
  for (const { startDate, endDate } of queries) {
    expected.set(startDate + endDate, pagesADay * (daysBetween(startDate, endDate) + 1));
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

/** The days that a refresh reads, today with them, and how many of their races may be lost. */
const refreshDays = 3;
const mostLost = 2;
/** The days that it reads where a race is lost: it may only be told of an earlier day now. */
const widerDays = 7;

/**
 * Reads the last three days again and takes the rest from today's season. The outcomes are of the entities whose rows
 * differ by that, and of those whose rows are not of that season: `strays`.
 * @throws FatalError
 */
export async function refresh(
  strays: Promise<readonly Selection[]>,
  remembered: Remembered,
  types: readonly EntityType[],
  options: GatherOptions,
): Promise<{ season: Season; outcomes: Outcome[] }> {
  const { window } = options;
  const last = (days: number) => ({ start: addDays(window.today, 1 - days), today: window.today });
  const [recent, wider] = [last(refreshDays), last(widerDays)];
  const lossesIn = (one: Season) => {
    const { lost, known } = lossesSince(remembered, one, window, recent);
    return { lost: lost.filter(({ loss }) => loss !== moved), known };
  };
  let season = await withRecentRaces(remembered.season, recent, recent, options);
  if (lossesIn(season).lost.length > 0) {
    season = await withRecentRaces(remembered.season, recent, wider, options);
    const { lost, known } = lossesIn(season);
    if (lost.length > mostLost) stopUnlessForced(describeLosses(remembered, lost, known), nothingWritten, options);
  }
  const selections = await strays;
  const evidence = { season, tallies: tally(season, types, window), window, remembered, selections };
  const before = tally(remembered.season, types, window);
  const touched = new Tallies(types, window);
  for (const one of [remembered.season, season]) {
    for (const { race_id } of one.races(recent)) {
      // As it was and as it is, on whatever day.
      for (const race of [remembered.season.get(race_id), season.get(race_id)]) if (race) touched.count(race);
    }
  }
  return { season, outcomes: selections.flatMap((one) => [...changedOutcomes(one, before, touched, evidence)]) };
}

/** The outcomes of the strays, and of entities with a race in the days that were read whose rows are others than before. */
function* changedOutcomes(
  strays: Selection,
  before: Tallies,
  touched: Tallies,
  evidence: Evidence,
): Generator<Outcome> {
  const { type, entities } = strays;
  const fromMs = Date.parse(evidence.remembered?.writtenFrom ?? '');
  for (const outcome of outcomesOf(strays, evidence)) {
    // Why one of before has no new row was told by the run that was to write it.
    const isTold = 'failure' in outcome && (outcome.entity.statsUpdatedAtMs ?? 0) < fromMs;
    if (!isTold) yield outcome;
  }
  const taken = new Set(Array.from(entities, ({ id }) => id));
  const changed = new Entities();
  for (const id of touched.ids(type)) {
    const [then, now] = [before, evidence.tallies].map((tallies) => JSON.stringify(tallies.row(type, id)));
    if (taken.has(id) || then === now || !isText(id)) continue;
    const stored = { lastDate: before.lastDate(type, id), recentRuns: 0, recentWins: 0, lastWinDate: null };
    changed.add({ id, name: '', ...stored, statsUpdatedAtMs: null });
  }
  yield* outcomesOf({ ...strays, entities: changed }, evidence);
}

/** Whether Postgres can hold it: otherwise the database does not, and cannot be asked. */
const isText = (id: string) => !id.includes('\0') && !/\p{Surrogate}/u.test(id);

/** The season with its recent races as they are now, found among those of `days`. */
async function withRecentRaces(
  season: Season,
  recent: StatisticsWindow,
  days: StatisticsWindow,
  options: GatherOptions,
): Promise<Season> {
  const found = new Season();
  await readInto(found, [resultsOf(days)], options);
  const now = season.without(recent);
  for (const race of found.races(days)) {
    const date = season.get(race.race_id)?.date ?? race.date;
    if (isWithin(recent, race.date) || isWithin(recent, date)) now.put(now.keep(race));
  }
  return now;
}
