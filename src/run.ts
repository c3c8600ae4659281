import { inBatches, mapConcurrently } from './concurrently.js';
import type { Database } from './database.js';
import type { Entity, EntityType, Selection } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import type { Batch, Events, Failure, Outcome, Strategy, Tell, Written } from './events.js';
import { type Checkpoint, findCheckpoint, openCheckpoint } from './files/checkpoint.js';
import { lockTypes } from './files/locks.js';
import { type EndedRun, lastFailures, lastSweep, saveReport, startReport } from './files/report.js';
import { makeFolder } from './files/whole-file.js';
import { firstSentence, printable } from './format.js';
import { type GatherOptions, refresh, sweep, typicalSweepRequests } from './gather.js';
import type { PopulateOptions } from './options.js';
import {
  type Candidates,
  chooseCandidates,
  describeResume,
  pagesOf,
  planRun,
  type Taken,
  takeCandidates,
} from './plan.js';
import type { RacingApi } from './racing-api.js';
import { packSeason, type Remembered, readSeason, type Season, saveSeason } from './season.js';
import { startPage } from './show/page.js';
import { describeSelection, sampleTable } from './show/summary.js';
import { statisticsWindow, utcDate } from './statistics.js';
import { walk } from './walk.js';

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

/** Refreshes the rows; or, where that cannot be or was not asked for, populates them anew. */
async function populate(parts: RunParts): Promise<void> {
  const { options, directory, startedAt, events } = parts;
  if (!options.refresh) return await populateAnew(parts);
  const remembered = await readSeason(directory, events.tell);
  const covers = options.entities.every(({ name }) => remembered?.wholeTypes.includes(name));
  if (remembered && covers && remembered.asOf === todayOf(startedAt)) return await refreshRows(remembered, parts);
  const line = 'No season of today has all that is to be refreshed, so this is a full run.';
  events.tell({ kind: 'line', line });
  await populateAnew(parts);
}

/** Selects, plans and, unless it is a dry run, gathers and writes. */
async function populateAnew(parts: RunParts): Promise<void> {
  const { options, api, events, stop } = parts;
  const { tell } = events;
  const counting = Promise.all(options.entities.map((type) => parts.database.checkTable(type))).then(sum);
  const choosing = chooseAll(counting, parts);
  // Whoever waits for it hears of it; where the counting fails, nobody does any more.
  choosing.catch(() => {});
  const plan = await planned(counting, choosing, parts);
  if (plan === undefined) return tell({ kind: 'line', line: 'Nothing is left to do: no row was written.' });
  tell({ kind: 'line', line: plan.description });
  if (options.dryRun) return showSamples(take(await choosing, plan.strategy, parts), tell);

  let begun = false;
  events.listen(({ kind }) => {
    begun ||= kind === 'batch';
  });
  try {
    await populateBy(plan.strategy, choosing, parts);
  } catch (error) {
    const refused = error instanceof FatalError && error.exitCode === exitCodes.apiRefused;
    if (!refused || plan.alternative === undefined || begun || api.hasAnswered() || stop.signal.aborted) throw error;
    tell({
      kind: 'line',
      line: `Cannot ${plan.strategy}, so trying to ${plan.alternative}: ${firstSentence(error.message)}.`,
    });
    await populateBy(plan.alternative, choosing, parts);
  }
}

/** Gathers by one strategy and writes. Throws a FatalError when the run ends before its end. */
async function populateBy(strategy: Strategy, choosing: Promise<Candidates[]>, parts: RunParts): Promise<void> {
  const { options, directory, events, stop } = parts;
  const { tell } = events;
  const gatherOptions = gatherOptionsOf(parts);
  tell({ kind: 'gathering', strategy });
  const selecting = choosing.then((candidates) => take(candidates, strategy, parts));
  const opening = selecting.then(
    (selections) =>
      new Map(selections.map(({ type, resumed }) => [type, openCheckpoint(directory, type, resumed, tell)])),
  );
  // As above.
  opening.catch(() => {});
  const remembering = strategy === 'sweep' ? readSeason(directory, tell) : Promise.resolve(undefined);
  try {
    const gathering =
      strategy === 'sweep'
        ? await sweep(selecting, remembering, options.entities, gatherOptions)
        : walk(await selecting, gatherOptions);
    const kept = gathering.season && toRemember(gathering.season, await remembering, parts);
    // The database takes its time for the rows.
    const packing = kept && packSeason(kept);
    packing?.catch(() => {});
    const selected = countOf(await selecting);
    const accounted = await write(strategy, gathering.outcomes, selected, parts, await opening);
    stop.signal.throwIfAborted();
    // Success is claimed only for what is accounted for.
    if (accounted !== selected) throw new Error(`${accounted} of ${selected} entities are accounted for`);
    if (packing) saveSeason(directory, await packing);
  } finally {
    const checkpoints = await opening.catch(() => new Map<EntityType, Checkpoint>());
    for (const checkpoint of checkpoints.values()) checkpoint.close();
  }
}

