import type { EntityType } from './entity-types.js';
import type { Statistics } from './statistics.js';

/** A row of one of the three tables, as far as selecting it needs. */
export interface Entity {
  id: string;
  name: string;
  /** The stored date (YYYY-MM-DD) of its last ride or run. */
  lastDate: string | null;
}

/** An entity's complete statistics, or why there are none. */
export type Outcome = { entity: Entity; statistics: Statistics } | { entity: Entity; failure: string };

/** A way to gather statistics: `walk` or `sweep`. */
export interface StatisticsSource {
  strategy: 'walk' | 'sweep';
  /** How many outcomes to write at once, and how many such batches at a time. */
  batchSize: number;
  writesInFlight: number;
  /** The outcomes as they come; ends early, without an error, when the run is stopped. */
  outcomes(type: EntityType, entities: Entity[]): AsyncIterable<Outcome> | Iterable<Outcome>;
}

/**
 * The outcome of an entity whose results were read completely. One that has a stored date inside the window but
 * no race any more keeps its row: results do not vanish, so something is wrong with the answer.
 */
export function outcomeOf(entity: Entity, statistics: Statistics, windowStart: string): Outcome {
  if (statistics.lastDate === null && entity.lastDate !== null && entity.lastDate >= windowStart) {
    return {
      entity,
      failure: `results vanished: the database has ${entity.lastDate} as its last date, the API has no race in the window`,
    };
  }
  return { entity, statistics };
}
