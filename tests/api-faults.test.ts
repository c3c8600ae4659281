import { createServer as createHttpServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { listen } from '../demo/loopback.js';
import type { ApiCall } from '../demo/simulator.js';
import { entityTypes } from '../src/entity-types.js';
import { hasOpenssl, selfSignedCertificate } from './certificate.js';
import {
  callsOf,
  type Fault,
  html,
  idsInOrder,
  inject,
  jockeys,
  type ResultsBody,
  runWith,
  sharedStoredWorld,
  spoilt,
  status,
  sweep,
  typeNamed,
  walk,
  wholeRows,
  wholeTables,
} from './faults.js';
import { checkpointIds, timelessRows } from './watching.js';

const auto = { entities: [jockeys], strategy: 'auto' } as const;

const { world, right, ids } = sharedStoredWorld();
/** A jockey with two pages of races. */
let faultyId: string;
beforeAll(() => {
  faultyId = world.api.races.find(({ race_id }) => race_id === 'rac_extra_0')?.runners[0]?.jockey_id ?? '';
});

const always = () => true;
const isSweep = ({ path }: ApiCall) => path === '/v1/results';

/** Runs and expects that no row has changed. */
async function expectNothingWritten(...run: Parameters<typeof runWith>) {
  const before = await wholeTables(world);
  const report = await runWith(...run);
  expect(await wholeTables(world)).toEqual(before);
  expect(checkpointIds(world, jockeys)).toEqual([]);
  return report;
}

/** Expects that these jockeys have the right values and all others the rows of before. */
async function expectRight(written: string[], before: Map<string, string>): Promise<void> {
  const [whole, values] = [await wholeRows(world, jockeys), await timelessRows(world, [jockeys])];
  for (const id of ids) {
    if (written.includes(id)) expect(values.get(id)).toEqual(right.get(id));
    else expect(whole.get(id)).toBe(before.get(id));
  }
  expect(checkpointIds(world, jockeys).sort()).toEqual(written.toSorted());
}

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

/** Changes an answer, its first race or the first runner of that; undefined takes a field away. */
const spoiltBody = (change: object): Fault => spoilt((body) => ({ ...body, ...change }));
const spoiltRace = (change: object): Fault => spoilt(({ results }) => void Object.assign(results?.[0] ?? {}, change));
const spoiltRunner = (change: object): Fault =>
  spoilt(({ results }) => void Object.assign(results?.[0]?.runners[0] ?? {}, change));

/** Its name, and what the user is told when retries do not mend it. */
type FaultKind = [name: string, fault: Fault, told: RegExp];

/** When a sweep, or the whole API, answers so to the end, the exit code is 4. */
const noAnswer: FaultKind[] = [
  ['500', status(500, json), /answered 500/],
  ['502 as an HTML page', html(502), /answered 502/],
  ['a reset before the answer', reset, /ECONNRESET|UND_ERR_SOCKET/],
  ['a reset in the middle of the body', cut(reset), /ECONNRESET|UND_ERR_SOCKET|terminated/],
  ['an end in the middle of the body', cut(({ socket }) => socket?.end()), /UND_ERR_SOCKET|terminated|mismatch/],
  ['an answer that never comes', () => {}, /no complete answer in 0.2s/],
  ['an answer that drips', drip, /no complete answer in 0.2s/],
];

/** When a sweep, or the whole API, answers so to the end, the exit code is 7. */
const unusable: FaultKind[] = [
  ['truncated JSON', truncated, /is not JSON/],
  ['an empty body', status(200, json, ''), /is not JSON/],
  ['HTML with 200', html(200), /is not JSON/],
  ['an error object with 200', status(200, json, '{"error":"internal"}'), /another shape than documented, at /],
  ['a body without results', spoiltBody({ results: undefined }), /at results/],
  ['results: null with a total', spoiltBody({ results: null }), /holds 0 of/],
  ['a body without total', spoiltBody({ total: undefined }), /at total/],
  ['a page shorter than its total', spoilt(({ results }) => void results?.pop()), /races instead of/],
  ['a page with total 0 and races', spoiltBody({ total: 0 }), /races instead of 0/],
  ['another page than asked for', spoiltBody({ skip: 17 }), /races instead of/],
  ['a race without runners', spoiltRace({ runners: undefined }), /at results\.0\.runners/],
  ...[undefined, 'yesterday', '2025-02-30', '25/10/2025', null].map((date): FaultKind => {
    return [`the date ${date}`, spoiltRace({ date }), /at results\.0\.date/];
  }),
  ['a position that is null', spoiltRunner({ position: null }), /runners\.0\.position/],
  ['a runner without ids', spoiltRunner({ owner_id: undefined }), /runners\.0\.owner_id/],
  ['a redirect', status(302, { location: '/elsewhere' }), /a redirect \(302\)/],
];

const kinds = [
  ...noAnswer.map(([name, fault, told]) => ({ name, fault, told, exitCode: 4 })),
  ...unusable.map(([name, fault, told]) => ({ name, fault, told, exitCode: 7 })),
];
const kindsNamed = (...names: string[]) => kinds.filter(({ name }) => names.includes(name));

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
    const report = await runWith(world, options, { timeoutMs: 500 });
    expect(report).toMatchObject({ exit_code: 0, requests: world.api.calls.length, failures: [] });
    expect(left).toEqual([]);
    expect(Math.max(...timesHit.values())).toBe(6);
    expect(await timelessRows(world, [jockeys])).toEqual(right);
  });

  it.each(kinds)('$name, in a sweep six times: nothing is written', async ({ fault, told, exitCode }) => {
    const hits = thirdWindow();
    inject(world, fault, hits);
    const timeoutMs = told.source.includes('0.2s') ? 200 : 5_000;
    const { exit_code, stopped_by, failures } = await expectNothingWritten(world, sweep, { timeoutMs });
    expect({ exit_code, failures }).toEqual({ exit_code: exitCode, failures: [] });
    expect(stopped_by).toMatch(told);
    expect(stopped_by).toContain('Nothing was written');
    expect(world.api.calls.filter(hits)).toHaveLength(6);
  });

  const ofOneEntity = kindsNamed('500', 'a reset in the middle of the body', 'truncated JSON');
  it.each(ofOneEntity)('$name, for one entity six times: its row stays', async ({ fault, told }) => {
    inject(world, fault, callsOf(faultyId));
    const before = await wholeRows(world, jockeys);
    const report = await runWith(world, walk, { firstRetryMs: 4 });
    expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
    const name = world.season.jockeys.find(({ id }) => id === faultyId)?.name;
    const reason = expect.stringMatching(told);
    expect(report.failures).toEqual([{ entity_type: 'jockeys', id: faultyId, name, reason }]);
    expect(report.statistics.jockeys).toMatchObject({ total: 14, processed: 14, successful: 13, failed: 1 });
    expect(report.lines).toContain(`jockeys ${faultyId} ${name}: ${report.failures[0]?.reason}`);
    const others = ids.filter((id) => id !== faultyId);
    await expectRight(others, before);

    const times = world.api.calls.filter(callsOf(faultyId)).map(({ at }) => at);
    expect(times).toHaveLength(6);
    const waits = times.slice(1).map((at, index) => at - (times[index] ?? 0));
    for (const [index, waitMs] of waits.entries()) expect(waitMs).toBeGreaterThanOrEqual(4 * 2 ** index - 1);
  });

  it.each(kindsNamed('500', 'truncated JSON'))(
    '$name, in every answer of a walk',
    async ({ fault, told, exitCode }) => {
      inject(world, fault, always);
      const report = await expectNothingWritten(world, walk);
      expect(report).toMatchObject({ exit_code: exitCode, stopped_by: expect.stringMatching(told) });
      expect(report.stopped_by).toContain('RACING_API_BASE_URL');
    },
  );
});

