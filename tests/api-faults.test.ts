import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ApiCall } from '../demo/simulator.js';
import {
  callsOf,
  checkpointIds,
  type Fault,
  figures,
  html,
  inject,
  type ResultsBody,
  raceCount,
  runWith,
  type StoredWorld,
  spoilt,
  startStoredWorld,
  status,
  typeNamed,
  wholeRows,
  wholeTables,
} from './faults.js';
import type { World } from './world.js';

const jockeys = typeNamed('jockeys');
const walk = { entities: [jockeys], strategy: 'walk' } as const;
const sweep = { entities: [jockeys], strategy: 'sweep' } as const;

let world: World;
let stored: StoredWorld;
/** What a run without faults writes. */
let right: Map<string, unknown>;
/** The jockey whom a run takes first, and one in the middle with two pages of races. */
let firstId: string;
let faultyId: string;

beforeAll(async () => {
  stored = await startStoredWorld();
  ({ world, right } = stored);
  const [first = '', ...others] = stored.ids;
  firstId = first;
  faultyId = others.find((id) => raceCount(world, jockeys, id) > 100) ?? '';
});
beforeEach(() => stored.restore());
afterAll(() => world.close());

const json = { 'content-type': 'application/json' };
const reset = (response: ServerResponse) => response.socket?.resetAndDestroy();

/** The full head and half of the body, then whatever `end` does. */
const cut =
  (end: (response: ServerResponse) => unknown): Fault =>
  (response, normal) => {
    const body = JSON.stringify(normal);
    response.writeHead(200, { ...json, 'content-length': Buffer.byteLength(body) });
    response.write(body.slice(0, body.length / 2), () => end(response));
  };

const drip: Fault = (response) => {
  response.writeHead(200, json);
  const timer = setInterval(() => response.write(' '), 20);
  response.on('close', () => clearInterval(timer));
};

const truncated: Fault = (response, normal) => response.writeHead(200, json).end(JSON.stringify(normal).slice(0, -20));

/** Spoils the first race of the page, or its first runner. */
const spoiltRace = (change: (race: NonNullable<ResultsBody['results']>[number]) => unknown): Fault =>
  spoilt(({ results }) => void (results?.[0] && change(results[0])));
const spoiltRunner = (change: (runner: Record<string, unknown>) => unknown): Fault =>
  spoiltRace(({ runners }) => runners[0] && change(runners[0]));

/** Its name, and what the user is told when retries do not mend it. */
type FaultKind = [name: string, fault: Fault, told: RegExp];

/** When a sweep, or the whole API, answers so to the end, the exit code is 4. */
const noAnswer: FaultKind[] = [
  ['500', status(500, json), /answered 500/],
  ['502 as an HTML page', html(502), /answered 502/],
  ['503', status(503), /answered 503/],
  ['a reset before the answer', reset, /ECONNRESET|UND_ERR_SOCKET/],
  ['a reset in the middle of the body', cut(reset), /ECONNRESET|UND_ERR_SOCKET|terminated/],
  ['an end in the middle of the body', cut(({ socket }) => socket?.end()), /UND_ERR_SOCKET|terminated|mismatch/],
  ['an answer that never comes', () => {}, /no complete answer in 0.25s/],
  ['an answer that drips', drip, /no complete answer in 0.25s/],
];

/** When a sweep, or the whole API, answers so to the end, the exit code is 7. */
const unusable: FaultKind[] = [
  ['truncated JSON', truncated, /is not JSON/],
  ['an empty body', status(200, json, ''), /is not JSON/],
  ['HTML with 200', html(200), /is not JSON/],
  ['an error object with 200', status(200, json, '{"error":"internal"}'), /another shape than documented, at /],
  ['a body without results', spoilt(({ results: _, ...rest }) => rest), /at results/],
  ['results: null with a total', spoilt((body) => ({ ...body, results: null })), /holds 0 of/],
  ['a body without total', spoilt(({ total: _, ...rest }) => rest), /at total/],
  ['a page shorter than its total', spoilt(({ results }) => void results?.pop()), /races instead of/],
  ['a page with total 0 and races', spoilt((body) => ({ ...body, total: 0 })), /races instead of 0/],
  ['another page than asked for', spoilt((body) => ({ ...body, skip: 17 })), /races instead of/],
  ['a race without runners', spoiltRace((race) => Reflect.deleteProperty(race, 'runners')), /at results\.0\.runners/],
  ['a race without date', spoiltRace((race) => Reflect.deleteProperty(race, 'date')), /at results\.0\.date/],
  ...['yesterday', '2025-02-30', '25/10/2025', null].map((date): FaultKind => {
    return [`the date ${date}`, spoiltRace((race) => Object.assign(race, { date })), /at results\.0\.date/];
  }),
  ['a position that is null', spoiltRunner((one) => Object.assign(one, { position: null })), /runners\.0\.position/],
  ['a runner without ids', spoiltRunner((one) => Reflect.deleteProperty(one, 'owner_id')), /runners\.0\.owner_id/],
  ['a redirect', status(302, { location: '/elsewhere' }), /a redirect \(302\)/],
];

