import { readCompleteResults } from './complete-results.js';
import { mapConcurrently } from './concurrently.js';
import type { EntityType } from './entity-types.js';
import { FatalError, ResultsError } from './errors.js';
import type { RacingApi } from './racing-api.js';
import { type Statistics, type StatisticsWindow, Tallies } from './statistics.js';
import { type Entity, type Outcome, outcomeOf, type StatisticsSource } from './statistics-source.js';

export interface WalkOptions {
  api: RacingApi;
  window: StatisticsWindow;
  /** How many entities are gathered at once; the rest of the speed is the request pacer's. */
  concurrency: number;
  stop: AbortController;
}

/** One entity's statistics from its own results endpoint. Throws ResultsError or FatalError. */
export async function walkEntity(
  api: RacingApi,
  type: EntityType,
  id: string,
  window: StatisticsWindow,
): Promise<Statistics> {
  const query = {
    path: `/${type.name}/${encodeURIComponent(id)}/results`,
    startDate: window.start,
    endDate: window.today,
  };
  const tallies = await readCompleteResults(api, query, () => new Tallies(type, window));
  return tallies.statistics(id);
}

/** Gathers statistics entity by entity: at least one request each. */
export function walk({ api, window, concurrency, stop }: WalkOptions): StatisticsSource {
  async function gather(type: EntityType, entity: Entity): Promise<Outcome> {
    try {
      return outcomeOf(entity, await walkEntity(api, type, entity.id, window), window.start);
    } catch (error) {
      if (error instanceof ResultsError) return { entity, failure: error.message };
      throw error;
    }
  }

  /** Undefined when the run was stopped before the entity's results were complete. */
  async function gatherUnlessStopped(type: EntityType, entity: Entity): Promise<Outcome | undefined> {
    if (stop.signal.aborted) return undefined;
    try {
      return await gather(type, entity);
    } catch (error) {
      if (error instanceof FatalError) stop.abort(error);
      if (stop.signal.aborted) return undefined;
      throw error;
    }
  }

  return {
    strategy: 'walk',
    batchSize: 50,
    writesInFlight: 1,
    async *outcomes(type, entities) {
      const [first, ...rest] = entities;
      if (first === undefined) return;
      // Alone, so that an account that may not do this at all is refused once and not by every request in flight.
      yield await gather(type, first);
      for await (const outcome of mapConcurrently(rest, concurrency, (entity) =>
        gatherUnlessStopped(type, entity),
      )) {
        if (outcome) yield outcome;
      }
    },
  };
}
