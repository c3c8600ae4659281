import type { Database } from './database.js';
import type { Entity, EntityType } from './entity-types.js';
import { type ExitCode, exitCodes, ResultsError } from './errors.js';
import type { Failure, Tell } from './events.js';
import { formatEntities, printable } from './format.js';
import type { VerifyOptions } from './options.js';
import type { RacingApi } from './racing-api.js';
import { instantMs, type StatisticsRow, statisticsColumns, statisticsWindow, utcDate } from './statistics.js';
import { askEach, walkedRow } from './walk.js';

type SampleOptions = Pick<VerifyOptions, 'entities' | 'sample'>;

interface VerificationParts {
  api: RacingApi;
  database: Database;
  tell: Tell;
  /** Aborted to stop asking; what was found by then is shown. */
  stop: AbortController;
}

interface Candidate {
  type: EntityType;
  entity: Entity;
}

type Named = Omit<Failure, 'reason'>;

/** Undefined where the database has no such column. */
type Value = StatisticsRow[string] | undefined;

/** A column whose stored value is not what the entity's own results give. */
type Difference = Named & { column: string; stored: Value; expected: Value };

/** What a verification has found, for people and scripts. */
interface Findings {
  exit_code: ExitCode;
  equal: number;
  different: number;
  unchecked: number;
  differences: Difference[];
  /** The entities that could not be checked. */
  failures: Failure[];
}

/**
 * Compares stored rows with what their entities' own results give, as of the UTC date of stats_updated_at, and
 * shows the differences, also those that were found when it was stopped.
 * @throws FatalError
 */
export async function verifyStatistics(options: SampleOptions, parts: VerificationParts): Promise<Findings> {
  const { api, stop, tell } = parts;
  const candidates = await drawSample(options, parts);
  const counts = { equal: 0, different: 0, unchecked: 0 };
  const differences: Difference[] = [];
  const failures: Failure[] = [];
  const isAny = candidates.length > 0;
  const what = isAny ? `Checking ${formatEntities(candidates.length)}` : 'No entity has statistics to be checked';
  tell({ kind: 'line', line: `${what} against their own results.` });
  // Nothing verified is no success.
  if (!isAny) return { exit_code: exitCodes.someFailed, ...counts, differences, failures };
  try {
    const phase = { label: 'verifying', done: 0, total: candidates.length, failed: 0 };
    tell({ kind: 'phase', ...phase });
    for await (const found of askEach(candidates, api.maxInFlight, stop, (one) => check(one, parts))) {
      if ('failure' in found) failures.push(found.failure);
      else differences.push(...found.differences);
      const kind = 'failure' in found ? 'unchecked' : found.differences.length > 0 ? 'different' : 'equal';
      counts[kind] += 1;
      phase.done += 1;
      if (kind !== 'equal') phase.failed += 1;
      tell({ kind: 'step', ...phase });
    }
  } finally {
    tell({ kind: 'over' });
    show(differences, failures, counts, tell);
  }
  const { differencesFound, someFailed, allWritten } = exitCodes;
  const exit_code = counts.different > 0 ? differencesFound : counts.unchecked > 0 ? someFailed : allWritten;
  return { exit_code, ...counts, differences, failures };
}

/** So many of the entities with statistics, each as likely as another. */
async function drawSample({ entities: types, sample }: SampleOptions, parts: VerificationParts): Promise<Candidate[]> {
  const candidates: Candidate[] = [];
  for (const type of types) {
    for await (const page of parts.database.entities(type)) {
      parts.stop.signal.throwIfAborted();
      for (const entity of page) if (entity.statsUpdatedAtMs !== null) candidates.push({ type, entity });
    }
  }
  const drawn: Candidate[] = [];
  while (drawn.length < sample && candidates.length > 0) {
    drawn.push(...candidates.splice(Math.floor(Math.random() * candidates.length), 1));
  }
  return drawn;
}

/** What differs, which may be nothing, or why it could not be checked. */
async function check(
  { type, entity }: Candidate,
  { api, database }: VerificationParts,
): Promise<{ differences: Difference[] } | { failure: Failure }> {
  const named: Named = { entity_type: type.name, id: entity.id, name: entity.name };
  const row = await database.storedStatistics(type, entity.id);
  const updatedAt = row?.stats_updated_at;
  if (row === undefined || typeof updatedAt !== 'string') {
    return { failure: { ...named, reason: 'its row or its statistics are gone' } };
  }
  try {
    const window = statisticsWindow(utcDate(instantMs(updatedAt)));
    const own = await walkedRow(api, type, entity.id, window);
    const columns = statisticsColumns(type).filter((column) => !isSame(row[column], own[column]));
    return { differences: columns.map((column) => ({ ...named, column, stored: row[column], expected: own[column] })) };
  } catch (error) {
    if (error instanceof ResultsError) return { failure: { ...named, reason: error.message } };
    throw error;
  }
}

/** A number may be stored as text. */
function isSame(stored: Value, expected: Value): boolean {
  return stored === expected || (typeof expected === 'number' && stored !== null && Number(stored) === expected);
}

/** Shows what is not equal, and the sums. */
function show(
  differences: readonly Difference[],
  failures: readonly Failure[],
  { equal, different, unchecked }: Pick<Findings, 'equal' | 'different' | 'unchecked'>,
  tell: Tell,
): void {
  const say = (line: string) => tell({ kind: 'line', line });
  const sayOf = (one: Named, what: string) => say(printable(`${one.entity_type} ${one.id} ${one.name}: ${what}`));
  for (const one of differences) sayOf(one, `${one.column} is ${one.stored}, its own results give ${one.expected}`);
  for (const one of failures) sayOf(one, `could not be checked: ${one.reason}`);
  say(`${equal} equal, ${different} different, ${unchecked} could not be checked.`);
  if (different > 0)
    say('Results corrected since the last run differ too: run it again without --refresh, then verify again.');
}
