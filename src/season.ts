import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import * as z from 'zod';
import { type Entity, type EntityType, type EntityTypeName, entityTypes, type Selection } from './entity-types.js';
import { errorCode } from './errors.js';
import type { Tell } from './events.js';
import { writeWholeFile } from './files/whole-file.js';
import { formatCount } from './format.js';
import {
  addDays,
  counts,
  daysBetween,
  isWithin,
  type Race,
  type StatisticsWindow,
  type Tallies,
  win,
} from './statistics.js';

/** A race as the season keeps it, and as its file has it: each runner is four places among the season's names. */
type KeptRace = readonly [id: string, date: string, region: string, runners: readonly number[]];

/** All races of a sweep, in a tenth of the memory that their pages take: a name that occurs often is held once. */
export class Season {
  private readonly names: string[];
  private readonly places: Map<string, number>;
  private readonly kept: Map<string, KeptRace>;

  constructor(names: string[] = [], races: readonly KeptRace[] = []) {
    this.names = names;
    this.places = new Map(names.map((name, place) => [name, place]));
    this.kept = new Map(races.map((race) => [race[0], race]));
  }

  /** What to keep of a race, which does not make it one of the season's yet. */
  readonly keep = ({ race_id, date, region, runners }: Race): KeptRace => {
    const fields = runners.flatMap((one) => [one.position, one.jockey_id, one.trainer_id, one.owner_id]);
    return [race_id, date, region, fields.map((name) => this.placeOf(name))];
  };

  private placeOf(name: string): number {
    const known = this.places.get(name);
    if (known !== undefined) return known;
    this.places.set(name, this.names.length);
    return this.names.push(name) - 1;
  }

  /** Takes a race as it is now. */
  put(race: KeptRace): void {
    this.kept.set(race[0], race);
  }

  has(id: string): boolean {
    return this.kept.has(id);
  }

  get(id: string): Race | undefined {
    const race = this.kept.get(id);
    return race && this.raceOf(race);
  }

  private raceOf([race_id, date, region, places]: KeptRace): Race {
    const runners: Race['runners'] = [];
    const nameAt = (at: number) => this.names[places[at] ?? -1] ?? '';
    for (let at = 0; at < places.length; at += 4) {
      const [position, jockey_id, trainer_id, owner_id] = [nameAt(at), nameAt(at + 1), nameAt(at + 2), nameAt(at + 3)];
      runners.push({ position, jockey_id, trainer_id, owner_id });
    }
    return { race_id, date, region, runners };
  }

  /** The season without its races of these days, both included. */
  without(startDate: string, endDate: string): Season {
    const others = [...this.kept.values()].filter(([, date]) => date < startDate || date > endDate);
    return new Season(this.names, others);
  }

  get size(): number {
    return this.kept.size;
  }

  /** Its races of these days that count. */
  *races(days: StatisticsWindow): Generator<Race> {
    for (const race of this.kept.values()) {
      // Before it takes shape: most of the time a few days are asked for.
      if (!isWithin(days, race[1])) continue;
      const whole = this.raceOf(race);
      if (counts(whole, days)) yield whole;
    }
  }

  /** As its file has it. */
  toJSON() {
    return { names: this.names, races: [...this.kept.values()] };
  }
}

/** The season of an earlier sweep, and what was written from it; instants as ISO text. */
export interface Remembered {
  season: Season;
  /** The UTC date that was today. */
  asOf: string;
  readAt: string;
  /** The types of which every row was written from it. */
  wholeTypes: readonly EntityTypeName[];
  /** The first and the last stats_updated_at of those rows. */
  writtenFrom: string;
  writtenTo: string;
}

const isWord = (value: unknown) => typeof value === 'string';
/** No schema of zod's for each of half a million numbers: it would copy them. */
function isKeptRace(race: unknown): boolean {
  const [, date, , places] = Array.isArray(race) && race.slice(0, 3).every(isWord) ? race : [];
  return (
    /^\d{4}-\d\d-\d\d$/.test(date) &&
    !Number.isNaN(Date.parse(date)) &&
    Array.isArray(places) &&
    places.length % 4 === 0
  );
}

