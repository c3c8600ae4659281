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
  /** When its statistics were written, in milliseconds since 1970; null for an entity without statistics. */
  statsUpdatedAtMs: number | null;
}

/** The entities of one type that a run takes, the most recently active first. */
export interface Selection {
  type: EntityType;
  entities: readonly Entity[];
  /** How many of the type the run's options leave out. */
  skipped: number;
  /** All of the type, taken or not, whose stored last date lies in the window. */
  recentlyActive: readonly { id: string; lastDate: string }[];
}
