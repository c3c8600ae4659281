import { type Entity, type EntityType, entityTypes, type Selection } from './entity-types.js';
import { formatCount } from './format.js';
import type { Remembered, Season } from './season.js';
import { addDays, daysBetween, isWithin, type Race, type StatisticsWindow, type Tallies, win } from './statistics.js';

/** A reason not to believe what was read, for people, and the days that it is about (YYYY-MM-DD). */
export interface Doubt {
  what: string;
  days: readonly string[];
  /** How often these days are read again before that ends the run. */
  readings: number;
}

/** A sweep, and what was known before it. */
export interface Evidence {
  season: Season;
  tallies: Tallies;
  window: StatisticsWindow;
  /** Undefined where there is none that can be used as a witness. */
  remembered: Remembered | undefined;
  selections: readonly Selection[];
}

/** So old, at most, a season is a witness, in days. */
const witnessDays = 30;
const stretchDays = 28;

/** How many times four weeks a day lies back. */
export function fourWeeksAgo(date: string, { today }: StatisticsWindow): number {
  return Math.floor(daysBetween(date, today) / stretchDays);
}

/** The days of those four weeks that are in the window. */
export function daysOfFourWeeks(ago: number, { start, today }: StatisticsWindow): StatisticsWindow {
  const last = addDays(today, -stretchDays * ago);
  const first = addDays(last, 1 - stretchDays);
  return { start: first < start ? start : first, today: last };
}

/** The season, if it can be a witness: it is no older than 30 days. */
export function asWitness(remembered: Remembered | undefined, { today }: StatisticsWindow) {
  const age = remembered ? daysBetween(remembered.asOf, today) : -1;
  return age >= 0 && age <= witnessDays ? remembered : undefined;
}

/** What speaks against a sweep that adds up: that it has too little, by itself, by the last one or by stored dates. */
export function doubtsAbout(evidence: Evidence): Doubt[] {
  const { season, window, remembered, selections } = evidence;
  const raceDays: string[] = [];
  let wins = 0;
  for (const race of season.races(window)) {
    raceDays.push(race.date);
    if (hasWinner(race)) wins += 1;
  }
  const doubts = emptyStretches(raceDays, window);
  if (raceDays.length > 0 && wins === 0) {
    doubts.push({ what: 'the API has no winner of any race of the last 365 days', days: [], readings: 0 });
  }
  if (remembered) doubts.push(...lostRaces(season, window, remembered));
  return [...doubts, ...selections.flatMap((selection) => lostDates(selection, evidence))];
}

const hasWinner = ({ runners }: Race) => runners.some(({ position }) => win(position));

/** Four weeks without any race, counted back from today; or anywhere, where twenty would be usual in that time. */
function emptyStretches(raceDays: readonly string[], window: StatisticsWindow): Doubt[] {
  const { start, today } = window;
  const raced = new Set(raceDays);
  const perDay = raceDays.length / (daysBetween(start, today) + 1);
  const stretches: string[][] = [[]];
  for (let day = start; day <= today; day = addDays(day, 1)) {
    if (raced.has(day)) stretches.push([]);
    else stretches.at(-1)?.push(day);
  }
  const isDoubtful = (days: readonly string[]) => {
    const [oldest, newest] = [days[0] ?? today, days.at(-1) ?? today].map((day) => daysBetween(day, today));
    const nextStart = Math.ceil((newest ?? 0) / stretchDays) * stretchDays;
    return nextStart + stretchDays - 1 <= (oldest ?? 0) || (days.length >= stretchDays && days.length * perDay >= 20);
  };
  return stretches.filter(isDoubtful).map((days) => {
    const what = `the API has no GB or IRE race at all from ${days[0]} to ${days.at(-1)}`;
    return { what, days, readings: 2 };
  });
}

/** No loss where few days are looked at: the race is there. */
export const moved = 'on another day';

/** What has become of a race that was known; undefined if nothing is wrong with it. */
function lossOf(then: Race, now: Race | undefined): string | undefined {
  if (now === undefined) return 'missing';
  if (hasWinner(then) && !hasWinner(now)) return 'without a winner';
  if (now.runners.length < then.runners.length / 2) return 'without most of their runners';
  const known = entityTypes.map(({ runnerIdField }) => {
    const ids = new Set(then.runners.map((runner) => runner[runnerIdField]));
    const left = new Set(now.runners.map((runner) => runner[runnerIdField]));
    return [...ids].filter((id) => left.has(id)).length >= ids.size / 2;
  });
  if (known.includes(false)) return 'with other runners';
  return now.date === then.date ? undefined : moved;
}

/**
 * The races of the last season that are of some days of the window and have lost something, and whether so many are too
 * many.
 */
