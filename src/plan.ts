import type { Database } from './database.js';
import { Entities, type Entity, type EntityType, entityTypes, type Selection } from './entity-types.js';
import type { Events, Strategy } from './events.js';
import { type FoundCheckpoint, findCheckpoint } from './files/checkpoint.js';
import { lastFailures, lastSweep } from './files/saved-reports.js';
import { formatAgo, formatCount, formatDuration, formatEntities } from './format.js';
import { typicalSweepRequests } from './gather.js';
import type { PopulateOptions } from './options.js';
import { pageSize, type RacingApi } from './racing-api.js';
import { describeSelection } from './show/summary.js';
import { utcDate } from './statistics.js';

/** What a run was asked, and what it works with. */
export interface RunParts {
  options: PopulateOptions;
  api: RacingApi;
  database: Database;
  events: Events;
  /** The folder of locks, checkpoints, the season and reports. */
  directory: string;
  startedAt: Date;
  /** Aborted, with a FatalError, to stop asking the API; what is gathered then is still written. */
  stop: AbortController;
  /** Called when nothing stands in the run's way. */
  onStart?: () => void;
}

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
  startedAt: Date,
): Promise<Selection> {
  const freshMs = skipExisting ? Number.POSITIVE_INFINITY : (staleAfter?.ms ?? Number.NEGATIVE_INFINITY);
  const chosen = new Map<string, Entities>();
  const again = new Map<string, Entities>();
  const fresh = new Entities();
  for await (const page of pages) {
    for (const entity of page) {
      const { id, statsUpdatedAtMs } = entity;
      const isFresh = statsUpdatedAtMs !== null && statsUpdatedAtMs >= startedAt.getTime() - freshMs;
      if (isFresh) fresh.add(entity);
      else addByDate(last.has(id) ? again : chosen, entity);
    }
  }
  const entities = Entities.inTurn([chosen, again].flatMap(latestFirst));
  return { type, entities, all: Entities.inTurn([entities, fresh]), skipped: fresh.length };
}

function addByDate(byLastDate: Map<string, Entities>, entity: Entity): void {
  const date = entity.lastDate ?? '';
  const ofDate = byLastDate.get(date) ?? new Entities();
  byLastDate.set(date, ofDate);
  ofDate.add(entity);
}

/** Those without a date last; those of a date stay in the order of ids. */
function latestFirst(byLastDate: ReadonlyMap<string, Entities>): Entities[] {
  return [...byLastDate].sort(([a], [b]) => compare(b, a)).map(([, entities]) => entities);
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
  return candidates.map(({ checkpoint, ...chosen }) => {
    const left = checkpoint ? chosen.entities.filter(({ id }) => !checkpoint.ids.has(id)) : chosen.entities;
    const isOfToday = checkpoint?.day === today;
    const resumed = isOfToday || (strategy === 'walk' && left.length > 0) ? checkpoint : undefined;
    const entities = resumed ? left : chosen.entities;
    const skipped = chosen.skipped + chosen.entities.length - entities.length;
    return { ...chosen, entities: limit === undefined ? entities : entities.first(limit), skipped, resumed };
  });
}

/** One line on what becomes of a checkpoint that --resume has found. */
function describeResume({ name }: EntityType, found: FoundCheckpoint, isResumed: boolean, startedAt: Date): string {
  const { ids, timestamp = '', day } = found;
  const saved = formatAgo(timestamp, startedAt);
  if (!isResumed) return `${name}: the checkpoint is of another day, ${saved}: all rows are written anew.`;
  const ofDay = day === todayOf(startedAt) ? '' : ` Their rows are of ${day ?? 'an unknown day'}.`;
  return `${name}: resuming after ${formatCount(ids.size)} written, as saved ${saved}.${ofDay}`;
}

/** How many pages an entity's year has, by its stored runs of the last 30 days. */
function pagesOf({ recentRuns }: Entity): number {
  return Math.max(1, Math.ceil((recentRuns * 365) / 30 / pageSize));
}

/**
 * Chooses the strategy with fewer requests, unless one is prescribed; otherwise there is an alternative for an account
 * that may not do the first. The description is one line for people: what will be done, how many requests, how long.
 * `what` is to be done, in words.
 */
