import * as z from 'zod';
import { inBatches, mapConcurrently } from './concurrently.js';
import { type Ask, type DataApiOptions, DatabaseFault, idRows, secretKeyAdvice, valueRows } from './data-api.js';
import type { EntityType } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import type { Tell } from './events.js';
import { printable } from './format.js';
import { instantMs, type StatisticsRow } from './statistics.js';

const rowWritesInFlight = 8;
/** Of so many rows that are written one by one it is told at once what became of them. */
const rowsTold = 100;
/** From so many rows on, that none of a type's can be written is not their own fault: at once, or of a whole batch. */
const telling = { atOnce: 100, ofBatch: 10 };
/** So many rows in a row that take too long by themselves are their own failure: before any is written, or else. */
const mostSlowRows = { atFirst: 5, amongOthers: 50 };
/** So often a row takes too long until that is believed: seconds lie between. */
const timesSlow = 3;
/** After a request that got no answer in time, further ones are of so many rows, and are waited for as all others. */
const rowsInTime = 50;

/** Not a record: an id may be `__proto__`. */
const reasonsById = z.unknown().transform((given) => Object.entries(Object(given)));
/** What populate_statistics returns: see its comment in the migration. */
const functionAnswer = z.object({
  written: z.int().nonnegative(),
  gone: z.array(z.string()),
  unreached: z.array(z.string()),
  refused: reasonsById.pipe(z.array(z.tuple([z.string(), z.string()]))),
});
/** An earlier version of it returned the ids that the table does not hold; another one returns nothing, or rows. */
const otherAnswer = z
  .array(z.unknown())
  .nullable()
  .transform(() => 'of another version' as const);

/** What became of rows, by their ids: those that the database neither refuses, and why, nor lacks are written. */
export interface WriteOutcome {
  ids: string[];
  refused: ReadonlyMap<string, string>;
  gone: ReadonlySet<string>;
}

/**
 * What writes rows that exist, many at once, and yields what became of them, part by part as soon as it is known: what
 * comes before an error is written. Throws a FatalError too when many rows of a type, and no others, could not be
 * written so far: then it is not the rows.
 */
export function statisticsWriter(ask: Ask, { tell, serviceKey }: DataApiOptions) {
  const write = batchWriter(ask, tell);
  const all = new Map<EntityType, { written: number; refused: number }>();
  return async function* writeStatistics(type: EntityType, rows: StatisticsRow[]): AsyncGenerator<WriteOutcome> {
    const soFar = all.get(type) ?? { written: 0, refused: 0 };
    all.set(type, soFar);
    let reason = '';
    const stopIfNone = (from: number) => {
      if (soFar.written > 0 || soFar.refused < from) return;
      const advice = reason.endsWith(keeps) ? ` ${secretKeyAdvice(serviceKey)}` : '';
      const what = `The database writes none of ${soFar.refused} rows of ${type.table}, the last one because`;
      throw new FatalError(exitCodes.databaseFailed, `${what} ${printable(reason)}.${advice}`);
    };
    for await (const outcome of write(type, rows)) {
      yield outcome;
      const { ids, refused, gone } = outcome;
      soFar.written += ids.length - refused.size - gone.size;
      soFar.refused += refused.size;
      reason = [...refused.values()].at(-1) ?? reason;
      stopIfNone(telling.atOnce);
    }
    stopIfNone(telling.ofBatch);
  };
}

/** Writes by the database function, in parts what takes too long; or row by row where that is not as we know it. */
function batchWriter(ask: Ask, tell: Tell) {
  let functionInstalled = true;
  const patience = rowPatience();
  return async function* write(type: EntityType, rows: StatisticsRow[]): AsyncGenerator<WriteOutcome> {
    if (rows.length === 0) return;
    if (functionInstalled) {
      const done = await writeByFunction(ask, type, rows, patience);
      if (done === 'too slow' || done === 'unanswered') {
        const size = done === 'too slow' ? Math.ceil(rows.length / 2) : rowsInTime;
        for (let from = 0; from < rows.length; from += size) yield* write(type, rows.slice(from, from + size));
        return;
      }
      if (typeof done === 'object') {
        if (done.ids.length > done.refused.size + done.gone.size) patience.hasWritten();
        return yield done;
      }
      const line = `The database function populate_statistics is ${done}: ${rowByRowAdvice}`;
      // Another batch may have told it meanwhile.
      if (functionInstalled) tell({ kind: 'line', line });
      functionInstalled = false;
    }
    yield* writeRowByRow(ask, type, rows, patience);
  };
}

const rowByRowAdvice =
  'writing row by row, which is much slower. Apply supabase/migrations (supabase db push) to install it.';

type RowPatience = ReturnType<typeof rowPatience>;

/**
 * What to do about a row that takes too long by itself, because of its trigger or because somebody holds it locked: the
 * first is tried again for long, for it may be the database's moment; a few more for a shorter time, and further ones
 * not at all. Too many in a row, and it is the database.
 */
function rowPatience() {
  let slowRows = 0;
  let slowInARow = 0;
  let most = mostSlowRows.atFirst;
  return {
    isBelieved: (fault: DatabaseFault, times: number) =>
      fault.isTooSlow &&
      times >= (slowRows < mostSlowRows.atFirst ? timesSlow : 1) &&
      slowRows > 0 &&
      slowInARow < most,
    hasWritten: () => {
      slowInARow = 0;
      most = mostSlowRows.amongOthers;
    },
    /** Why a row is not written; throws the error again where it is not that the row takes too long. */
    reasonOf: (error: unknown): string => {
      const fault = error instanceof FatalError ? error.cause : error;
      if (!(fault instanceof DatabaseFault && fault.isTooSlow) || slowInARow >= most) throw error;
      slowRows += 1;
      slowInARow += 1;
      return `the database takes too long to write it, or somebody holds it locked: ${fault.message}`;
    },
  };
}