/** Writes the rows that differ by what the API has changed since the season of today. Throws a FatalError. */
async function refreshRows(remembered: Remembered, parts: RunParts): Promise<void> {
  const { options, database, directory, events, startedAt, stop } = parts;
  const { tell } = events;
  tell({ kind: 'gathering', strategy: 'refresh' });
  const { wholeTypes, writtenFrom, writtenTo, readAt } = remembered;
  tell({ kind: 'line', line: `Refreshing the season that was read at ${readAt}: about 2 requests.` });
  if (options.dryRun) return tell({ kind: 'line', line: dryRunEnd });
  const straying = Promise.all(
    options.entities.map(async (type): Promise<Selection> => {
      // A table that is empty or hidden holds none of the rows that are to be passed over.
      const [entities] = await Promise.all([database.strays(type, writtenFrom, writtenTo), database.checkTable(type)]);
      return { type, entities, skipped: 0, recentlyActive: [] };
    }),
  );
  // Whoever waits for it hears of it.
  straying.catch(() => {});
  const { season, outcomes } = await refresh(straying, remembered, options.entities, gatherOptionsOf(parts));
  for (const type of options.entities) {
    tell({ kind: 'selected', type, total: outcomes.filter((one) => one.type === type).length, skipped: 0 });
  }
  await write('refresh', outcomes, outcomes.length, parts);
  stop.signal.throwIfAborted();
  // What is written of some types only are strays to the next refresh, whose season has to fit all of its types.
  const coversAll = wholeTypes.every((name) => options.entities.some((type) => type.name === name));
  if (!coversAll) return;
  saveSeason(directory, await packSeason({ ...remembered, season, writtenTo: startedAt.toISOString() }));
}

/** What is to be kept of a sweep; nothing where today's season has whole types and this one has none. */
function toRemember(season: Season, before: Remembered | undefined, { options, startedAt }: RunParts) {
  const wholeTypes = takesAll(options) ? options.entities.map(({ name }) => name) : [];
  const asOf = todayOf(startedAt);
  if (wholeTypes.length === 0 && before?.asOf === asOf && before.wholeTypes.length > 0) return undefined;
  const instant = startedAt.toISOString();
  return { season, asOf, readAt: new Date().toISOString(), wholeTypes, writtenFrom: instant, writtenTo: instant };
}

/** How many outcomes are written at once, how many such batches at a time, and how long written rows may wait for their
 * checkpoint, which grows with them. */
const writing = {
  walk: { batchSize: 50, inFlight: 1, saveIntervalMs: 0 },
  sweep: { batchSize: 2000, inFlight: 2, saveIntervalMs: 1000 },
  refresh: { batchSize: 2000, inFlight: 2, saveIntervalMs: 1000 },
};

/** Writes outcomes, and notes in the checkpoints what is written. Returns how many are accounted for. */
async function write(
  strategy: Strategy,
  outcomes: AsyncIterable<Outcome> | Iterable<Outcome>,
  total: number,
  parts: RunParts,
  checkpoints = new Map<EntityType, Checkpoint>(),
): Promise<number> {
  const { tell } = parts.events;
  const { batchSize, inFlight, saveIntervalMs } = writing[strategy];
  const phase = { label: strategy === 'walk' ? 'walking' : 'writing', done: 0, total, failed: 0, written: 0 };
  tell({ kind: 'phase', ...phase });
  async function* watched(): AsyncGenerator<Outcome> {
    for await (const outcome of outcomes) {
      yield outcome;
      phase.done += 1;
      tell({ kind: 'step', ...phase });
    }
  }
  const batches = inBatches(watched(), batchSize, ({ type }) => type);
  for await (const batch of mapConcurrently(batches, inFlight, (some) => writeBatch(strategy, some, parts))) {
    const ids = batch.written.map(({ entity }) => entity.id);
    checkpoints.get(batch.type)?.add(ids, saveIntervalMs);
    phase.written += ids.length;
    phase.failed += batch.failures.length;
    phase.total -= batch.passedOver ?? 0;
    tell({ kind: 'step', ...phase });
  }
  return phase.written + phase.failed;
}

/**
 * Writes the rows among the outcomes of a type, and tells of them; what could not be written has failed too. A refresh
 * passes over what the database does not hold. Throws a FatalError when it seems that nothing can be written.
 */