export function planRun(
  { strategy: wish, rate }: Pick<PopulateOptions, 'strategy' | 'rate'>,
  what: string,
  walkRequests: number,
  sweepRequests: number,
) {
  const cheaper: Strategy = walkRequests <= sweepRequests ? 'walk' : 'sweep';
  const strategy = wish === 'auto' ? cheaper : wish;
  const other: Strategy = strategy === 'walk' ? 'sweep' : 'walk';
  const seconds = (requests: number) => formatDuration(requests / rate);
  const pages = `about ${sweepRequests} pages`;
  const walking = Number.isFinite(walkRequests) ? ` (walking: about ${seconds(walkRequests)})` : '';
  const plan =
    strategy === 'sweep'
      ? `sweeping ${pages}, about ${seconds(sweepRequests)} at ${rate} requests/s${walking}`
      : `walking, about ${formatCount(walkRequests)} ${walkRequests === 1 ? 'request' : 'requests'}, ${seconds(walkRequests)} at ${rate} requests/s (sweeping: ${pages}, ${seconds(sweepRequests)})`;
  const alternative = wish === 'auto' ? other : undefined;
  return { strategy, alternative, description: `${what}: ${plan}` };
}

/** Chooses from all types at once, once it is known how many rows there are. */
export async function chooseAll(counting: Promise<number>, parts: RunParts): Promise<Candidates[]> {
  const { options, database, directory, events, startedAt, stop } = parts;
  const { tell } = events;
  const checkpoints = options.entities.map((type) => findCheckpoint(directory, type, options, tell));
  const label = 'selecting';
  let done = 0;
  tell({ kind: 'phase', label, done, total: done });
  const total = await counting;
  async function* watchedPages(type: EntityType): AsyncGenerator<Entity[]> {
    for await (const page of database.entities(type)) {
      stop.signal.throwIfAborted();
      done += page.length;
      tell({ kind: 'step', label, done, total });
      yield page;
    }
  }
  // Those that failed again and again would be all that a small limit ever takes.
  const isAgain = options.skipExisting && options.limit !== undefined;
  const last = isAgain ? lastFailures(directory) : new Set<string>();
  const candidates = await Promise.all(
    options.entities.map(async (type, index) => ({
      ...(await chooseCandidates(type, watchedPages(type), options, last, startedAt)),
      checkpoint: checkpoints[index],
    })),
  );
  // The test rows were counted and are not selected.
  tell({ kind: 'step', label, done, total: done });
  return candidates;
}

/** Takes from the candidates what the strategy is to gather, and tells of it. */
export function take(
  candidates: readonly Candidates[],
  strategy: Strategy,
  { options, events, startedAt }: RunParts,
): Taken[] {
  const { tell } = events;
  const say = (line: string) => tell({ kind: 'line', line });
  const today = todayOf(startedAt);
  const taken = takeCandidates(candidates, strategy, today, options.limit);
  for (const [index, selection] of taken.entries()) {
    const { type, entities, skipped, resumed } = selection;
    const checkpoint = candidates[index]?.checkpoint;
    if (checkpoint) say(describeResume(type, checkpoint, resumed !== undefined, startedAt));
    tell({ kind: 'selected', type, total: entities.length, skipped, rowsFrom: resumed?.day });
    say(describeSelection(selection));
  }
  return taken;
}

/**
 * The plan; undefined when nothing is selected. One that takes all rows need not wait for the selection, nor for their
 * number where a sweep is asked for or took fewer requests than there were entities the last time.
 */
export async function planned(counting: Promise<number>, choosing: Promise<readonly Candidates[]>, parts: RunParts) {
  const { options, directory, startedAt } = parts;
  const last = lastSweep(directory);
  const sweepRequests = last?.requests ?? typicalSweepRequests;
  const { strategy, dryRun } = options;
  const isSweep = strategy === 'sweep' || (strategy === 'auto' && last && last.entities > last.requests);
  const isAll = takesAll(options) && !dryRun;
  // Nobody has counted them yet without the test rows.
  const all = describeAll(options.entities);
  if (isAll && isSweep) return planRun(options, all, Number.POSITIVE_INFINITY, sweepRequests);
  const rows = isAll ? await counting : 0;
  if (rows > sweepRequests) return planRun(options, all, rows, sweepRequests);
  const walkable = takeCandidates(await choosing, 'walk', todayOf(startedAt), options.limit);
  const walkRequests = sum(walkable.map(({ entities }) => sum(Array.from(entities, pagesOf))));
  const selected = countOf(walkable);
  if (selected > 0) return planRun(options, formatEntities(selected), walkRequests, sweepRequests);
  take(await choosing, 'walk', parts);
  return undefined;
}

const describeAll = (types: readonly EntityType[]) =>
  types.length === entityTypes.length ? 'Everything' : `All ${types.map(({ name }) => name).join(' and ')}`;

export const takesAll = ({ skipExisting, staleAfter, resume, limit }: PopulateOptions) =>
  !skipExisting && !staleAfter && !resume && limit === undefined;

export const todayOf = (startedAt: Date) => utcDate(startedAt.getTime());

export const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
export const countOf = (selections: readonly Selection[]) => sum(selections.map(({ entities }) => entities.length));
