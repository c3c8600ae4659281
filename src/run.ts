import { inBatches, mapConcurrently } from './concurrently.js';
import type { Database } from './database.js';
import type { Entity, EntityType } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import type { Batch, Events, Failure, Strategy, Tell, Written } from './events.js';
import { type Checkpoint, openCheckpoint } from './files/checkpoint.js';
import { type EndedRun, lastSweep, saveReport, startReport } from './files/report.js';
import { lockTypes } from './files/run-lock.js';
import { makeFolder } from './files/whole-file.js';
import { firstSentence, formatCount, formatDuration, formatEntities, printable } from './format.js';
import { type Gathering, gather, type Outcome, recentSince, type Selection, typicalSweepRequests } from './gather.js';
import type { PopulateOptions } from './options.js';
import { pageSize, type RacingApi } from './racing-api.js';
import { startPage } from './show/page.js';
import { describeSelection, sampleTable } from './show/summary.js';
import { statisticsWindow, utcDate } from './statistics.js';

/** What a run was asked, and what it works with. */
export interface RunParts {
  options: PopulateOptions;
  api: RacingApi;
  database: Database;
  events: Events;
  /** The folder of locks, checkpoints and reports. */
  directory: string;
  startedAt: Date;
  /** Aborted, with a FatalError, to stop asking the API; what is gathered then is still written. */
  stop: AbortController;
  /** Called when nothing stands in the run's way. */
  onStart?: () => void;
}

/**
 * The whole job: locks, selects, plans, gathers, writes and reports.
 * @throws FatalError when another run is active or the folder is unusable
 */
export async function run(parts: RunParts): Promise<EndedRun> {
  const { options, directory, events, startedAt, stop } = parts;
  makeFolder(directory);
  const report = startReport(options, startedAt);
  const page = startPage();
  events.listen(report.take);
  events.listen(page.take);
  const lock = options.dryRun ? undefined : lockTypes(directory, options.entities, startedAt.toISOString());
  if (lock) events.listen(lock.take);
  parts.onStart?.();
  try {
    await populate(parts);
  } catch (error) {
    // The first cause decides: what fails after a stop fails because of it.
    stop.abort(error);
  } finally {
    events.tell({ kind: 'over' });
    lock?.release();
  }
  return saveReport(directory, report.ended(stop.signal), options.html ? page.ended : undefined);
}

/** Selects, plans and, unless it is a dry run, gathers and writes. */
async function populate(parts: RunParts): Promise<void> {
  const { options, api, directory, events, stop } = parts;
  const { tell } = events;
  const checkpoints = options.entities.map((type) => openCheckpoint(directory, type, options, tell));
  const counting = Promise.all(options.entities.map((type) => parts.database.checkTable(type))).then(sum);
  const selecting = selectAll(checkpoints, counting, parts);
  // Whoever waits for it hears of it; where the counting fails, nobody does any more.
  selecting.catch(() => {});
  const plan = await planned(counting, selecting, parts);
  if (plan === undefined) return;
  tell({ kind: 'line', line: plan.description });
  if (options.dryRun) return showSamples(await selecting, tell);

  let begun = false;
  events.listen(({ kind }) => {
    begun ||= kind === 'batch';
  });
  try {
    await populateBy(plan.strategy, selecting, parts);
  } catch (error) {
    const refused = error instanceof FatalError && error.exitCode === exitCodes.apiRefused;
    if (!refused || plan.alternative === undefined || begun || api.hasAnswered() || stop.signal.aborted) throw error;
    tell({
      kind: 'line',
      line: `Cannot ${plan.strategy}, so trying to ${plan.alternative}: ${firstSentence(error.message)}.`,
    });
    await populateBy(plan.alternative, selecting, parts);
  }
}

