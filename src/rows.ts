import type { EntityType, StatisticsColumns } from './entity-types.js';
import type { Statistics } from './statistics.js';

/** A row of one of the three tables, without its statistics. */
export interface EntityRow {
  id: string;
  name: string;
  /** The stored date (YYYY-MM-DD) of its last ride or run. */
  lastDate: string | null;
  /** As stored: see `instantMs`. Null for an entity without statistics. */
  statsUpdatedAt: string | null;
}

/** An entity's id and its columns' new values. */
export interface StatisticsRow {
  id: string;
  [column: string]: string | number | null;
}

/** The columns that the program writes, by the names of `type`'s table. */
export function statisticsRow(
  type: EntityType,
  id: string,
  statistics: Statistics,
  statsUpdatedAt: string,
): StatisticsRow {
  const row: StatisticsRow = { id, stats_updated_at: statsUpdatedAt };
  for (const key of Object.keys(type.columns) as (keyof StatisticsColumns)[]) {
    row[type.columns[key]] = statistics[key];
  }
  return row;
}

/** A stored instant in milliseconds since 1970. A `timestamp` column tells no zone; it holds UTC. */
export function instantMs(stored: string): number {
  const hasZone = /(Z|[+-]\d\d(:?\d\d)?)$/.test(stored);
  return Date.parse(hasZone ? stored : `${stored}Z`);
}