async function writeByFunction(ask: Ask, type: EntityType, rows: StatisticsRow[], patience: RowPatience) {
  const [{ id }] = rows as [StatisticsRow];
  const isAlone = rows.length === 1;
  const isForLess = (fault: DatabaseFault) => fault.isTooSlow || (fault.isUnanswered && rows.length > rowsInTime);
  try {
    const { data } = await ask(
      type,
      z.union([functionAnswer, otherAnswer]),
      (client) => client.rpc('populate_statistics', { entity_type: type.name, statistics: rows }),
      (fault, times) =>
        fault.kind === 'function-missing' || (isAlone ? patience.isBelieved(fault, times) : isForLess(fault)),
    );
    return typeof data === 'string' ? data : outcomeOf(type, rows, data);
  } catch (error) {
    if (error instanceof DatabaseFault && error.kind === 'function-missing') return 'not installed';
    if (!isAlone && error instanceof DatabaseFault) return error.isUnanswered ? 'unanswered' : 'too slow';
    return { ids: [id], refused: new Map([[id, patience.reasonOf(error)]]), gone: new Set<string>() };
  }
}

/** Each row is written or is one of these; otherwise it is not our function that has answered. */
function outcomeOf(type: EntityType, rows: StatisticsRow[], answer: z.infer<typeof functionAnswer>): WriteOutcome {
  const ids = rows.map(({ id }) => id);
  const named = [...answer.gone, ...answer.unreached, ...answer.refused.map(([id]) => id)];
  const gone = new Set(answer.gone);
  const refused = new Map([
    ...answer.unreached.map((id) => [id, unreachedIn(type)] as const),
    ...answer.refused.map(([id, told]) => [id, refusedBecause(told)] as const),
  ]);
  const known = new Set(ids);
  const isEachOnce = new Set(named).size === named.length && named.every((id) => known.has(id));
  if (isEachOnce && answer.written + named.length === known.size) return { ids, refused, gone };
  const what = `populate_statistics does not account for the ${known.size} rows of ${type.table} that it was given`;
  throw new FatalError(exitCodes.databaseFailed, `${what}. Apply supabase/migrations (supabase db push).`);
}

const keeps = 'a trigger or row-level security keeps our values out of it';
const unreachedIn = ({ table }: EntityType) => `no update reaches its row in ${table}: ${keeps}`;
const refusedBecause = (told: string) => `the database refuses its values: ${told}`;

async function* writeRowByRow(ask: Ask, type: EntityType, rows: StatisticsRow[], patience: RowPatience) {
  const writes = mapConcurrently(rows, rowWritesInFlight, (row) => writeRow(ask, type, row, patience));
  for await (const outcomes of inBatches(writes, rowsTold)) {
    yield {
      ids: outcomes.map(({ id }) => id),
      refused: new Map(outcomes.flatMap(({ id, reason }) => (reason ? [[id, reason] as const] : []))),
      gone: new Set(outcomes.flatMap(({ id, isGone }) => (isGone ? [id] : []))),
    };
  }
}

async function writeRow(ask: Ask, type: EntityType, { id, ...values }: StatisticsRow, patience: RowPatience) {
  // An answer with another row is none.
  const itsRow = valueRows.max(1).refine((rows) => rows.every((row) => row.id === id));
  try {
    const {
      data: [updated],
    } = await ask(
      type,
      itsRow,
      (client) => client.from(type.table).update(values).eq('id', id).select('id,stats_updated_at'),
      (fault, times) =>
        (canBeOfRow(fault) && (fault.kind !== 'failing' || times >= timesSlow)) || patience.isBelieved(fault, times),
    );
    if (updated) {
      patience.hasWritten();
      return isWritten(updated, values) ? { id } : { id, reason: unreachedIn(type) };
    }
  } catch (error) {
    if (!(error instanceof DatabaseFault && canBeOfRow(error))) return { id, reason: patience.reasonOf(error) };
    await updateNoRow(ask, type, id, Object.keys(values));
    return { id, reason: refusedBecause(error.message) };
  }
  const { data: shown } = await ask(type, itsRow, (client) => client.from(type.table).select('id').eq('id', id));
  return shown.length > 0 ? { id, reason: unreachedIn(type) } : { id, isGone: true };
}

/** Whether a trigger has not returned the old row: the instant is ours, in whole seconds perhaps, or a later one. */
function isWritten(row: StatisticsRow, given: Omit<StatisticsRow, 'id'>): boolean {
  return instantMs(String(row.stats_updated_at)) > instantMs(String(given.stats_updated_at)) - 1_000;
}

/** Whether it is what Postgres, or a trigger in any words, says to one row or to all; a gateway has no such codes. */
function canBeOfRow({ kind, code }: DatabaseFault): boolean {
  return code !== '' && (['schema', 'refused', 'row-refused', 'other'].includes(kind) || code.startsWith('XX'));
}

/** Throws what is no row's own, such as a privilege or a column that is missing: no row has an id and none. */
async function updateNoRow(ask: Ask, type: EntityType, id: string, columns: string[]): Promise<void> {
  const values = Object.fromEntries(columns.map((name) => [name, null]));
  const request: Parameters<Ask>[2] = (client) =>
    client.from(type.table).update(values).eq('id', id).is('id', null).select('id');
  await ask(type, idRows, request);
}
