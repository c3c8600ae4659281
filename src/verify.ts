import { mapConcurrently } from './concurrently.js';
import { type Database, instantMs } from './database.js';
import type { EntityType } from './entity-types.js';
import { type ExitCode, exitCodes, ResultsError } from './errors.js';
import type { Tell } from './events.js';
import { formatEntities, printable } from './format.js';
import { walkEntity } from './gather.js';
import type { VerifyOptions } from './options.js';
import type { RacingApi } from './racing-api.js';
import { type StatisticsRow, statisticsColumns, statisticsWindow, utcDate } from './statistics.js';

export interface VerificationParts {
  api: RacingApi;
  database: Database;
  tell: Tell;
  /** Aborted to stop asking; what was found by then is shown. */
  stop: AbortController;
}

interface Candidate {
  type: EntityType;
  id: string;
  name: string;
}

interface Verdict {
  candidate: Candidate;
  /** One line each; empty for a row that is right. */
  differences: string[];
  /** Why the row could not be checked. */
  failure?: string;
}

/**
 * Compares stored rows with what their entities' own results give, as of the UTC date of stats_updated_at, and
 * shows the differences. Returns the exit code.
 * @throws FatalError
 */
export async function verifyStatistics(
  { entities: types, sample }: VerifyOptions,
  parts: VerificationParts,
): Promise<ExitCode> {
  const { database, tell, stop } = parts;
  const candidates = drawSample(await withStatistics(database, types, stop.signal), sample);
  const line = `Checking ${formatEntities(candidates.length)} against their own results.`;
  tell({ kind: 'line', line });
  const verdicts: Verdict[] = [];
  try {
    await checkAll(candidates, await storedRows(database, types, candidates), verdicts, parts);
  } finally {
    tell({ kind: 'over' });
    showVerdicts(verdicts, tell);
  }
  return exitCodeOf(verdicts);
}

async function checkAll(
  candidates: Candidate[],
  stored: ReadonlyMap<string, StatisticsRow>,
  verdicts: Verdict[],
  { api, tell, stop }: VerificationParts,
): Promise<void> {
  tell({ kind: 'phase', label: 'verifying', total: candidates.length });
  const checkOne = async (candidate: Candidate) => {
    verdicts.push(await check(candidate, stored.get(keyOf(candidate)), api));
    tell({ kind: 'step', done: verdicts.length, failed: verdicts.filter(isWrong).length });
  };
  const [first, ...rest] = candidates;
  // Alone, so that an account that may not do this at all is refused once and not by every request in flight.
  if (first) await checkOne(first);
  const checks = mapConcurrently(rest, api.maxInFlight, async (candidate) => {
    try {
      await checkOne(candidate);
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  });
  for await (const _ of checks);
}

function keyOf({ type, id }: Pick<Candidate, 'type' | 'id'>): string {
  return `${type.name} ${id}`;
}

async function storedRows(
  database: Database,
  types: readonly EntityType[],
  candidates: readonly Candidate[],
): Promise<Map<string, StatisticsRow>> {
  const stored = new Map<string, StatisticsRow>();
  for (const type of types) {
    const ids = candidates.filter((candidate) => candidate.type === type).map(({ id }) => id);
    for (const row of await database.storedStatistics(type, ids))
      stored.set(keyOf({ type, id: row.id }), row);
  }
  return stored;
}

async function withStatistics(
  database: Database,
  types: readonly EntityType[],
  signal: AbortSignal,
): Promise<Candidate[]> {
  const candidates: Candidate[] = [];
  for (const type of types) {
    for await (const page of database.entities(type)) {
      signal.throwIfAborted();
      for (const { id, name, statsUpdatedAtMs } of page) {
        if (statsUpdatedAtMs !== null) candidates.push({ type, id, name });
      }
    }
  }
  return candidates;
}

/** Takes so many of the items out of the list, each as likely as another. */
function drawSample<Item>(items: Item[], size: number): Item[] {
  const drawn: Item[] = [];
  while (drawn.length < size && items.length > 0) {
    const [item] = items.splice(Math.floor(Math.random() * items.length), 1);
    if (item !== undefined) drawn.push(item);
  }
  return drawn;
}

async function check(candidate: Candidate, row: StatisticsRow | undefined, api: RacingApi): Promise<Verdict> {
  const { type, id } = candidate;
  const updatedAt = row?.stats_updated_at;
  if (row === undefined || typeof updatedAt !== 'string') {
    return { candidate, differences: [], failure: 'its row or its statistics are gone' };
  }
  try {
    const window = statisticsWindow(utcDate(instantMs(updatedAt)));
    const expected = (await walkEntity(api, type, id, window)).row(type, id);
    const differences = statisticsColumns(type)
      .filter((column) => row[column] !== expected[column])
      .map((column) => `${column} is ${row[column]}, its own results give ${expected[column]}`);
    return { candidate, differences };
  } catch (error) {
    if (error instanceof ResultsError) return { candidate, differences: [], failure: error.message };
    throw error;
  }
}

function isWrong({ differences, failure }: Verdict): boolean {
  return differences.length > 0 || failure !== undefined;
}

function showVerdicts(verdicts: readonly Verdict[], tell: Tell): void {
  const say = (line: string) => tell({ kind: 'line', line });
  const wrong = verdicts.filter(isWrong);
  const different = wrong.filter(({ differences }) => differences.length > 0).length;
  for (const { candidate, differences, failure } of wrong) {
    const { type, id, name } = candidate;
    const lines = failure === undefined ? differences : [`could not be checked: ${failure}`];
    for (const line of lines) say(printable(`${type.name} ${id} ${name}: ${line}`));
  }
  const equal = verdicts.length - wrong.length;
  say(`${equal} equal, ${different} different, ${wrong.length - different} could not be checked.`);
  if (different > 0) say('Results corrected since the last run differ too: run it again, then verify again.');
  if (verdicts.length === 0) say('Nothing was verified.');
}

function exitCodeOf(verdicts: readonly Verdict[]): ExitCode {
  if (verdicts.some(({ differences }) => differences.length > 0)) return exitCodes.differencesFound;
  // Nothing verified is no success either.
  const allEqual = verdicts.length > 0 && !verdicts.some(isWrong);
  return allEqual ? exitCodes.allWritten : exitCodes.someFailed;
}
