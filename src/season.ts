import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGzip, gunzip } from 'node:zlib';
import * as z from 'zod';
import { type EntityTypeName, entityTypes } from './entity-types.js';
import { errorCode } from './errors.js';
import type { Tell } from './events.js';
import { writeWholeFile } from './files/whole-file.js';
import { counts, isWithin, type Race, type StatisticsWindow } from './statistics.js';

/** A race as the season keeps it, and as its file has it: each runner is four places among the season's names. */
type KeptRace = readonly [id: string, date: string, region: string, runners: readonly number[]];

/** All races of a sweep, in a tenth of the memory that their pages take: a name that occurs often is held once. */
export class Season {
  private readonly names: string[];
  /** Of the names, while races are kept: a season that is only looked into needs none. */
  private places: Map<string, number> | undefined;
  private readonly kept: Map<string, KeptRace>;

  constructor(names: string[] = [], races: readonly KeptRace[] = []) {
    this.names = names;
    this.kept = new Map(races.map((race) => [race[0], race]));
  }

  /** What to keep of a race, which does not make it one of the season's yet. */
  readonly keep = ({ race_id, date, region, runners }: Race): KeptRace => {
    const fields = runners.flatMap((one) => [one.position, one.jockey_id, one.trainer_id, one.owner_id]);
    return [race_id, date, region, fields.map((name) => this.placeOf(name))];
  };

  private placeOf(name: string): number {
    this.places ??= new Map(this.names.map((one, place) => [one, place]));
    const known = this.places.get(name);
    if (known !== undefined) return known;
    this.places.set(name, this.names.length);
    return this.names.push(name) - 1;
  }

  /** Frees what only `keep` needs, and would make again. */
  forgetPlaces(): void {
    this.places = undefined;
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

  /** The race if it counts: one that is there under another region, or out of the window, does not. */
  counted(id: string, window: StatisticsWindow): Race | undefined {
    const race = this.get(id);
    return race && counts(race, window) ? race : undefined;
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

  /** The season without its races of these days. */
  without(days: StatisticsWindow): Season {
    const others = [...this.kept.values()].filter(([, date]) => !isWithin(days, date));
    return new Season(this.names, others);
  }

  get size(): number {
    return this.kept.size;
  }

  /** Its races of these days that count. */
  *races(days: StatisticsWindow): Generator<Race> {
    for (const race of this.kept.values()) {
      const [, date, region] = race;
      // Before it takes shape: most of the time a few days are asked for.
      if (counts({ date, region }, days)) yield this.raceOf(race);
    }
  }

  /** Its JSON as its file has it, after what is told of it; in pieces, for as one text it would take 10 MB. */
  *json(told: object): Generator<string> {
    yield `${JSON.stringify({ ...told, names: this.names }).slice(0, -1)},"races":[`;
    let separator = '';
    for (const race of this.kept.values()) {
      yield separator + JSON.stringify(race);
      separator = ',';
    }
    yield ']}';
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
    const none = errorCode(error) === 'ENOENT' ? 'No' : `${path} cannot be used: no`;
    tell({ kind: 'line', line: `${none} earlier sweep to compare with.` });
    return undefined;
  }
}

/** The content of a season's file, which takes a moment to make. */
export async function packSeason(remembered: Remembered): Promise<Uint8Array> {
  const told = {
    version: 1,
    as_of: remembered.asOf,
    read_at: remembered.readAt,
    whole_types: remembered.wholeTypes,
    written_from: remembered.writtenFrom,
    written_to: remembered.writtenTo,
  };
  const packing = createGzip({ level: 4 });
  const [packed] = await Promise.all([buffer(packing), pipeline(remembered.season.json(told), packing)]);
  return packed;
}

/** Saves a season in place of the one before. Throws FatalError (files unusable). */
export function saveSeason(directory: string, packed: Uint8Array): void {
  const path = seasonPath(directory);
  // Runs of different types end side by side.
  writeWholeFile(path, packed, `${path}.${process.pid}.tmp`);
}
