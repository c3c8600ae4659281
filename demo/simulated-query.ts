import { daysBefore, daysBetween, isDate } from './season-dates.js';

/** The checked parameters of a request for results. */
export interface ResultsQuery {
  /** YYYY-MM-DD, both included. */
  startDate: string;
  endDate: string;
  /** In capitals; none means all. */
  regions: string[];
  limit: number;
  skip: number;
}

/** One entry of `detail` in an answer with status 422. */
export interface ValidationError {
  loc: (string | number)[];
  msg: string;
  type: string;
  input: string;
}

export interface QueryLimits {
  /** YYYY-MM-DD; the default of `end_date`. */
  today: string;
  /** Whether `start_date` may be more than 365 days back, as for one entity's results. */
  wholeHistory: boolean;
}

/** The API's rule for the default of `start_date`, the longest range, and how far back all results go. */
const MAXIMUM_DAYS = 365;

/**
 * Reads `start_date`, `end_date`, `region`, `limit` and `skip`. The API's other filters are not simulated and have
 * no effect. Gives the query, or everything that is wrong with it.
 */
export function parseResultsQuery(
  parameters: URLSearchParams,
  limits: QueryLimits,
): { query: ResultsQuery; errors: ValidationError[] } {
  const errors: ValidationError[] = [];
  const oldest = daysBefore(limits.today, MAXIMUM_DAYS);
  const query = {
    startDate: readDate(parameters, 'start_date', oldest, errors),
    endDate: readDate(parameters, 'end_date', limits.today, errors),
    regions: parameters.getAll('region').map((region) => region.toUpperCase()),
    limit: readInteger(parameters, 'limit', { standard: 50, least: 1, most: 100 }, errors),
    skip: readInteger(parameters, 'skip', { standard: 0, least: 0, most: 20_000 }, errors),
  };
  if (errors.length === 0) checkRange(query, limits.wholeHistory ? undefined : oldest, errors);
  return { query, errors };
}

function readDate(
  parameters: URLSearchParams,
  name: string,
  standard: string,
  errors: ValidationError[],
): string {
  const text = parameters.get(name) ?? standard;
  if (!isDate(text))
    errors.push(describe(name, text, 'value_error', 'Date must be in the format YYYY-MM-DD'));
  return text;
}

function readInteger(
  parameters: URLSearchParams,
  name: string,
  { standard, least, most }: { standard: number; least: number; most: number },
  errors: ValidationError[],
): number {
  const text = parameters.get(name) ?? `${standard}`;
  const value = Number(text);
  if (!/^-?\d+$/.test(text)) {
    const message = 'Input should be a valid integer, unable to parse string as an integer';
    errors.push(describe(name, text, 'int_parsing', message));
  } else if (value < least) {
    const message = `Input should be greater than or equal to ${least}`;
    errors.push(describe(name, text, 'greater_than_equal', message));
  } else if (value > most) {
    errors.push(describe(name, text, 'less_than_equal', `Input should be less than or equal to ${most}`));
  }
  return value;
}

function checkRange(query: ResultsQuery, oldest: string | undefined, errors: ValidationError[]): void {
  const { startDate, endDate } = query;
  if (startDate > endDate) {
    errors.push(describe('start_date', startDate, 'value_error', 'Start date must not be after end date'));
  } else if (daysBetween(startDate, endDate) > MAXIMUM_DAYS) {
    const message = `Maximum range between start and end date is ${MAXIMUM_DAYS} days`;
    errors.push(describe('end_date', endDate, 'value_error', message));
  }
  if (oldest !== undefined && startDate < oldest) {
    const message = `Start date is limited to up to ${MAXIMUM_DAYS} days in the past`;
    errors.push(describe('start_date', startDate, 'value_error', message));
  }
}

function describe(name: string, input: string, type: string, msg: string): ValidationError {
  return { loc: ['query', name], msg, type, input };
}
