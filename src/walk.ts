import { mapConcurrently } from './concurrently.js';
import type { Entity, EntityType, Selection } from './entity-types.js';
import { ResultsError } from './errors.js';
import type { Outcome } from './events.js';
import { printable } from './format.js';
import { type GatherOptions, stopUnlessForced } from './gather.js';
import type { RacingApi } from './racing-api.js';
import { readCompletely } from './reading.js';
import {
  isWithin,
  lastDateColumn,
  type Race,
  type StatisticsRow,
  type StatisticsWindow,
  Tallies,
} from './statistics.js';

/** Together with a batch that waits to be written: no more than 100 entities are walked again after a crash. */
const mostInFlight = 50;

/** Gathers statistics entity by entity, as outcomes are asked for: at least one request each. Throws when stopped. */
export async function* walk(selections: readonly Selection[], options: GatherOptions): AsyncGenerator<Outcome> {
  const concurrency = Math.min(options.api.maxInFlight, mostInFlight);
  const brake = createBrake(options);
  for (const { type, entities } of selections) {
    const walked = askEach(entities, concurrency, options.stop, (entity) => walkOne(type, entity, options));
    for await (const one of walked) yield* brake.pass(one);
  }
  yield* brake.end();
}

/**
 * What `ask` answers for each item, as it comes. The first alone, so that an account that may not do this at all is
 * refused once and not by every request in flight; of the others, an error of one stops all, and `stop` ends them.
 */
export async function* askEach<Item, Answer>(
  items: Iterable<Item>,
  concurrency: number,
  stop: AbortController,
  ask: (item: Item) => Promise<Answer>,
): AsyncGenerator<Answer> {
  let first: Promise<Answer> | undefined;
  yield* mapConcurrently(items, concurrency, async (item) => {
    if (first === undefined) {
      first = ask(item);
      return await first;
    }
    await first;
    try {
      stop.signal.throwIfAborted();
      return await ask(item);
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  });
}

/** The row that one entity's own results give. Throws ResultsError or FatalError. */
export async function walkedRow(
  api: Pick<RacingApi, 'resultsPage'>,
  type: EntityType,
  id: string,
  window: StatisticsWindow,
): Promise<StatisticsRow> {
  const path = `/${type.name}/${encodeURIComponent(id)}/results`;
  const query = { path, startDate: window.start, endDate: window.today };
  const isOwn = (runner: Race['runners'][number]) => runner[type.runnerIdField] === id;
  const keep = (race: Race) => ({ ...race, runners: race.runners.filter(isOwn) });
  const tallies = new Tallies([type], window);
  for (const race of (await readCompletely(query, api.resultsPage, keep)).values()) tallies.count(race);
  return tallies.row(type, id);
}

/** An outcome, and whether it is by races, by none, or against the date that is stored. */
interface Walked {
  outcome: Outcome;
  kind: 'raced' | 'blank' | 'contradicted' | 'failed';
}

/** An entity whose races are not what the stored date tells is asked about once more: two answers that agree are right. */
async function walkOne(type: EntityType, entity: Entity, { api, window }: GatherOptions): Promise<Walked> {
  const read = async (): Promise<Walked> => {
    const row = await walkedRow(api, type, entity.id, window);
    return { outcome: { type, entity, row }, kind: kindOf(type, entity, row, window) };
  };
  const failed = (failure: string): Walked => ({ outcome: { type, entity, failure }, kind: 'failed' });
  try {
    const first = await read();
    if (first.kind !== 'contradicted') return first;
    const second = await read();
    const agree = JSON.stringify(first.outcome) === JSON.stringify(second.outcome);
    if (agree || second.kind !== 'contradicted') return second;
    return failed(`its results are others each time, and none go on to ${entity.lastDate}, the date that is stored`);
  } catch (error) {
    if (error instanceof ResultsError) return failed(error.message);
    throw error;
  }
}

function kindOf(type: EntityType, { lastDate }: Entity, row: StatisticsRow, window: StatisticsWindow): Walked['kind'] {
  const last = row[lastDateColumn(type)] ?? null;
  if (lastDate !== null && isWithin(window, lastDate) && (last ?? '') < lastDate) return 'contradicted';
  return last === null ? 'blank' : 'raced';
}

const mostContradicted = 10;
/** So many of a run that has nobody else are telling. */
const fewContradicted = 3;
const mostBlank = 100;

/**
 * Holds rows back that are blank, before any other was seen, or contradict what is stored, until an entity with races
 * comes by that contradict nothing: then the API is right about its races. Where none comes, it stops the walk, unless
 * that is forced.
 */
function createBrake(options: GatherOptions) {
  const { tell } = options;
  const held: Walked[] = [];
  const count = { contradicted: 0, inARow: 0 };
  let hasRaced = false;
  let isForced = false;

  function* released(walked: readonly Walked[]): Generator<Outcome> {
    for (const { outcome, kind } of walked) {
      if (kind === 'contradicted')
        tell({ kind: 'line', line: `${describe(outcome)}: asked twice, both answers agree.` });
      yield outcome;
    }
  }

  function brake(what: string): void {
    stopUnlessForced(what, `None of these ${held.length} was written.`, options);
    isForced = true;
  }

  return {
    /** The outcomes that may be written now. Throws a FatalError (unsafe to write). */
    *pass(walked: Walked): Generator<Outcome> {
      const { kind } = walked;
      if (kind === 'contradicted') {
        count.contradicted += 1;
        count.inARow += 1;
      } else if (kind === 'raced') {
        count.inARow = 0;
        hasRaced = true;
        yield* released(held.splice(0));
      }
      const isHeld = kind === 'contradicted' || (kind === 'blank' && !hasRaced);
      if (!isHeld || isForced) return yield* released([walked]);
      held.push(walked);
      if (count.inARow >= mostContradicted) brake(contradictions(count.inARow));
      else if (!hasRaced && held.length >= mostBlank) brake(`the API has no race of ${held.length} entities`);
      if (isForced) yield* released(held.splice(0));
    },
    /** What is held back at the end of the run. Throws as `pass` does. */
    *end(): Generator<Outcome> {
      const isAlone = !hasRaced && count.contradicted >= fewContradicted;
      if (isAlone && !isForced) brake(contradictions(count.contradicted));
      yield* released(held.splice(0));
    },
  };
}

const contradictions = (entities: number) =>
  `the API has no race, or only older ones, of ${entities} entities, one after the other, whose later dates are stored`;

function describe({ type, entity }: Outcome): string {
  const what = `the API has no race of ${entity.lastDate} or later any more, which is the date that is stored`;
  return printable(`${type.name} ${entity.id} ${entity.name}: ${what}`);
}