it('the number 1 as a position is a win', async () => {
  const asNumbers = spoilt(({ results }) => {
    for (const runner of results?.flatMap(({ runners }) => runners) ?? []) {
      if (/^\d+$/.test(String(runner.position))) runner.position = Number(runner.position);
    }
  });
  inject(world, asNumbers, always);
  expect(await runWith(world, walk)).toMatchObject({ exit_code: 0 });
  expect(await timelessRows(world, [jockeys])).toEqual(right);
});

describe('a refused account', () => {
  it.each([
    [401, walk, 2],
    [403, sweep, 4],
  ])(
    '(%d) at the start of a run is asked about again, nothing more, and nothing written',
    async (code, options, most) => {
      inject(world, status(code), always);
      const report = await expectNothingWritten(world, options);
      expect(report).toMatchObject({ exit_code: 5, failures: [] });
      expect(report.requests).toBeGreaterThanOrEqual(2);
      expect(report.requests).toBeLessThanOrEqual(most);
      expect(report.stopped_by).toMatch(
        RegExp(`refuses the account \\(${code}, asked twice\\).*RACING_API_USERNAME.*plan`),
      );
    },
  );

  it('in the middle of a walk: what was gathered is written and in the checkpoint', async () => {
    const before = await wholeRows(world, jockeys);
    const refused = ids.slice(8);
    inject(world, status(403), (call) => refused.some((id) => callsOf(id)(call)));
    // Fewer at a time than all, so that some are complete before.
    const report = await runWith(world, { ...auto, rate: 0.5 });
    expect(report).toMatchObject({ exit_code: 5, strategy: 'walk', failures: [] });
    const written = checkpointIds(world, jockeys);
    expect(written.length).toBeGreaterThanOrEqual(1);
    expect(report.statistics.jockeys).toMatchObject({ successful: written.length, failed: 0 });
    expect(refused.filter((id) => written.includes(id))).toEqual([]);
    await expectRight(written, before);

    world.api.options.intercept = undefined;
    expect(await runWith(world, { ...walk, resume: true })).toMatchObject({
      exit_code: 0,
      statistics: { jockeys: { total: ids.length - written.length, skipped: written.length } },
    });
    expect(await timelessRows(world, [jockeys])).toEqual(right);
  });
});