const kinds = [
  ...noAnswer.map(([name, fault, told]) => ({ name, fault, told, exitCode: 4 })),
  ...unusable.map(([name, fault, told]) => ({ name, fault, told, exitCode: 7 })),
];
const kindsNamed = (...names: string[]) => kinds.filter(({ name }) => names.includes(name));
/** Short where answers come too late or never. */
const timeoutOf = (told: RegExp) => (told.source.includes('0.25s') ? 250 : 5_000);

/** Calls for the third window that a sweep asks for. */
function thirdWindow(): (call: ApiCall) => boolean {
  const starts = new Set<string | null>();
  return ({ url }) => {
    const start = url.searchParams.get('start_date');
    starts.add(start);
    return [...starts][2] === start;
  };
}

describe('a fault', () => {
  it.each([walk, sweep])('of each kind in a $strategy is mended, be it the fifth of one page', async (options) => {
    const left = kinds.map(({ fault }) => fault);
    const timesHit = new Map<string, number>();
    const hits = ({ url }: ApiCall) => {
      const { total } = world.api.answer(url).body as ResultsBody;
      const times = (timesHit.get(url.href) ?? 0) + 1;
      timesHit.set(url.href, times);
      return total > 0 && times <= 5 && left.length > 0;
    };
    inject(world, (...answer) => left.shift()?.(...answer), hits);
    const report = await runWith(world, options, { timeoutMs: 1_500 });
    expect(report).toMatchObject({ exit_code: 0, requests: world.api.calls.length, failures: [] });
    expect(left).toEqual([]);
    expect(Math.max(...timesHit.values())).toBe(6);
    expect(await figures(world, jockeys)).toEqual(right);
  });

  it.each(kinds)('$name, in a sweep six times: nothing is written', async ({ fault, told, exitCode }) => {
    const hits = thirdWindow();
    inject(world, fault, hits);
    const before = await wholeTables(world);
    const { exit_code, stopped_by, failures } = await runWith(world, sweep, { timeoutMs: timeoutOf(told) });
    expect({ exit_code, failures }).toEqual({ exit_code: exitCode, failures: [] });
    expect(stopped_by).toMatch(told);
    expect(stopped_by).toContain('Nothing was written');
    expect(world.api.calls.filter(hits)).toHaveLength(6);
    expect(await wholeTables(world)).toEqual(before);
    expect(checkpointIds(world, jockeys)).toEqual([]);
  });

  const ofOneEntity = ['500', 'a reset in the middle of the body', 'an answer that never comes', 'truncated JSON'];
  it.each(kindsNamed(...ofOneEntity))('$name, for one entity six times: its row stays', async ({ fault, told }) => {
    inject(world, fault, callsOf(faultyId));
    const before = await wholeRows(world, jockeys);
    const report = await runWith(world, walk, { timeoutMs: timeoutOf(told), firstRetryMs: 10 });
    expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
    const name = world.season.jockeys.find(({ id }) => id === faultyId)?.name;
    const reason = expect.stringMatching(told);
    expect(report.failures).toEqual([{ entity_type: 'jockeys', id: faultyId, name, reason }]);
    expect(report.statistics.jockeys).toMatchObject({ total: 14, processed: 14, successful: 13, failed: 1 });
    expect(report.lines).toContain(`jockeys ${faultyId} ${name}: ${report.failures[0]?.reason}`);

    expect((await wholeRows(world, jockeys)).get(faultyId)).toBe(before.get(faultyId));
    const after = await figures(world, jockeys);
    const written = stored.ids.filter((id) => id !== faultyId);
    for (const id of written) expect(after.get(id)).toEqual(right.get(id));
    expect(checkpointIds(world, jockeys).sort()).toEqual(written.sort());

    const times = world.api.calls.filter(callsOf(faultyId)).map(({ at }) => at);
    expect(times).toHaveLength(6);
    const waits = times.slice(1).map((at, index) => at - (times[index] ?? 0));
    for (const [index, waitMs] of waits.entries()) expect(waitMs).toBeGreaterThanOrEqual(10 * 2 ** index - 1);
  });

  it.each(kindsNamed('500', 'truncated JSON'))(
    '$name, for the first entity does not stop the run',
    async ({ fault }) => {
      inject(world, fault, callsOf(firstId));
      expect(await runWith(world, walk)).toMatchObject({ exit_code: 3, failures: [{ id: firstId }] });
    },
  );

  const ofAll = ['500', '502 as an HTML page', 'a reset before the answer', 'truncated JSON', 'a redirect'];
  it.each(kindsNamed(...ofAll))('$name, in every answer of a walk', async ({ fault, told, exitCode }) => {
    inject(world, fault, () => true);
    const before = await wholeTables(world);
    const report = await runWith(world, walk);
    expect(report).toMatchObject({ exit_code: exitCode, stopped_by: expect.stringMatching(told) });
    expect(report.stopped_by).toContain('RACING_API_BASE_URL');
    expect(await wholeTables(world)).toEqual(before);
    expect(checkpointIds(world, jockeys)).toEqual([]);
  });
});

it('the number 1 as a position is a win', async () => {
  const asNumbers = spoilt(({ results }) => {
    for (const runner of results?.flatMap(({ runners }) => runners) ?? []) {
      if (/^\d+$/.test(String(runner.position))) runner.position = Number(runner.position);
    }
  });
  inject(world, asNumbers, () => true);
  expect(await runWith(world, walk)).toMatchObject({ exit_code: 0 });
  expect(await figures(world, jockeys)).toEqual(right);
});
