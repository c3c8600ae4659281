import { inBatches, mapConcurrently } from './concurrently.js';
import type { Entity, EntityType, Selection } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import type { Batch, Failure, Outcome, Strategy, Tell, Written } from './events.js';
import { type Checkpoint, clearCheckpoints, describeAside, openCheckpoint } from './files/checkpoint.js';
import { lockTypes } from './files/locks.js';
import { type EndedRun, startReport } from './files/report.js';
import { saveReport } from './files/saved-reports.js';
import { makeFolder } from './files/whole-file.js';
import { firstSentence, formatAgo, printable } from './format.js';
import { type GatherOptions, refresh, sweep } from './gather.js';
import {
  type Candidates,
  chooseAll,
  countOf,
  planned,
  type RunParts,
  sum,
  type Taken,
  take,
  takesAll,
  todayOf,
} from './plan.js';
import { packSeason, type Remembered, readSeason, type Season, saveSeason } from './season.js';
import { startPage } from './show/page.js';
import { sampleTable } from './show/summary.js';
import { statisticsWindow } from './statistics.js';
import { walk } from './walk.js';

/**
 * The whole job: locks, selects, plans, gathers, writes and reports.
 * @throws FatalError when another run is active or the folder is unusable
 */
export async function run(parts: RunParts): Promise<EndedRun> {
  const { options, directory, events, startedAt, stop } = parts;
  makeFolder(directory);
  const lock = options.dryRun ? undefined : lockTypes(directory, options.entities, startedAt.toISOString());
  const report = startReport(options, startedAt, lock?.afterKilled);
  const page = startPage();
  for (const { take } of [report, page, ...(lock ? [lock] : [])]) events.listen(take);
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
  if (options.clearCheckpoints && !options.dryRun) clearCheckpoints(directory, options.entities);
  if (!options.refresh) return await populateAnew(parts);
  // Why there is none the full run tells.
  const remembered = await readSeason(directory, () => {});
  const covers = options.entities.every(({ name }) => remembered?.wholeTypes.includes(name));
  if (remembered && covers && remembered.asOf === todayOf(startedAt)) return await refreshRows(remembered, parts);
  const line = 'No sweep of today has all that is to be refreshed, so this is a full run.';
  events.tell({ kind: 'line', line });
  // Only a sweep leaves a season to the next refresh.
  await populateAnew({ ...parts, options: { ...options, strategy: 'sweep' } });
}

/** Selects, plans and, unless it is a dry run, gathers and writes. */
async function populateAnew(parts: RunParts): Promise<void> {
  const { options, api, events, stop } = parts;
  const { tell } = events;
  const counting = Promise.all(options.entities.map((type) => parts.database.checkTable(type))).then(sum);
  const choosing = chooseAll(counting, parts);
  // Whoever waits for them hears of it; where one fails, nobody may wait for the other any more.
  for (const either of [counting, choosing]) either.catch(() => {});
  const plan = await planned(counting, choosing, parts);
  if (plan === undefined) return tell({ kind: 'line', line: 'Nothing is left to do: no row was written.' });
  tell({ kind: 'line', line: plan.description });
  if (options.dryRun) return showSamples(take(await choosing, plan.strategy, parts), tell);

  let begun = false;
  const told = new Set<string>();
  events.listen((event) => {
    begun ||= event.kind === 'batch';
    if (event.kind === 'line') told.add(event.line);
  });
  try {
    await populateBy(plan.strategy, choosing, parts);
  } catch (error) {
    const refused = error instanceof FatalError && error.exitCode === exitCodes.apiRefused;
    if (!refused || plan.alternative === undefined || begun || api.hasAnswered() || stop.signal.aborted) throw error;
    tell({ kind: 'over' });
    const line = `Cannot ${plan.strategy}, so trying to ${plan.alternative}: ${firstSentence(error.message)}.`;
    tell({ kind: 'line', line });
    // What was selected, for instance, is mostly the same.
    const toldBefore = new Set(told);
    const tellNews: Tell = (event) => (event.kind === 'line' && toldBefore.has(event.line) ? undefined : tell(event));
    await populateBy(plan.alternative, choosing, { ...parts, events: { ...events, tell: tellNews } });
  }
}

/** Gathers by one strategy and writes. Throws a FatalError when the run ends before its end. */
async function populateBy(strategy: Strategy, choosing: Promise<Candidates[]>, parts: RunParts): Promise<void> {
  parts.events.tell({ kind: 'gathering', strategy });
  const selecting = choosing.then((candidates) => take(candidates, strategy, parts));
  const opening = selecting.then((selections) => openCheckpoints(selections, parts));
  // As above.
  opening.catch(() => {});
  try {
    const { outcomes, packing } = await gatherBy(strategy, selecting, parts);
    const selected = countOf(await selecting);
    const { written, failed } = await write(strategy, outcomes, selected, parts, await opening);
    const isComplete = written + failed === selected;
    // Also of an interrupted run: a refresh would go on from an earlier one's.
    if (isComplete && packing) saveSeason(parts.directory, await packing);
    parts.stop.signal.throwIfAborted();
    // Success is claimed only for what is accounted for.
    if (!isComplete) throw new Error(`${written + failed} of ${selected} entities are accounted for`);
  } finally {
    closeCheckpoints(await opening.catch(() => new Map<EntityType, Checkpoint>()), parts);
  }
}