describe('a plan', () => {
  it.each([
    [401, 1, { exit_code: 0, strategy: 'walk' }],
    [404, 1, { exit_code: 0, strategy: 'walk' }],
    [401, 6, { exit_code: 5, strategy: 'sweep' }],
  ])('where /results answers %d from call %d on: auto ends with %o', async (code, firstCall, end) => {
    const before = await timelessRows(world, [jockeys]);
    // So many entities that the sweep is the cheaper way; the API knows them, and has no race of them.
    const retired = `select 'jky_retired_' || n, 'Retired' from generate_series(1, 130) as n`;
    await world.database.query(`insert into ra_jockeys (id, name) ${retired}`);
    world.api.options.intercept = (call, response, next) => {
      if (isSweep(call) && call.number >= firstCall) response.writeHead(code).end('{}');
      else if (call.path.includes('jky_retired_')) response.end('{"results": null, "total": 0}');
      else return next();
    };
    try {
      const report = await runWith(world, auto);
      expect(report).toMatchObject({ ...end, failures: [] });
      const told = RegExp(`^Cannot sweep, so trying to walk: .*${code}`, 'm').test(report.lines.join('\n'));
      expect(told).toBe(end.strategy === 'walk');
    } finally {
      await world.database.query(`delete from ra_jockeys where id like 'jky_retired_%'`);
    }
    expect(await timelessRows(world, [jockeys])).toEqual(end.exit_code === 0 ? right : before);
  });

  it('that refuses a walk once an entity of it has failed: auto does not begin anew', async () => {
    const [failedId = ''] = ids;
    world.api.options.intercept = (call, response, next) =>
      isSweep(call) ? next() : void response.writeHead(callsOf(failedId)(call) ? 404 : 401).end('{}');
    const report = await expectNothingWritten(world, { entities: [jockeys, typeNamed('trainers')], limit: 1 });
    expect(report).toMatchObject({ exit_code: 5, strategy: 'walk', requests: 3, failures: [{ id: failedId }] });
  });

  it('where /results answers 404: an explicit sweep fails', async () => {
    inject(world, status(404), isSweep);
    const report = await expectNothingWritten(world, sweep);
    expect(report).toMatchObject({ exit_code: 5, stopped_by: expect.stringContaining('plan') });
    expect(report.requests).toBeLessThanOrEqual(2);
  });

  it('that is Standard is served by the sweep', async () => {
    world.api.options.plan = 'standard';
    const report = await runWith(world, auto);
    expect(report).toMatchObject({ exit_code: 0, strategy: 'sweep' });
    expect(report.lines.join('\n')).toMatch(/^Cannot walk, so trying to sweep: .*401/m);
    expect(await timelessRows(world, [jockeys])).toEqual(right);
  });
});

describe('an answer about one entity alone', () => {
  it.each([
    [404, /does not know it \(404\)/],
    [422, /refused the parameters \(422\)/],
  ])('%d: its row stays, it is a failure, and it is not asked again', async (code, told) => {
    const [, , refusedId = '', ...others] = ids;
    inject(world, status(code), callsOf(refusedId));
    const before = await wholeRows(world, jockeys);
    const report = await runWith(world, walk);
    expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
    expect(report.failures).toMatchObject([{ id: refusedId, reason: expect.stringMatching(told) }]);
    expect(world.api.calls.filter(callsOf(refusedId))).toHaveLength(1);
    await expectRight([...ids.slice(0, 2), ...others], before);
  });

  it.each([
    [422, walk],
    [422, sweep],
    // Of all 30 entities: some that the API has never heard of may stand side by side.
    [404, { strategy: 'walk' } as const],
  ])('%d for everything stops a run', async (code, options) => {
    inject(world, status(code), always);
    expect(await expectNothingWritten(world, options)).toMatchObject({ exit_code: 7 });
  });

  it.each([
    ['404 of the first 20', (place: number) => (place < 20 ? 404 : 200), 20],
    ['404 of all but one that is answered and one of a lasting 500', (place: number) => [200, 500][place] ?? 404, 29],
    ['a lasting 500 of every second one', (place: number) => (place % 2 === 0 ? 500 : 200), 15],
  ])('%s are failures of these', async (_, statusOf, failures) => {
    const all = (await Promise.all(entityTypes.map((type) => idsInOrder(world, type)))).flat();
    world.api.options.intercept = (call, response, next) => {
      const code = statusOf(all.findIndex((id) => callsOf(id)(call)));
      return code === 200 ? next() : void response.writeHead(code).end('{}');
    };
    const report = await runWith(world, { strategy: 'walk' });
    expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
    expect(report.failures).toHaveLength(failures);
  });
});

