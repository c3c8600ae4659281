import { mapConcurrently } from './concurrently.js';
import type { Database } from './database.js';
import type { EntityType } from './entity-types.js';
import { type ExitCode, exitCodes, ResultsError } from './errors.js';
import { formatEntities, printable } from './format.js';
import type { Progress } from './progress.js';
import type { RacingApi } from './racing-api.js';
import { instantMs, type StatisticsRow, statisticsRow } from './rows.js';
import { statisticsWindow, utcDate } from './statistics.js';
import { walkEntity } from './walk.js';

export interface VerificationOptions {
  types: readonly EntityType[];
  /** How many entities to check, drawn at random from all of these types that have statistics. */
  sample: number;
}

export interface VerificationParts {
  api: RacingApi;
  database: Database;
  progress: Progress;
  /** How many entities to walk at once. */
  concurrency: number;
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
  { types, sample }: VerificationOptions,
  parts: VerificationParts,
): Promise<ExitCode> {
  const { database, progress, stop } = parts;
  const candidates = drawSample(await withStatistics(database, types, stop.signal), sample);
  progress.log(`Checking ${formatEntities(candidates.length)} against their own results.`);
  const verdicts: Verdict[] = [];
  try {
    await checkAll(candidates, await storedRows(database, types, candidates), verdicts, parts);
  } finally {
    progress.close();
    showVerdicts(verdicts, progress);
  }
  return exitCodeOf(verdicts);
}

async function checkAll(
  candidates: Candidate[],
  stored: ReadonlyMap<string, StatisticsRow>,
  verdicts: Verdict[],
  { api, progress, concurrency, stop }: VerificationParts,
): Promise<void> {
  const phase = progress.phase('verifying', candidates.length);
  const checkOne = async (candidate: Candidate) => {
    verdicts.push(await check(candidate, stored.get(keyOf(candidate)), api));
    phase.update({ done: verdicts.length, failed: verdicts.filter(isWrong).length });
  };
  const [first, ...rest] = candidates;
  // Alone, so that an account that may not do this at all is refused once and not by every request in flight.
  if (first) await checkOne(first);
  const checks = mapConcurrently(rest, concurrency, async (candidate) => {
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
      for (const { id, name, statsUpdatedAt } of page) {
        if (statsUpdatedAt !== null) candidates.push({ type, id, name });
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
    const expected = statisticsRow(type, id, await walkEntity(api, type, id, window), updatedAt);
    const differences = Object.values(type.columns)
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

function showVerdicts(verdicts: readonly Verdict[], progress: Progress): void {
  const wrong = verdicts.filter(isWrong);
  const different = wrong.filter(({ differences }) => differences.length > 0).length;
  for (const { candidate, differences, failure } of wrong) {
    const { type, id, name } = candidate;
    const lines = failure === undefined ? differences : [`could not be checked: ${failure}`];
    for (const line of lines) progress.log(printable(`${type.name} ${id} ${name}: ${line}`));
  }
  const equal = verdicts.length - wrong.length;
  progress.log(`${equal} equal, ${different} different, ${wrong.length - different} could not be checked.`);
  if (different > 0)
    progress.log('Results corrected since the last run differ too: run it again, then verify again.');
  if (verdicts.length === 0) progress.log('Nothing was verified.');
}

function exitCodeOf(verdicts: readonly Verdict[]): ExitCode {
  if (verdicts.some(({ differences }) => differences.length > 0)) return exitCodes.differencesFound;
  // Nothing verified is no success either.
  const allEqual = verdicts.length > 0 && !verdicts.some(isWrong);
  return allEqual ? exitCodes.allWritten : exitCodes.someFailed;
}