/** The outcomes, and what is to be kept of a sweep, which is packed while the database takes its time for the rows. */
async function gatherBy(strategy: Strategy, selecting: Promise<Taken[]>, parts: RunParts) {
  const { options, directory, events } = parts;
  const gatherOptions = gatherOptionsOf(parts);
  if (strategy === 'walk') return { outcomes: walk(await selecting, gatherOptions) };
  const remembering = readSeason(directory, events.tell);
  const { outcomes, season } = await sweep(selecting, remembering, options.entities, gatherOptions);
  const kept = toRemember(season, await remembering, parts);
  const packing = kept && packSeason(kept);
  packing?.catch(() => {});
  return { outcomes, packing };
}

function openCheckpoints(selections: readonly Taken[], { directory, startedAt }: RunParts) {
  const checkpoints = new Map<EntityType, Checkpoint>();
  for (const { type, resumed } of selections) {
    checkpoints.set(type, openCheckpoint(directory, type, resumed, todayOf(startedAt)));
  }
  return checkpoints;
}

/**
 * Saves the checkpoints, and tells which earlier ones are kept aside. They are put back only where no row of any type was
 * written: beside those of this run they would be taken for its own.
 */
function closeCheckpoints(checkpoints: ReadonlyMap<EntityType, Checkpoint>, { directory, events }: RunParts): void {
  const all = [...checkpoints.values()];
  if (!all.some((one) => one.hasGrown())) {
    for (const one of all) one.putBack();
    return;
  }
  for (const one of all) one.close();
  const aside = all.flatMap((one) => one.aside ?? []);
  for (const line of describeAside(directory, aside)) events.tell({ kind: 'line', line });
}

/** Writes the rows that differ by what the API has changed since the season of today. Throws a FatalError. */
async function refreshRows(remembered: Remembered, parts: RunParts): Promise<void> {
  const { options, database, directory, events, startedAt, stop } = parts;
  const { tell } = events;
  tell({ kind: 'gathering', strategy: 'refresh' });
  const { wholeTypes, writtenFrom, writtenTo, readAt } = remembered;
  tell({ kind: 'line', line: `Refreshing the season read ${formatAgo(readAt, startedAt)}: about 2 requests.` });
  if (options.dryRun) return tell({ kind: 'line', line: dryRunEnd });
  const straying = Promise.all(
    options.entities.map(async (type): Promise<Selection> => {
      // A table that is empty or hidden holds none of the rows that are to be passed over.
      const [entities] = await Promise.all([database.strays(type, writtenFrom, writtenTo), database.checkTable(type)]);
      return { type, entities, skipped: 0, all: entities };
    }),
  );
  // Whoever waits for it hears of it.
  straying.catch(() => {});
  const { season, outcomes } = await refresh(straying, remembered, options.entities, gatherOptionsOf(parts));
  const known = await withStored(outcomes, parts);
  for (const type of options.entities) {
    tell({ kind: 'selected', type, total: known.filter((one) => one.type === type).length, skipped: 0 });
  }
  if (known.length === 0) tell({ kind: 'line', line: 'Nothing has changed since then: no row was written.' });
  const { failed } = await write('refresh', known, known.length, parts);
  stop.signal.throwIfAborted();
  // What is written of some types only are strays to the next refresh, whose season has to fit all of its types.
  const coversAll = wholeTypes.every((name) => options.entities.some((type) => type.name === name));
  // A row that the database has refused differs from the season of before: it is tried again.
  const isRefused = failed > known.filter((one) => 'failure' in one).length;
  if (!coversAll || isRefused) return;
  // The clock may have been set back since the last one.
  const instant = startedAt.toISOString();
  const last = instant > writtenTo ? instant : writtenTo;
  saveSeason(directory, await packSeason({ ...remembered, season, writtenTo: last }));
}

/** Without the failures of entities that the database does not hold; with names and figures for those who are shown. */
async function withStored(outcomes: readonly Outcome[], { options, database }: RunParts): Promise<Outcome[]> {
  const isAsked = (one: Outcome) => 'failure' in one || (options.html && one.entity.name === '');
  const stored = new Map<string, Entity>();
  for (const type of new Set(outcomes.map((one) => one.type))) {
    const asked = outcomes.filter((one) => one.type === type && isAsked(one)).map(({ entity }) => entity.id);
    for (const entity of await database.stored(type, asked)) stored.set(entity.id, entity);
  }
  const known = outcomes.filter((one) => 'row' in one || stored.has(one.entity.id));
  return known.map((one) => ({ ...one, entity: stored.get(one.entity.id) ?? one.entity }));
}