/** Gathers by one strategy and writes, type after type. Throws a FatalError when the run ends before its end. */
async function populateBy(
  strategy: Strategy,
  selecting: Promise<readonly OpenSelection[]>,
  parts: RunParts,
): Promise<void> {
  const { options, api, events, startedAt, stop } = parts;
  const { tell } = events;
  const window = statisticsWindow(utcDate(startedAt.getTime()));
  tell({ kind: 'gathering', strategy });
  const gathering = await gather(strategy, options.entities, selecting, {
    api,
    window,
    tell,
    stop,
    force: options.force,
  });
  const selections = await selecting;
  let accounted = 0;
  for (const selection of selections) {
    // What a sweep has gathered is still written when the run is stopped; a walk has gathered nothing more.
    if (strategy === 'walk') stop.signal.throwIfAborted();
    tell({ kind: 'populating', type: selection.type });
    try {
      accounted += await populateType(strategy, selection, gathering, parts);
    } finally {
      selection.checkpoint.save();
    }
  }
  stop.signal.throwIfAborted();
  // Success is claimed only for what is accounted for.
  const selected = countOf(selections);
  if (accounted !== selected) throw new Error(`${accounted} of ${selected} entities are accounted for`);
}

/** Writes a type's outcomes, and notes in its checkpoint what is written. Returns how many are accounted for. */
async function populateType(
  strategy: Strategy,
  { type, entities, checkpoint }: OpenSelection,
  gathering: Gathering,
  parts: RunParts,
): Promise<number> {
  const { tell } = parts.events;
  const label = strategy === 'walk' ? `walking ${type.name}` : `writing ${type.name}`;
  const phase = { label, done: 0, total: entities.length, failed: 0, written: 0 };
  tell({ kind: 'phase', ...phase });
  async function* watchedOutcomes(): AsyncGenerator<Outcome> {
    for await (const outcome of gathering.outcomes(type, entities)) {
      yield outcome;
      phase.done += 1;
      tell({ kind: 'step', ...phase });
    }
  }
  const batches = inBatches(watchedOutcomes(), gathering.batchSize);
  const write = (batch: Outcome[]) => writeBatch(type, batch, parts);
  for await (const batch of mapConcurrently(batches, gathering.writesInFlight, write)) {
    checkpoint.add(
      batch.written.map(({ entity }) => entity.id),
      gathering.saveIntervalMs,
    );
    phase.written += batch.written.length;
    phase.failed += batch.failures.length;
    tell({ kind: 'step', ...phase });
  }
  return phase.written + phase.failed;
}

/**
 * Writes the rows among the outcomes, and tells of them; what could not be written has failed too. Throws a FatalError
 * when it seems that nothing can be written.
 */
async function writeBatch(type: EntityType, outcomes: readonly Outcome[], parts: RunParts): Promise<Batch> {
  const { database, events, startedAt } = parts;
  const stats_updated_at = startedAt.toISOString();
  const rows = outcomes.flatMap((outcome) => ('row' in outcome ? { ...outcome.row, stats_updated_at } : []));
  const reasons = rows.length > 0 ? await database.writeStatistics(type, rows) : new Map<string, string>();
  const written: Written[] = [];
  const failures: Failure[] = [];
  for (const outcome of outcomes) {
    const { id, name } = outcome.entity;
    const reason = 'failure' in outcome ? outcome.failure : reasons.get(id);
    if (reason !== undefined) {
      // They come from outside and go to terminals.
      failures.push({ entity_type: type.name, id: printable(id), name: printable(name), reason: printable(reason) });
    } else if ('row' in outcome) written.push(outcome);
  }
  const batch: Batch = { kind: 'batch', type, written, failures };
  // Before all that may fail, the checkpoint too: the report tells of all that is written, and why others are not.
  events.tell(batch);
  for (const { id, name, reason } of failures) {
    events.tell({ kind: 'line', line: `${type.name} ${id} ${name}: ${reason}` });
  }
  database.checkWriting();
  return batch;
}

/** A selection, and the checkpoint that takes what of it is written. */
type OpenSelection = Selection & { checkpoint: Checkpoint };

