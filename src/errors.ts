/** What the process tells its caller (cron, a script); docs/operators.md says what to do about each. */
export const exitCodes = {
  allWritten: 0,
  ownBug: 1,
  usage: 2,
  someFailed: 3,
  apiUnavailable: 4,
  apiRefused: 5,
  databaseFailed: 6,
  unsafeToWrite: 7,
  filesUnusable: 8,
  differencesFound: 10,
  alreadyRunning: 11,
  interrupted: 130,
  terminated: 143,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** The exit codes in words, for --help and the run's page. */
export const exitCodeMeanings: Record<ExitCode, string> = {
  0: 'everything selected is written',
  1: 'our own bug',
  2: 'usage or configuration',
  3: 'finished, some entities failed',
  4: 'API unavailable or cooling off for too long, resumable',
  5: 'API credentials or plan refused',
  6: 'database refused or unreachable',
  7: "safety brake, or the API's answers changed shape",
  8: 'checkpoint, logs or disk unusable',
  10: 'verify found differences',
  11: 'another run is active',
  130: 'interrupted (SIGINT), state saved',
  143: 'interrupted (SIGTERM), state saved',
};

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
 * trusted (`unusable`), it refused the parameters (`rejected`) or does not know the path (`not-found`).
 */
export type ResultsErrorKind = 'unavailable' | 'unusable' | 'rejected' | 'not-found';

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
