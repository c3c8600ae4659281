import type { Checkpoint } from './checkpoint.js';
import type { Database } from './database.js';
import type { EntityType } from './entity-types.js';
import type { Progress } from './progress.js';
import { type EntityRow, instantMs } from './rows.js';
import type { Entity } from './statistics-source.js';

/** Which of a type's entities a run takes. */
export interface SelectionOptions {
  /**
   * Leaves out entities whose statistics are of this instant (milliseconds since 1970) or later; null leaves out
   * none. Minus infinity leaves out all that have statistics.
   */
  freshSinceMs: number | null;
  /** Ids to leave out because an earlier run has written them. */
  writtenIds: ReadonlySet<string>;
  /** At most so many, counted after the above; null for all. */
  limit: number | null;
  /** The date (YYYY-MM-DD) from which on an entity counts as recently active. */
  recentSince: string;
}

/** The entities of one type that a run takes, the most recently active first. */
export interface Selection {
  type: EntityType;
  entities: Entity[];
  /** How many `freshSinceMs` and `writtenIds` left out. */
  skipped: number;
  /** How many entities of the whole type were recently active by their stored date. */
  recentlyActive: number;
}

/** Selects from all types at once, each with the checkpoint that the run goes on from. */
export async function selectAll(
  checkpoints: readonly Checkpoint[],
  options: Omit<SelectionOptions, 'writtenIds'>,
  { database, progress, stop }: { database: Database; progress: Progress; stop: AbortController },
): Promise<(Selection & { checkpoint: Checkpoint })[]> {
  const rows = await Promise.all(checkpoints.map(({ type }) => database.checkTable(type)));
  const total = rows.reduce((sum, one) => sum + one, 0);
  const phase = progress.phase('selecting', total);
  let done = 0;
  const onRows = (more: number) => {
    done += more;
    phase.update({ done });
  };
  const selections = await Promise.all(
    checkpoints.map(async (checkpoint) => {
      const { type, writtenIds } = checkpoint;
      const typeOptions = { ...options, writtenIds };
      const selection = await selectEntities(database, type, typeOptions, stop.signal, onRows);
      return { ...selection, checkpoint };
    }),
  );
  // The test rows were counted and are not selected.
  phase.update({ done, total: done });
  return selections;
}

/**
 * Reads a type's entities, telling `onRows` of each page, and selects from them.
 * @throws FatalError; the signal's reason when stopped meanwhile
 */
export async function selectEntities(
  database: Database,
  type: EntityType,
  options: SelectionOptions,
  signal: AbortSignal,
  onRows: (rows: number) => void = () => {},
): Promise<Selection> {
  const entities: Entity[] = [];
  let skipped = 0;
  let recentlyActive = 0;
  for await (const page of database.entities(type)) {
    signal.throwIfAborted();
    onRows(page.length);
    for (const row of page) {
      if (row.lastDate !== null && row.lastDate >= options.recentSince) recentlyActive += 1;
      if (isLeftOut(row, options)) skipped += 1;
      else entities.push({ id: row.id, name: row.name, lastDate: row.lastDate });
    }
  }
  // The sort is stable: entities of the same date stay in the order of their ids.
  entities.sort((a, b) => compareText(b.lastDate ?? '', a.lastDate ?? ''));
  const selected = options.limit === null ? entities : entities.slice(0, options.limit);
  return { type, entities: selected, skipped, recentlyActive };
}

function isLeftOut(row: EntityRow, { freshSinceMs, writtenIds }: SelectionOptions): boolean {
  const fresh =
    freshSinceMs !== null && row.statsUpdatedAt !== null && instantMs(row.statsUpdatedAt) >= freshSinceMs;
  return fresh || writtenIds.has(row.id);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
