/**
 * How the process ends: the code that its caller (cron, a script) gets, and what it means, for --help and the run's
 * page. docs/operators.md says what to do about each.
 */
const endings = {
  allWritten: [0, 'everything selected is written'],
  ownBug: [1, 'our own bug'],
  usage: [2, 'usage or configuration'],
  someFailed: [3, 'finished, some entities failed'],
  apiUnavailable: [4, 'API unavailable or cooling off for too long, resumable'],
  apiRefused: [5, 'API credentials or plan refused'],
  databaseFailed: [6, 'database refused or unreachable'],
  unsafeToWrite: [7, "safety brake, or the API's answers changed shape"],
  filesUnusable: [8, 'checkpoint, logs or disk unusable'],
  differencesFound: [10, 'verify found differences'],
  alreadyRunning: [11, 'another run is active'],
  notWell: [12, 'status --check: the last run failed, or the newest success is too old'],
  interrupted: [130, 'interrupted (SIGINT), state saved'],
  terminated: [143, 'interrupted (SIGTERM), state saved'],
} as const;
type Endings = typeof endings;

export type ExitCode = Endings[keyof Endings][0];

export const exitCodes = Object.fromEntries(Object.entries(endings).map(([name, [code]]) => [name, code])) as {
  [Name in keyof Endings]: Endings[Name][0];
};

/** Whether a run was ended by a signal. */
export const isInterruption = (code: number | null) => code === exitCodes.interrupted || code === exitCodes.terminated;

export const exitCodeMeanings = Object.fromEntries(Object.values(endings)) as Record<ExitCode, string>;

/** Ends the run. Its message is for people: what happened and what to do next. */
export class FatalError extends Error {
  override name = 'FatalError';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/**
 * Why one results query has no complete answer: the API did not answer (`unavailable`), its answers cannot be
 * trusted (`unusable`), it refused the parameters (`rejected`) or the account (`refused`), or does not know the path
 * (`not-found`).
 */
export type ResultsErrorKind = 'unavailable' | 'unusable' | 'rejected' | 'refused' | 'not-found';

/** One results query could not be read completely. A walk counts it as its entity's failure; it ends a sweep. */
export class ResultsError extends Error {
  override name = 'ResultsError';
  readonly kind: ResultsErrorKind;

  constructor(kind: ResultsErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** The code of a system error (ENOENT, EEXIST, ...), if it is one. */
export function errorCode(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

/** What is at the bottom of a network error: a chain of causes, one for each address that was tried. `code` may be ''. */
export function innermostError(error: unknown): { code: string; message: string } {
  const next = error instanceof AggregateError ? error.errors[0] : error instanceof Error && error.cause;
  if (next instanceof Error) return innermostError(next);
  if (!(error instanceof Error)) return { code: '', message: String(error) };
  return { code: String(errorCode(error) ?? ''), message: error.message || 'the connection failed' };
}
