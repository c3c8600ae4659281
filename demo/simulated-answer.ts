import type { SeasonRace } from './season.js';
import { parseResultsQuery, type ResultsQuery, type ValidationError } from './simulated-query.js';
import { renderRace, type SimulatedRace } from './simulated-race.js';
import type { EntityTypeSegment, ResultsIndex } from './simulated-results-index.js';

/** ResultsStandardPage */
export interface ResultsPage {
  /** Null when nothing matches; empty when `skip` goes past the last one. */
  results: SimulatedRace[] | null;
  total: number;
  limit: number;
  skip: number;
  /** The request's parameters, repeated: `[["region", "gb"], ...]`. */
  query: [name: string, value: string][];
}

export interface ErrorBody {
  detail: string | ValidationError[];
}

export interface Answer {
  status: number;
  body: ResultsPage | ErrorBody;
}

/** What a path asks for; an entity id as the path has it, percent-decoded. */
export type Route = { type: 'all' } | { type: EntityTypeSegment; id: string };

/** Finds what a path like `/v1/results` or `/v1/jockeys/jky_1/results` asks for; undefined for any other path. */
export function findRoute(path: string): Route | undefined {
  if (path === '/v1/results') return { type: 'all' };
  const [, type, id] = /^\/v1\/(jockeys|trainers|owners)\/([^/]+)\/results$/.exec(path) ?? [];
  if (id === undefined) return undefined;
  return { type: type as EntityTypeSegment, id: decodeURIComponent(id) };
}

/** Answers a request for results as the API does to an account that may ask it. `today` is YYYY-MM-DD. */
export function answerResults(url: URL, index: ResultsIndex, today: string): Answer {
  const route = findRoute(url.pathname);
  if (route === undefined) return notFound();
  const { query, errors } = parseResultsQuery(url.searchParams, {
    today,
    wholeHistory: route.type !== 'all',
  });
  if (errors.length > 0) return { status: 422, body: { detail: errors } };
  const races = route.type === 'all' ? index.races() : index.racesOf(route.type, route.id);
  if (races === undefined) return notFound();
  const matching = races.filter((race) => matches(race, query));
  const page = matching.slice(query.skip, query.skip + query.limit);
  const results = page.map((race) => renderRace(race, index.nameOf));
  return {
    status: 200,
    body: {
      results: matching.length === 0 ? null : results,
      total: matching.length,
      limit: query.limit,
      skip: query.skip,
      query: [...url.searchParams],
    },
  };
}

function matches(race: SeasonRace, { startDate, endDate, regions }: ResultsQuery): boolean {
  if (race.date < startDate || race.date > endDate) return false;
  return regions.length === 0 || regions.includes(race.region);
}

function notFound(): Answer {
  return { status: 404, body: { detail: 'Not Found' } };
}