/** What is to be kept of a sweep; nothing where today's season has whole types and this one has none. */
function toRemember(season: Season, before: Remembered | undefined, { options, startedAt }: RunParts) {
  const wholeTypes = takesAll(options) ? options.entities.map(({ name }) => name) : [];
  const asOf = todayOf(startedAt);
  if (wholeTypes.length === 0 && before?.asOf === asOf && before.wholeTypes.length > 0) return undefined;
  const instant = startedAt.toISOString();
  return { season, asOf, readAt: new Date().toISOString(), wholeTypes, writtenFrom: instant, writtenTo: instant };
}

/**
 * How many outcomes are written at once, how many such batches at a time, and how long written rows may wait for their
 * checkpoint, which grows with them.
 */
const writing = {
  walk: { batchSize: 50, inFlight: 1, saveIntervalMs: 0 },
  sweep: { batchSize: 2000, inFlight: 2, saveIntervalMs: 1000 },
  refresh: { batchSize: 2000, inFlight: 2, saveIntervalMs: 1000 },
};

/** Writes outcomes, and notes in the checkpoints what is written. Returns how many are written and how many failed. */
async function write(
  strategy: Strategy,
  outcomes: AsyncIterable<Outcome> | Iterable<Outcome>,
  total: number,
  parts: RunParts,
  checkpoints = new Map<EntityType, Checkpoint>(),
): Promise<{ written: number; failed: number }> {
  const { tell } = parts.events;
  const { batchSize, inFlight, saveIntervalMs } = writing[strategy];
  const isWalk = strategy === 'walk';
  const phase = { label: isWalk ? 'walking' : 'writing', done: 0, total, failed: 0, written: 0 };
  if (total > 0) tell({ kind: 'phase', ...phase });
  async function* walked(): AsyncGenerator<Outcome> {
    for await (const outcome of outcomes) {
      phase.done += 1;
      tell({ kind: 'step', ...phase });
      yield outcome;
    }
  }
  const account = (batch: Batch) => {
    const { type, written, failures, passedOver = 0 } = batch;
    // Before all that may fail, the checkpoint too: the report tells of all that is written, and why others are not.
    tell(batch);
    for (const { id, name, reason } of failures) tell({ kind: 'line', line: `${type.name} ${id} ${name}: ${reason}` });
    const ids = written.map(({ entity }) => entity.id);
    checkpoints.get(type)?.add(ids, saveIntervalMs);
    phase.written += ids.length;
    phase.failed += failures.length;
    phase.total -= passedOver;
    if (!isWalk) phase.done = phase.written + phase.failed;
    tell({ kind: 'step', ...phase });
  };
  const batches = inBatches(isWalk ? walked() : outcomes, batchSize, ({ type }) => type);
  const writes = mapConcurrently(batches, inFlight, async (some) => {
    for await (const batch of writeBatch(strategy, some, parts)) account(batch);
  });
  for await (const _ of writes);
  return phase;
}

/**
 * Writes the rows among the outcomes of a type, and yields what became of them, as soon as it is known of some; what
 * could not be written has failed too. A refresh passes over what the database does not hold.
 */
async function* writeBatch(strategy: Strategy, all: readonly Outcome[], parts: RunParts): AsyncGenerator<Batch> {
  const [{ type }] = all as [Outcome];
  const failures: Failure[] = [];
  const outcomes = new Map<string, { type: EntityType } & Written>();
  for (const one of all) {
    if ('row' in one) outcomes.set(one.entity.id, one);
    else failures.push(failureOf(one, one.failure));
  }
  if (failures.length > 0) yield { kind: 'batch', type, written: [], failures };
  const stats_updated_at = parts.startedAt.toISOString();
  const rows = Array.from(outcomes.values(), ({ row }) => ({ ...row, stats_updated_at }));
  for await (const { ids, refused, gone } of parts.database.writeStatistics(type, rows)) {
    const batch: Required<Batch> = { kind: 'batch', type, written: [], failures: [], passedOver: 0 };
    for (const id of ids) {
      const outcome = outcomes.get(id);
      if (outcome === undefined) continue;
      const reason = refused.get(id) ?? (gone.has(id) ? `its row is no longer in ${type.table}` : undefined);
      if (reason === undefined) batch.written.push(outcome);
      else if (strategy === 'refresh' && gone.has(id)) batch.passedOver += 1;
      else batch.failures.push(failureOf(outcome, reason));
    }
    yield batch;
  }
}

/** As it is shown to people: what comes from outside goes to terminals. */
function failureOf({ type, entity: { id, name } }: { type: EntityType; entity: Entity }, reason: string): Failure {
  return { entity_type: type.name, id: printable(id), name: printable(name), reason: printable(reason) };
}

function gatherOptionsOf({ api, options, events, startedAt, stop }: RunParts): GatherOptions {
  return { api, window: statisticsWindow(todayOf(startedAt)), tell: events.tell, stop, force: options.force };
}

const dryRunEnd = 'Dry run: nothing was asked of The Racing API and no row was written.';

function showSamples(selections: readonly Selection[], tell: Tell): void {
  for (const one of selections) if (one.entities.length > 0) tell(sampleTable(one));
  tell({ kind: 'line', line: dryRunEnd });
}
