import type { Entity, EntityType, Selection } from './entity-types.js';
import type { Strategy } from './events.js';
import type { FoundCheckpoint } from './files/checkpoint.js';
import { formatCount, formatDuration, formatEntities } from './format.js';
import type { PopulateOptions } from './options.js';
import { pageSize } from './racing-api.js';
import { isWithin, type StatisticsWindow } from './statistics.js';

/** The rows of one type that a run may take, the most recently active first, before what the checkpoint leaves out. */
export type Candidates = Selection & { checkpoint: FoundCheckpoint | undefined };

/**
 * Chooses from a type's rows, which come page by page, those that --skip-existing or --stale-after take; ids in `last`
 * come after all others.
 */
export async function chooseCandidates(
  type: EntityType,
  pages: AsyncIterable<Entity[]>,
  { skipExisting, staleAfter }: Pick<PopulateOptions, 'skipExisting' | 'staleAfter'>,
  last: ReadonlySet<string>,
  window: StatisticsWindow,
  startedAt: Date,
): Promise<Selection> {
  const freshMs = skipExisting ? Number.POSITIVE_INFINITY : (staleAfter?.ms ?? Number.NEGATIVE_INFINITY);
  const entities: Entity[] = [];
  const recentlyActive: { id: string; lastDate: string }[] = [];
  let skipped = 0;
  for await (const page of pages) {
    for (const entity of page) {
      const { id, lastDate, statsUpdatedAtMs } = entity;
      if (lastDate !== null && isWithin(window, lastDate)) recentlyActive.push({ id, lastDate });
      const isFresh = statsUpdatedAtMs !== null && statsUpdatedAtMs >= startedAt.getTime() - freshMs;
      if (isFresh) skipped += 1;
      else entities.push(entity);
    }
  }
  // The latest first, those without a date last; the sort is stable, so that those of a date stay in the order of ids.
  entities.sort((a, b) => compare(b.lastDate ?? '', a.lastDate ?? ''));
  const isLast = ({ id }: Entity) => last.has(id);
  const inOrder = last.size === 0 ? entities : [...entities.filter((one) => !isLast(one)), ...entities.filter(isLast)];
  return { type, entities: inOrder, skipped, recentlyActive };
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** What a run takes of its candidates, and the checkpoint that it goes on from. */
export type Taken = Selection & { resumed: FoundCheckpoint | undefined };

/**
 * What a run takes of its candidates. A checkpoint of an earlier day leaves nothing out of a sweep, to which all rows
 * cost no request more; nor does one that covers all of its type.
 */
export function takeCandidates(
  candidates: readonly Candidates[],
  strategy: Strategy,
  today: string,
  limit?: number,
): Taken[] {
  return candidates.map(({ checkpoint, ...all }) => {
    const left = all.entities.filter(({ id }) => !checkpoint?.ids.has(id));
    const isOfToday = checkpoint?.day === today;
    const resumed = isOfToday || (strategy === 'walk' && left.length > 0) ? checkpoint : undefined;
    const entities = resumed ? left : all.entities;
    const skipped = all.skipped + all.entities.length - entities.length;
    return { ...all, entities: entities.slice(0, limit), skipped, resumed };
  });
}

/** One line on what becomes of a checkpoint that --resume has found. */
export function describeResume(
  { name }: EntityType,
  found: FoundCheckpoint,
  isResumed: boolean,
  today: string,
): string {
  const { ids, timestamp = 'an unknown time', day } = found;
  if (!isResumed) return `${name}: the checkpoint is of ${timestamp}, another day: all rows are written anew.`;
  const ofDay = day === today ? '' : ` Their rows are of ${day ?? 'an unknown day'}.`;
  return `${name}: resuming after ${formatCount(ids.size)} written, checkpoint of ${timestamp}.${ofDay}`;
}

/** How many pages an entity's year has, by its stored runs of the last 30 days. */
export function pagesOf({ recentRuns }: Entity): number {
  return Math.max(1, Math.ceil((recentRuns * 365) / 30 / pageSize));
}

/**
 * Chooses the strategy with fewer requests, unless one is prescribed; otherwise there is an alternative for an account
 * that may not do the first. The description is one line for people: what will be done, how many requests, how long.
 * `entities` is undefined when all are taken and nobody has counted them yet.
 */
export function planRun(
  { strategy: wish, rate }: Pick<PopulateOptions, 'strategy' | 'rate'>,
  entities: number | undefined,
  walkRequests: number,
  sweepRequests: number,
) {
  const cheaper: Strategy = walkRequests <= sweepRequests ? 'walk' : 'sweep';
  const strategy = wish === 'auto' ? cheaper : wish;
  const other: Strategy = strategy === 'walk' ? 'sweep' : 'walk';
  const seconds = (requests: number) => formatDuration(requests / rate);
  const pages = `about ${sweepRequests} pages`;
  const walking = Number.isFinite(walkRequests) ? ` (walking: at least ${seconds(walkRequests)})` : '';
  const plan =
    strategy === 'sweep'
      ? `sweeping ${pages}, about ${seconds(sweepRequests)} at ${rate} requests/s${walking}`
      : `walking, at least ${formatCount(walkRequests)} requests, ${seconds(walkRequests)} at ${rate} requests/s (sweeping: ${pages}, ${seconds(sweepRequests)})`;
  const alternative = wish === 'auto' ? other : undefined;
  const what = entities === undefined ? 'Everything' : formatEntities(entities);
  return { strategy, alternative, description: `${what}: ${plan}` };
}
