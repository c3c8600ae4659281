import { z } from 'zod';
import { exitCodes, FatalError, type ResultsErrorKind } from './errors.js';
import type { HttpAnswer } from './http-answer.js';
import type { Race } from './statistics.js';

/** The API's largest page: see `limit` in its OpenAPI description. */
export const pageSize = 100;

const runnerSchema = z.object({
  // Null is a fault (the result may still be to come); a number is its text.
  position: z.union([z.string(), z.number().transform(String)]),
  jockey_id: z.string(),
  trainer_id: z.string(),
  owner_id: z.string(),
});

const pageSchema = z.object({
  results: z
    .array(
      z.object({
        race_id: z.string().min(1),
        date: z.iso.date(),
        region: z.string(),
        runners: z.array(runnerSchema),
      }),
    )
    .nullable(),
  total: z.int().nonnegative(),
  skip: z.int().optional(),
});

/** One page of a query's races, checked, and how many races the whole query has. */
export interface ResultsPage {
  races: Race[];
  total: number;
}

/** One fault of one request, before it is known whether a retry mends it. */
export class RequestFault extends Error {
  readonly kind: ResultsErrorKind;
  readonly status: number | undefined;
  readonly retryAfterMs: number;

  constructor(kind: ResultsErrorKind, message: string, answer?: HttpAnswer, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
    this.status = answer?.status;
    this.retryAfterMs = answer?.retryAfterMs ?? 0;
  }
}

/** The page in an answer. Throws a RequestFault, or a FatalError when the account is refused. */
export function parsePage(answer: HttpAnswer, skip: number): ResultsPage {
  const { status } = answer;
  if (status === 401 || status === 403) {
    throw new FatalError(
      exitCodes.apiRefused,
      `The Racing API refuses the account (${status}): wrong credentials, a lapsed account, or an endpoint outside the plan. ` +
        'Check RACING_API_USERNAME and RACING_API_PASSWORD, and the plan at theracingapi.com.',
    );
  }
  if (status === 404) throw new RequestFault('not-found', 'the API does not know it (404)', answer);
  if (status >= 500) throw new RequestFault('unavailable', `the API answered ${status}`, answer);
  if (status >= 300 && status < 400) {
    throw new RequestFault('unusable', `the API answered with a redirect (${status})`, answer);
  }
  if (status !== 200)
    throw new RequestFault('rejected', `the API refused the parameters (${status})`, answer);

  let body: unknown;
  try {
    body = JSON.parse(answer.body);
  } catch (error) {
    throw new RequestFault('unusable', 'the answer is not JSON', answer, { cause: error });
  }
  const parsed = pageSchema.safeParse(body);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const place = issue?.path.join('.') || 'the answer';
    throw new RequestFault('unusable', `the answer has another shape than documented, at ${place}`, answer);
  }
  const { results, total, skip: echoedSkip = skip } = parsed.data;
  const races = results ?? [];
  const expected = Math.min(pageSize, Math.max(0, total - skip));
  if (races.length !== expected || echoedSkip !== skip) {
    throw new RequestFault(
      'unusable',
      `the page after ${skip} races holds ${races.length} of ${total} races instead of ${expected}`,
      answer,
    );
  }
  return { races, total };
}
