import { newestFirst, type Season, type SeasonRace, type SeasonRunner } from './season.js';

/** The API's path segments and the field of a runner that bears such an entity's id. */
const ID_FIELDS = { jockeys: 'jockey_id', trainers: 'trainer_id', owners: 'owner_id' } as const;
const TYPE_NAMES = Object.keys(ID_FIELDS) as EntityTypeSegment[];

export type EntityTypeSegment = keyof typeof ID_FIELDS;

/** Every race, and every entity's races, newest first, also while races come, change and go. */
export interface ResultsIndex {
  /** Newest first. Not to be changed by the caller. */
  races(): readonly SeasonRace[];
  /** An entity's races, newest first; undefined when there never was such an entity. */
  racesOf(type: EntityTypeSegment, id: string): readonly SeasonRace[] | undefined;
  /** The name of a jockey, trainer or owner; the id itself when it came with a published race. */
  nameOf(id: string): string;
  /** Throws when the race is there already. */
  add(race: SeasonRace): void;
  /** Gives back the removed race. Throws when there is no such race. */
  remove(raceId: string): SeasonRace;
}

/** Makes an index of its own: the season stays as it is. */
export function makeResultsIndex(season: Season): ResultsIndex {
  const races = [...season.races];
  const raceIds = new Set(races.map((race) => race.race_id));
  const names = new Map<string, string>();
  const lists: Record<EntityTypeSegment, Map<string, SeasonRace[]>> = {
    jockeys: new Map(),
    trainers: new Map(),
    owners: new Map(),
  };
  for (const type of TYPE_NAMES) {
    for (const { id, name } of season[type]) {
      names.set(id, name);
      lists[type].set(id, []);
    }
  }
  const listsOf = (race: SeasonRace) =>
    TYPE_NAMES.flatMap((type) => idsIn(race, ID_FIELDS[type]).map((id) => listOf(lists[type], id)));
  // The season's races come newest first, so the lists need no sorting.
  for (const race of races) for (const list of listsOf(race)) list.push(race);

  return {
    races: () => races,
    racesOf: (type, id) => lists[type].get(id),
    nameOf: (id) => names.get(id) ?? id,
    add(race) {
      if (raceIds.has(race.race_id))
        throw new Error(`Race ${race.race_id} is there already; amend it instead.`);
      raceIds.add(race.race_id);
      for (const list of [races, ...listsOf(race)]) insert(list, race);
    },
    remove(raceId) {
      const race = races.find((candidate) => candidate.race_id === raceId);
      if (race === undefined) throw new Error(`There is no race ${raceId} to withdraw or amend.`);
      raceIds.delete(raceId);
      for (const list of [races, ...listsOf(race)]) list.splice(list.indexOf(race), 1);
      return race;
    },
  };
}

/** Every id once, also that of an owner with several runners. */
function idsIn(race: SeasonRace, field: keyof SeasonRunner): string[] {
  return [...new Set(race.runners.map((runner) => runner[field]))];
}

function listOf(lists: Map<string, SeasonRace[]>, id: string): SeasonRace[] {
  const list = lists.get(id) ?? [];
  lists.set(id, list);
  return list;
}

function insert(list: SeasonRace[], race: SeasonRace): void {
  const index = list.findIndex((other) => newestFirst(race, other) < 0);
  list.splice(index === -1 ? list.length : index, 0, race);
}