const seasonSchema = z.object({
  version: z.literal(1),
  as_of: z.iso.date(),
  read_at: z.iso.datetime(),
  whole_types: z.array(z.enum(entityTypes.map(({ name }) => name))),
  written_from: z.iso.datetime(),
  written_to: z.iso.datetime(),
  names: z.array(z.string()),
  races: z.custom<KeptRace[]>((races) => Array.isArray(races) && races.every(isKeptRace)),
});

const seasonPath = (directory: string) => join(directory, 'season.json.gz');

/** The season of the last sweep; undefined, and a line is told, if there is none that can be used. */
export async function readSeason(directory: string, tell: Tell): Promise<Remembered | undefined> {
  const path = seasonPath(directory);
  try {
    const text = await promisify(gunzip)(await readFile(path));
    const { names, races, ...found } = seasonSchema.parse(JSON.parse(text.toString()));
    const isPlace = (place: unknown) => typeof place === 'number' && names[place] !== undefined;
    if (!races.every(([, , , places]) => places.every(isPlace))) throw new Error('A place without a name');
    return {
      season: new Season(names, races),
      asOf: found.as_of,
      readAt: found.read_at,
      wholeTypes: found.whole_types,
      writtenFrom: found.written_from,
      writtenTo: found.written_to,
    };
  } catch (error) {
    const why = errorCode(error) === 'ENOENT' ? 'there is none' : `${path} cannot be used`;
    tell({ kind: 'line', line: `No season of an earlier sweep: ${why}.` });
    return undefined;
  }
}

/** The content of a season's file, which takes a moment to make. */
export async function packSeason(remembered: Remembered): Promise<Uint8Array> {
  const content = {
    version: 1,
    as_of: remembered.asOf,
    read_at: remembered.readAt,
    whole_types: remembered.wholeTypes,
    written_from: remembered.writtenFrom,
    written_to: remembered.writtenTo,
    ...remembered.season.toJSON(),
  };
  return await promisify(gzip)(JSON.stringify(content), { level: 4 });
}

/** Saves a season in place of the one before. Throws FatalError (files unusable). */
export function saveSeason(directory: string, packed: Uint8Array): void {
  const path = seasonPath(directory);
  // Runs of different types end side by side.
  writeWholeFile(path, packed, `${path}.${process.pid}.tmp`);
}

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
function lossOf(then: Race, now: Race | undefined, window: StatisticsWindow): string | undefined {
  // One that is there and does not count, for its region or its date, is missing all the same.
  if (now === undefined || !counts(now, window)) return 'missing';
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
    const loss = lossOf(race, season.get(race.race_id), window);
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
function groupsOf({ date, region }: Race, { today }: StatisticsWindow): [string, TooMany][] {
  const weeks = Math.floor(daysBetween(date, today) / stretchDays);
  return [
    ['all', ofAll],
    [region, ofPart],
    [`four weeks, ${weeks} times before`, ofPart],
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
function lostDates({ type, recentlyActive }: Selection, { tallies, remembered }: Evidence): Doubt[] {
  const { asOf = '', season } = remembered ?? {};
  const seen = new Set<string>();
  for (const { runners } of season?.races({ start: asOf, today: asOf }) ?? []) {
    for (const { [type.runnerIdField]: id } of runners) seen.add(id);
  }
  const isUnknown = (id: string, lastDate: string) => lastDate > asOf || (lastDate === asOf && !seen.has(id));
  const lost = recentlyActive.filter(
    ({ id, lastDate }) => (tallies.lastDate(type, id) ?? '') < lastDate && isUnknown(id, lastDate),
  );
  if (lost.length < few || lost.length <= recentlyActive.length * 0.05) return [];
  const days = lost.map(({ lastDate }) => lastDate).sort();
  const of = `${formatCount(lost.length)} of ${formatCount(recentlyActive.length)} ${type.name}`;
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
  const isThere = ({ race_id }: Race) => {
    const now = season.get(race_id);
    return now !== undefined && counts(now, window);
  };
  const had = new Map<string, boolean>();
  const ids = new Set(entities.map(({ id }) => id));
  for (const race of remembered.season.races(window)) {
    for (const { [type.runnerIdField]: id } of race.runners) {
      if (ids.has(id)) had.set(id, had.get(id) === true || isThere(race));
    }
  }
  const isOlder = remembered.asOf < window.today;
  const gone = entities.filter(
    ({ id, lastDate }) => had.get(id) ?? (isOlder && lastDate !== null && lastDate < remembered.asOf),
  );
  return new Set(gone.map(({ id }) => id));
}