async function writeBatch(strategy: Strategy, outcomes: readonly Outcome[], parts: RunParts): Promise<Batch> {
  const { database, events, startedAt } = parts;
  const [{ type }] = outcomes as [Outcome];
  const stats_updated_at = startedAt.toISOString();
  const rows = outcomes.flatMap((outcome) => ('row' in outcome ? { ...outcome.row, stats_updated_at } : []));
  const { gone, refused } = await database.writeStatistics(type, rows);
  const written: Written[] = [];
  const failures: Failure[] = [];
  const passesOver = strategy === 'refresh' ? gone : new Set();
  for (const outcome of outcomes) {
    const { id, name } = outcome.entity;
    const isGone = gone.has(id) ? `its row is no longer in ${type.table}` : undefined;
    const reason = 'failure' in outcome ? outcome.failure : (refused.get(id) ?? isGone);
    if (reason !== undefined && !passesOver.has(id)) {
      // They come from outside and go to terminals.
      failures.push({ entity_type: type.name, id: printable(id), name: printable(name), reason: printable(reason) });
    } else if ('row' in outcome && reason === undefined) written.push(outcome);
  }
  const batch: Batch = { kind: 'batch', type, written, failures, passedOver: passesOver.size };
  // Before all that may fail, the checkpoint too: the report tells of all that is written, and why others are not.
  events.tell(batch);
  for (const { id, name, reason } of failures) {
    events.tell({ kind: 'line', line: `${type.name} ${id} ${name}: ${reason}` });
  }
  database.checkWriting();
  return batch;
}

/** Chooses from all types at once, once it is known how many rows there are. */
async function chooseAll(counting: Promise<number>, parts: RunParts): Promise<Candidates[]> {
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
  const { window } = gatherOptionsOf(parts);
  // Those that failed again and again would be all that a small limit ever takes.
  const isAgain = options.skipExisting && options.limit !== undefined;
  const last = isAgain ? lastFailures(directory) : new Set<string>();
  const candidates = await Promise.all(
    options.entities.map(async (type, index) => ({
      ...(await chooseCandidates(type, watchedPages(type), options, last, window, startedAt)),
      checkpoint: checkpoints[index],
    })),
  );
  // The test rows were counted and are not selected.
  tell({ kind: 'step', label, done, total: done });
  return candidates;
}

/** Takes from the candidates what the strategy is to gather, and tells of it. */
function take(
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
    if (checkpoint) say(describeResume(type, checkpoint, resumed !== undefined, today));
    tell({ kind: 'selected', type, total: entities.length, skipped });
    say(describeSelection(selection));
  }
  return taken;
}

/**
 * The plan; undefined when nothing is selected. One that takes all rows need not wait for the selection, nor for their
 * number where a sweep is asked for or took fewer requests than there were entities the last time.
 */
async function planned(counting: Promise<number>, choosing: Promise<readonly Candidates[]>, parts: RunParts) {
  const { options, directory, startedAt } = parts;
  const last = lastSweep(directory);
  const sweepRequests = last?.requests ?? typicalSweepRequests;
  const { strategy, dryRun } = options;
  const isSweep = strategy === 'sweep' || (strategy === 'auto' && last && last.entities > last.requests);
  const isAll = takesAll(options) && !dryRun;
  if (isAll && isSweep) return planRun(options, undefined, Number.POSITIVE_INFINITY, sweepRequests);
  const rows = isAll ? await counting : 0;
  if (rows > sweepRequests) return planRun(options, rows, rows, sweepRequests);
  const walkable = takeCandidates(await choosing, 'walk', todayOf(startedAt), options.limit);
  const walkRequests = sum(walkable.map(({ entities }) => sum(entities.map(pagesOf))));
  const selected = countOf(walkable);
  if (selected > 0) return planRun(options, selected, walkRequests, sweepRequests);
  take(await choosing, 'walk', parts);
  return undefined;
}

const takesAll = ({ skipExisting, staleAfter, resume, limit }: PopulateOptions) =>
  !skipExisting && !staleAfter && !resume && limit === undefined;

const todayOf = (startedAt: Date) => utcDate(startedAt.getTime());

function gatherOptionsOf({ api, options, events, startedAt, stop }: RunParts): GatherOptions {
  return { api, window: statisticsWindow(todayOf(startedAt)), tell: events.tell, stop, force: options.force };
}

const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
const countOf = (selections: readonly Selection[]) => sum(selections.map(({ entities }) => entities.length));

const dryRunEnd = 'Dry run: nothing was asked of The Racing API and no row was written.';

function showSamples(selections: readonly Selection[], tell: Tell): void {
  const samples = selections.filter(({ entities }) => entities.length > 0).map(sampleTable);
  for (const line of [...samples, dryRunEnd]) tell({ kind: 'line', line });
}