export function lossesSince(
  remembered: Remembered,
  season: Season,
  window: StatisticsWindow,
  days: StatisticsWindow = window,
) {
  const groups = new Map<string, { known: number; lost: number; areTooMany: TooMany }>();
  const lost: { race: Race; loss: string }[] = [];
  let known = 0;
  for (const race of remembered.season.races(days)) {
    known += 1;
    const loss = lossOf(race, season.counted(race.race_id, window));
    if (loss) lost.push({ race, loss });
    for (const [name, areTooMany] of groupsOf(race, window)) {
      const group = groups.get(name) ?? { known: 0, lost: 0, areTooMany };
      groups.set(name, group);
      group.known += 1;
      // A meeting may be told of another day than at first.
      if (loss && (loss !== moved || name === 'all')) group.lost += 1;
    }
  }
  return { lost, known, areTooMany: [...groups.values()].some((one) => one.areTooMany(one.lost, one.known)) };
}

type TooMany = (lost: number, known: number) => boolean;

/** A few are legal: a race is made void, an objection is upheld. */
const few = 3;
const ofAll: TooMany = (lost, known) => lost > 20 && lost > known * 0.005;
const ofPart: TooMany = (lost, known) => known >= 10 && lost >= few && lost > known * 0.05;
const ofDay: TooMany = (lost, known) => known >= 5 && lost > known / 2;

/** The groups of races that a race is one of, and how many of each would be too many. */
function groupsOf({ date, region }: Race, window: StatisticsWindow): [string, TooMany][] {
  return [
    ['all', ofAll],
    [region, ofPart],
    [`four weeks, ${fourWeeksAgo(date, window)} times before`, ofPart],
    [date, ofDay],
  ];
}

function lostRaces(season: Season, window: StatisticsWindow, remembered: Remembered): Doubt[] {
  const { lost, known, areTooMany } = lossesSince(remembered, season, window);
  return areTooMany ? [{ what: describeLosses(remembered, lost, known), days: daysOf(lost), readings: 1 }] : [];
}

type Losses = ReturnType<typeof lossesSince>['lost'];

const daysOf = (lost: Losses) => lost.map(({ race }) => race.date).sort();

/** Which regions, days and how many races, in one line. */
export function describeLosses({ asOf }: Remembered, lost: Losses, known: number): string {
  const counted = new Map<string, number>();
  for (const { race, loss } of lost) {
    const kind = `of ${race.region.toUpperCase()} ${loss}`;
    counted.set(kind, (counted.get(kind) ?? 0) + 1);
  }
  const kinds = [...counted].map(([kind, count]) => `${formatCount(count)} ${kind}`).join(', ');
  const days = [...new Set(daysOf(lost))];
  const when = days.length === 1 ? `on ${days[0]}` : `from ${days[0]} to ${days.at(-1)}`;
  const what = `${formatCount(lost.length)} of ${formatCount(known)} races that the API had on ${asOf} are not as they were`;
  return `${what} (${kinds}; ${when})`;
}

/** The stored dates are the witness of what no season knows: it had not seen its last day to the end. */
function lostDates({ type, all }: Selection, { tallies, window, remembered }: Evidence): Doubt[] {
  const { asOf = '', season } = remembered ?? {};
  const seen = new Set<string>();
  for (const { runners } of season?.races({ start: asOf, today: asOf }) ?? []) {
    for (const { [type.runnerIdField]: id } of runners) seen.add(id);
  }
  const isUnknown = (id: string, lastDate: string) => lastDate > asOf || (lastDate === asOf && !seen.has(id));
  let active = 0;
  const days: string[] = [];
  for (const { id, lastDate } of all) {
    if (lastDate === null || !isWithin(window, lastDate)) continue;
    active += 1;
    if ((tallies.lastDate(type, id) ?? '') < lastDate && isUnknown(id, lastDate)) days.push(lastDate);
  }
  if (days.length < few || days.length <= active * 0.05) return [];
  days.sort();
  const of = `${formatCount(days.length)} of ${formatCount(active)} ${type.name}`;
  const what = `${of} have no race any more, or only older ones, by the dates that the database has of them`;
  return [{ what: `${what} (${days[0]} to ${days.at(-1)})`, days, readings: 1 }];
}

/**
 * Those of the entities, which have a stored date in the window and no race any more, of which two readings agree on
 * that: the season of an earlier day had no race of them either, or a race that it had of them is there without them.
 */
export function goneByTwoReadings(type: EntityType, entities: readonly Entity[], evidence: Evidence): Set<string> {
  const { season, remembered, window } = evidence;
  if (remembered === undefined || entities.length === 0) return new Set();
  const had = new Map<string, boolean>();
  const ids = new Set(entities.map(({ id }) => id));
  for (const { race_id, runners } of remembered.season.races(window)) {
    const isThere = season.counted(race_id, window) !== undefined;
    for (const { [type.runnerIdField]: id } of runners) {
      if (ids.has(id)) had.set(id, had.get(id) === true || isThere);
    }
  }
  const isOlder = remembered.asOf < window.today;
  const gone = entities.filter(
    ({ id, lastDate }) => had.get(id) ?? (isOlder && lastDate !== null && lastDate < remembered.asOf),
  );
  return new Set(gone.map(({ id }) => id));
}