/** Selects from all types at once, each without what its checkpoint holds, once it is known how many rows there are. */
async function selectAll(
  checkpoints: readonly Checkpoint[],
  counting: Promise<number>,
  { options, database, events, startedAt, stop }: RunParts,
): Promise<OpenSelection[]> {
  const { tell } = events;
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
  const selections = await Promise.all(
    checkpoints.map(async (checkpoint) => {
      const { type, writtenIds } = checkpoint;
      return { ...(await selectEntities(type, watchedPages(type), writtenIds, options, startedAt)), checkpoint };
    }),
  );
  // The test rows were counted and are not selected.
  tell({ kind: 'step', label, done, total: done });
  for (const selection of selections) {
    const { type, entities, skipped } = selection;
    tell({ kind: 'selected', type, total: entities.length, skipped });
    tell({ kind: 'line', line: describeSelection(selection) });
  }
  return selections;
}

/** Selects from a type's rows, which come page by page; leaves out those that an earlier run has written. */
export async function selectEntities(
  type: EntityType,
  pages: AsyncIterable<Entity[]>,
  writtenIds: ReadonlySet<string>,
  { skipExisting, staleAfter, limit }: Pick<PopulateOptions, 'skipExisting' | 'staleAfter' | 'limit'>,
  startedAt: Date,
): Promise<Selection> {
  const freshMs = skipExisting ? Number.POSITIVE_INFINITY : (staleAfter?.ms ?? Number.NEGATIVE_INFINITY);
  const recent = recentSince(statisticsWindow(utcDate(startedAt.getTime())));
  const entities: Entity[] = [];
  let skipped = 0;
  let recentlyActive = 0;
  for await (const page of pages) {
    for (const entity of page) {
      const { id, lastDate, statsUpdatedAtMs } = entity;
      if (lastDate !== null && lastDate >= recent) recentlyActive += 1;
      const isFresh = statsUpdatedAtMs !== null && statsUpdatedAtMs >= startedAt.getTime() - freshMs;
      if (isFresh || writtenIds.has(id)) skipped += 1;
      else entities.push(entity);
    }
  }
  // The latest first, those without a date last; the sort is stable, so that those of a date stay in the order of ids.
  entities.sort((a, b) => (b.lastDate ?? '').localeCompare(a.lastDate ?? ''));
  return { type, entities: entities.slice(0, limit), skipped, recentlyActive };
}

/**
 * The plan; undefined when nothing is selected. One that takes all rows need not wait for the selection, nor for their
 * number where a sweep is asked for or took fewer requests than there were entities the last time.
 */
async function planned(
  counting: Promise<number>,
  selecting: Promise<readonly Selection[]>,
  { options, directory }: RunParts,
) {
  const last = lastSweep(directory);
  const sweepRequests = last?.requests ?? typicalSweepRequests;
  const { strategy, dryRun, skipExisting, staleAfter, resume, limit } = options;
  const takesAll = !dryRun && !skipExisting && !staleAfter && !resume && limit === undefined;
  const isSweep = strategy === 'sweep' || (strategy === 'auto' && last && last.entities > last.requests);
  if (takesAll && isSweep) return planRun(options, undefined, Number.POSITIVE_INFINITY, sweepRequests);
  const rows = takesAll ? await counting : 0;
  if (rows > sweepRequests) return planRun(options, rows, rows, sweepRequests);
  const selections = await selecting;
  const selected = countOf(selections);
  const walkRequests = sum(selections.map(({ entities }) => sum(entities.map(pagesOf))));
  return selected === 0 ? undefined : planRun(options, selected, walkRequests, sweepRequests);
}

/** How many pages an entity's year has, by its stored runs of the last 30 days. */
function pagesOf({ recentRuns }: Entity): number {
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

const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
const countOf = (selections: readonly Selection[]) => sum(selections.map(({ entities }) => entities.length));

function showSamples(selections: readonly Selection[], tell: Tell): void {
  const samples = selections.filter(({ entities }) => entities.length > 0).map(sampleTable);
  const end = 'Dry run: nothing was asked of The Racing API and no row was written.';
  for (const line of [...samples, end]) tell({ kind: 'line', line });
}