describe('503 with Retry-After', () => {
  it('is not asked again earlier', async () => {
    const times: number[] = [];
    inject(world, status(503, { 'retry-after': '1' }), (call) => callsOf(faultyId)(call) && times.push(call.at) === 1);
    expect(await runWith(world, walk)).toMatchObject({ exit_code: 0, failures: [] });
    const [refusedAt = 0, againAt = 0] = times;
    expect(againAt - refusedAt).toBeGreaterThanOrEqual(999);
  });

  it.each(['5401', '3000000'])('of %s seconds, more than 90 minutes, ends the run', async (seconds) => {
    inject(world, status(503, { 'retry-after': seconds }), always);
    const report = await expectNothingWritten(world, walk);
    expect(report).toMatchObject({ exit_code: 4, requests: 1 });
    expect(report.stopped_by).toMatch(/asks to wait for .* run again then\.$/);
  });

  it('ends the run when a page has waited for 90 minutes in all', async ({ onTestFinished }) => {
    // Each answer takes 50 minutes.
    let answers = 0;
    const clock = performance.now.bind(performance);
    const spy = vi.spyOn(performance, 'now').mockImplementation(() => clock() + answers * 3_000_000);
    onTestFinished(() => spy.mockRestore());
    const [firstId = ''] = ids;
    const countAnswer = (call: ApiCall) => callsOf(firstId)(call) && ++answers > 0;
    inject(world, status(503, { 'retry-after': '1' }), countAnswer);
    const report = await expectNothingWritten(world, walk);
    expect(report).toMatchObject({ exit_code: 4, requests: 2 });
    expect(report.stopped_by).toMatch(/asks to wait for .* run again then\.$/);
  });
});

/** A server with a URL of its own while the test uses it. */
async function listening<T>(server: Server, use: (url: string) => Promise<T>): Promise<T> {
  try {
    return await use(await listen(server));
  } finally {
    server.close();
  }
}

/** A server's visitors, which there should be none of. */
function noteVisitors() {
  const visitors: unknown[] = [];
  const listener: RequestListener = (request, response) => {
    visitors.push(request.headers);
    response.end('{}');
  };
  return { visitors, listener };
}

it.each([302, 307])('a redirect (%d) to another host takes no credentials there', async (code) => {
  const { visitors, listener } = noteVisitors();
  await listening(createHttpServer(listener), async (url) => {
    inject(world, status(code, { location: `${url}/v1/results` }), always);
    const report = await runWith(world, sweep);
    expect(report).toMatchObject({ exit_code: 7, stopped_by: expect.stringContaining(`redirect (${code})`) });
  });
  expect(visitors).toEqual([]);
});

describe('an API that cannot be reached', () => {
  /** Expects a run to end with exit code 4, a reason and advice, and no row changed. */
  async function expectUnavailable(baseUrl: string, told: RegExp, strategy: 'walk' | 'sweep' = 'walk'): Promise<void> {
    const report = await expectNothingWritten(world, { entities: [jockeys], strategy }, { baseUrl });
    expect(report).toMatchObject({ exit_code: 4, stopped_by: expect.stringMatching(told) });
    // A sweep asks for the first pages of two windows.
    expect(report.requests).toBeLessThanOrEqual(strategy === 'walk' ? 6 : 12);
    expect(report.stopped_by).toContain('RACING_API_BASE_URL and the network');
  }

  it.each(['walk', 'sweep'] as const)('because it refuses connections, for a %s', async (strategy) => {
    const closed = await listening(createHttpServer(), async (url) => url);
    await expectUnavailable(`${closed}/v1`, /ECONNREFUSED/, strategy);
  });

  it('because nobody knows its name', async () => {
    await expectUnavailable('https://racing-api.invalid/v1', /(ENOTFOUND|EAI_AGAIN) racing-api\.invalid/);
  });

  it('because it speaks http where https is spoken', async () => {
    await expectUnavailable(world.api.url.replace('http:', 'https:'), /\(E\w+\)/);
    expect(world.api.calls).toEqual([]);
  });

  it.runIf(hasOpenssl)('because nobody vouches for its certificate: it gets no request', async () => {
    const { visitors, listener } = noteVisitors();
    const server = createHttpsServer(selfSignedCertificate(), listener);
    await listening(server, (url) =>
      expectUnavailable(`${url.replace('http', 'https')}/v1`, /self.signed certificate/),
    );
    expect(visitors).toEqual([]);
  });
});
