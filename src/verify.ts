import { type Database, instantMs } from './database.js';
import type { Entity, EntityType } from './entity-types.js';
import { type ExitCode, exitCodes, ResultsError } from './errors.js';
import type { Tell } from './events.js';
import { formatEntities, printable } from './format.js';
import type { VerifyOptions } from './options.js';
import type { RacingApi } from './racing-api.js';
import { statisticsColumns, statisticsWindow, utcDate } from './statistics.js';
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

interface Verdict extends Candidate {
  kind: 'equal' | 'different' | 'unchecked';
  /** What differs, or why it could not be checked. */
  remarks: string[];
}

/**
 * Compares stored rows with what their entities' own results give, as of the UTC date of stats_updated_at, and
 * shows the differences. Returns the exit code.
 * @throws FatalError
 */
export async function verifyStatistics(options: SampleOptions, parts: VerificationParts): Promise<ExitCode> {
  const { api, stop, tell } = parts;
  const candidates = await drawSample(options, parts);
  tell({ kind: 'line', line: `Checking ${formatEntities(candidates.length)} against their own results.` });
  const verdicts: Verdict[] = [];
  let exitCode: ExitCode;
  try {
    const phase = { label: 'verifying', done: 0, total: candidates.length, failed: 0 };
    tell({ kind: 'phase', ...phase });
    for await (const verdict of askEach(candidates, api.maxInFlight, stop, (one) => check(one, parts))) {
      verdicts.push(verdict);
      phase.done += 1;
      if (verdict.kind !== 'equal') phase.failed += 1;
      tell({ kind: 'step', ...phase });
    }
  } finally {
    tell({ kind: 'over' });
    exitCode = showVerdicts(verdicts, tell);
  }
  return exitCode;
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

async function check(candidate: Candidate, { api, database }: VerificationParts): Promise<Verdict> {
  const { type, entity } = candidate;
  const stored = await database.storedStatistics(type, entity.id);
  const updatedAt = stored?.stats_updated_at;
  if (stored === undefined || typeof updatedAt !== 'string') {
    return { ...candidate, kind: 'unchecked', remarks: ['its row or its statistics are gone'] };
  }
  try {
    const window = statisticsWindow(utcDate(instantMs(updatedAt)));
    const expected = await walkedRow(api, type, entity.id, window);
    const remarks = statisticsColumns(type)
      .filter((column) => !isSame(stored[column], expected[column]))
      .map((column) => `${column} is ${stored[column]}, its own results give ${expected[column]}`);
    return { ...candidate, kind: remarks.length > 0 ? 'different' : 'equal', remarks };
  } catch (error) {
    if (error instanceof ResultsError) return { ...candidate, kind: 'unchecked', remarks: [error.message] };
    throw error;
  }
}

type Value = string | number | null | undefined;

/** A number may be stored as text. */
function isSame(stored: Value, expected: Value): boolean {
  return stored === expected || (typeof expected === 'number' && stored !== null && Number(stored) === expected);
}

/** Shows what is not equal, and the sums. Returns the exit code. */
function showVerdicts(verdicts: readonly Verdict[], tell: Tell): ExitCode {
  const say = (line: string) => tell({ kind: 'line', line });
  for (const { type, entity, kind, remarks } of verdicts) {
    for (const remark of remarks) {
      const what = kind === 'unchecked' ? `could not be checked: ${remark}` : remark;
      say(printable(`${type.name} ${entity.id} ${entity.name}: ${what}`));
    }
  }
  const count = (wanted: Verdict['kind']) => verdicts.filter(({ kind }) => kind === wanted).length;
  const [equal, different, unchecked] = [count('equal'), count('different'), count('unchecked')];
  say(`${equal} equal, ${different} different, ${unchecked} could not be checked.`);
  if (different > 0) say('Results corrected since the last run differ too: run it again, then verify again.');
  if (verdicts.length === 0) say('Nothing was verified.');
  if (different > 0) return exitCodes.differencesFound;
  // Nothing verified is no success either.
  return equal > 0 && unchecked === 0 ? exitCodes.allWritten : exitCodes.someFailed;
}
