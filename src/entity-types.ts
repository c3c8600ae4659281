/** The plural names by which the command line, the files and the API know the three entity types. */
export type EntityTypeName = 'jockeys' | 'trainers' | 'owners';

/** Everything that differs between jockeys, trainers and owners. */
export interface EntityType {
  /** Also the API's path segment: `/{name}/{id}/results`. */
  name: EntityTypeName;
  table: string;
  /** The runner's field that bears the entity's id. */
  runnerIdField: 'jockey_id' | 'trainer_id' | 'owner_id';
  /** What its columns call one run, and several: see the names in statistics.ts. */
  words: { run: string; runs: string };
}

/** A jockey has rides; a trainer or an owner has runs, by runners. */
export const entityTypes: readonly EntityType[] = [
  { name: 'jockeys', table: 'ra_jockeys', runnerIdField: 'jockey_id', words: { run: 'ride', runs: 'rides' } },
  { name: 'trainers', table: 'ra_trainers', runnerIdField: 'trainer_id', words: { run: 'runner', runs: 'runs' } },
  { name: 'owners', table: 'ra_owners', runnerIdField: 'owner_id', words: { run: 'runner', runs: 'runs' } },
];

/** A row of one of the three tables, without its statistics. */
export interface Entity {
  id: string;
  name: string;
  /** The stored date (YYYY-MM-DD) of its last ride or run. */
  lastDate: string | null;
  /** Its stored rides or runs of the last 30 days. */
  recentRuns: number;
  /** Its stored wins of the last 30 days. */
  recentWins: number;
  /** The stored date of its last win. */
  lastWinDate: string | null;
  /** When its statistics were written, in milliseconds since 1970; null for an entity without statistics. */
  statsUpdatedAtMs: number | null;
}

/** So many make a text of some 6 kB. */
const packSize = 100;

/** Entities in order, in a third of the memory that they take as objects: a table may have half a million of them. */
export class Entities implements Iterable<Entity> {
  private packs: Buffer[] = [];
  private unpacked: Entity[] = [];
  length = 0;

  constructor(entities: Iterable<Entity> = []) {
    for (const entity of entities) this.add(entity);
  }

  add(entity: Entity): void {
    this.length += 1;
    if (this.unpacked.push(entity) === packSize) this.pack();
  }

  /** Those of all parts, one part after the other. */
  static inTurn(parts: Iterable<Entities>): Entities {
    const all = new Entities();
    for (const part of parts) {
      part.pack();
      all.length += part.length;
      for (const pack of part.packs) all.packs.push(pack);
    }
    return all;
  }

  filter(test: (entity: Entity) => boolean): Entities {
    const some = new Entities();
    for (const entity of this) if (test(entity)) some.add(entity);
    return some;
  }

  first(count: number): Entities {
    const some = new Entities();
    for (const entity of this) {
      if (some.length === count) break;
      some.add(entity);
    }
    return some;
  }

  *[Symbol.iterator](): Generator<Entity> {
    for (const pack of this.packs) yield* (JSON.parse(pack.toString()) as Fields[]).map(withNames);
    yield* this.unpacked;
  }

  private pack(): void {
    // As UTF-8: of a text with a single letter beyond Latin-1 each letter would take two bytes.
    this.packs.push(Buffer.from(JSON.stringify(this.unpacked.map(withoutNames))));
    this.unpacked = [];
  }
}

type Fields = ReturnType<typeof withoutNames>;

function withoutNames({ id, name, lastDate, recentRuns, recentWins, lastWinDate, statsUpdatedAtMs }: Entity) {
  return [id, name, lastDate, recentRuns, recentWins, lastWinDate, statsUpdatedAtMs] as const;
}

function withNames([id, name, lastDate, recentRuns, recentWins, lastWinDate, statsUpdatedAtMs]: Fields): Entity {
  return { id, name, lastDate, recentRuns, recentWins, lastWinDate, statsUpdatedAtMs };
}

/** The entities of one type that a run takes, the most recently active first. */
export interface Selection {
  type: EntityType;
  entities: Entities;
  /** How many of the type the run's options leave out. */
  skipped: number;
  /** All of the type, taken or not. */
  all: Entities;
}
