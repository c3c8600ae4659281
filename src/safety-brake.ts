import { exitCodes, FatalError } from './errors.js';
import { formatCount } from './format.js';
import type { Selection } from './selection.js';
import { addDays, type StatisticsWindow } from './statistics.js';
import type { Sweep } from './sweep.js';

const recentDays = 300;
const tolerableShare = 0.05;

/**
 * Refuses a sweep that is complete by the API's own count and still cannot be true: nothing raced in a year, or
 * too many entities that raced lately by our own database have no race any more.
 * @throws FatalError (unsafe to write)
 */
export function brake(
  sweep: Pick<Sweep, 'races' | 'tallies'>,
  selections: readonly Pick<Selection, 'type' | 'entities' | 'recentlyActive'>[],
  window: StatisticsWindow,
): void {
  if (sweep.races === 0) throw unsafe('the API has no GB or IRE race at all in the last 365 days');
  const recently = recentSince(window);
  let recent = 0;
  let vanished = 0;
  for (const { type, entities, recentlyActive } of selections) {
    const tallies = sweep.tallies(type);
    // Of the whole type: the few that vanished once are most of a small selection, again and again.
    recent += recentlyActive;
    for (const { id, lastDate } of entities) {
      if (lastDate !== null && lastDate >= recently && !tallies.has(id)) vanished += 1;
    }
  }
  if (vanished > recent * tolerableShare) {
    throw unsafe(
      `${formatCount(vanished)} of the ${formatCount(recent)} entities that the database knows as active in the last ${recentDays} days have no race any more`,
    );
  }
}

/** From when on (YYYY-MM-DD) an entity is so recently active that it would be missed. */
export function recentSince(window: StatisticsWindow): string {
  return addDays(window.today, -recentDays);
}

function unsafe(what: string): FatalError {
  return new FatalError(
    exitCodes.unsafeToWrite,
    `Stopped before the first write: ${what}. Nothing was written. If you know why this is right, run again with --force.`,
  );
}
