import type { ServerResponse } from 'node:http';
import { type Fault, html, type ResultsBody, spoilt, status } from './faults.js';

/** A fault of one answer, and what the user is told when retries do not mend it. */
export interface FaultKind {
  name: string;
  fault: Fault;
  /** In the failure's reason. */
  told: RegExp;
  /** When a sweep, or the whole API, answers so to the end. */
  exitCode: 4 | 7;
  /** For answers that come too late or never. */
  timeoutMs?: number;
}

/** The full head and half of the body, then whatever `end` does. */
const cut =
  (end: (response: ServerResponse) => unknown): Fault =>
  (response, normal) => {
    const body = JSON.stringify(normal);
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    });
    response.write(body.slice(0, body.length / 2), () => end(response));
  };

const drip: Fault = (response) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  const timer = setInterval(() => response.write(' '), 20);
  response.on('close', () => clearInterval(timer));
};

/** Spoils the first race of the page. */
const race = (change: (race: NonNullable<ResultsBody['results']>[number]) => void): Fault =>
  spoilt((body) => {
    const first = body.results?.[0];
    if (first) change(first);
  });

const json = { 'content-type': 'application/json' };
const shape = /another shape than documented, at /;

/** Faults that a retry may mend. Only of answers that hold races. */
export const passingFaults: FaultKind[] = [
  { name: '500', fault: status(500, json), told: /answered 500/, exitCode: 4 },
  { name: '502 as an HTML page', fault: html(502), told: /answered 502/, exitCode: 4 },
  { name: '503', fault: status(503), told: /answered 503/, exitCode: 4 },
  {
    name: 'a reset before the answer',
    fault: (response) => response.socket?.resetAndDestroy(),
    told: /ECONNRESET|UND_ERR_SOCKET/,
    exitCode: 4,
  },
  {
    name: 'a reset in the middle of the body',
    fault: cut((response) => response.socket?.resetAndDestroy()),
    told: /ECONNRESET|UND_ERR_SOCKET|terminated/,
    exitCode: 4,
  },
  {
    name: 'an orderly end in the middle of the body',
    fault: cut((response) => response.socket?.end()),
    told: /UND_ERR_SOCKET|terminated|mismatch/,
    exitCode: 4,
  },
  {
    name: 'an answer that never comes',
    fault: () => {},
    told: /no complete answer in 0.4s/,
    exitCode: 4,
    timeoutMs: 400,
  },
  {
    name: 'an answer that drips',
    fault: drip,
    told: /no complete answer in 0.4s/,
    exitCode: 4,
    timeoutMs: 400,
  },
  {
    name: 'truncated JSON',
    fault: (response, normal) => response.writeHead(200, json).end(JSON.stringify(normal).slice(0, -20)),
    told: /is not JSON/,
    exitCode: 7,
  },
  { name: 'an empty body', fault: status(200, json, ''), told: /is not JSON/, exitCode: 7 },
  { name: 'HTML with 200', fault: html(200), told: /is not JSON/, exitCode: 7 },
  {
    name: 'an error object with 200',
    fault: status(200, json, '{"error":"internal"}'),
    told: shape,
    exitCode: 7,
  },
  {
    name: 'a body without results',
    fault: spoilt(({ results: _, ...rest }) => rest),
    told: /at results/,
    exitCode: 7,
  },
  {
    name: 'results: null with a total',
    fault: spoilt((body) => ({ ...body, results: null })),
    told: /holds 0 of/,
    exitCode: 7,
  },
  {
    name: 'a body without total',
    fault: spoilt(({ total: _, ...rest }) => rest),
    told: /at total/,
    exitCode: 7,
  },
  {
    name: 'a page shorter than its total',
    fault: spoilt((body) => void body.results?.pop()),
    told: /races instead of/,
    exitCode: 7,
  },
  {
    name: 'a page with total 0 and races',
    fault: spoilt((body) => ({ ...body, total: 0 })),
    told: /races instead of 0/,
    exitCode: 7,
  },
  {
    name: 'another page than asked for',
    fault: spoilt((body) => ({ ...body, skip: 17 })),
    told: /races instead of/,
    exitCode: 7,
  },
  {
    name: 'a race without runners',
    fault: race((race) => Reflect.deleteProperty(race, 'runners')),
    told: /at results\.0\.runners/,
    exitCode: 7,
  },
  {
    name: 'a race without date',
    fault: race((race) => Reflect.deleteProperty(race, 'date')),
    told: /at results\.0\.date/,
    exitCode: 7,
  },
  ...['yesterday', '2025-02-30', '25/10/2025', null].map(
    (date): FaultKind => ({
      name: `the date ${date}`,
      fault: race((race) => Object.assign(race, { date })),
      told: /at results\.0\.date/,
      exitCode: 7,
    }),
  ),
  {
    name: 'a runner whose position is null',
    fault: race(({ runners }) => Object.assign(runners[0] ?? {}, { position: null })),
    told: /at results\.0\.runners\.0\.position/,
    exitCode: 7,
  },
  {
    name: 'a runner without ids',
    fault: race(({ runners }) => Reflect.deleteProperty(runners[0] ?? {}, 'owner_id')),
    told: /at results\.0\.runners\.0\.owner_id/,
    exitCode: 7,
  },
  {
    name: 'a redirect',
    fault: status(302, { location: '/elsewhere' }),
    told: /a redirect \(302\)/,
    exitCode: 7,
  },
];
