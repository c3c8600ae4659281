import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ApiCall } from '../demo/simulator.js';
import {
  callsOf,
  checkpointIds,
  type Fault,
  fasterTime,
  figures,
  html,
  idsInOrder,
  inject,
  once,
  runWith,
  type StoredStatistics,
  startTinyWorld,
  status,
  storeEarlierStatistics,
  typeNamed,
  wholeRows,
  wholeTables,
} from './faults.js';
import type { World } from './world.js';

const jockeys = typeNamed('jockeys');
const walk = { entities: [jockeys], strategy: 'walk' } as const;
const sweep = { entities: [jockeys], strategy: 'sweep' } as const;
const auto = { entities: [jockeys], strategy: 'auto' } as const;

let world: World;
let stored: StoredStatistics;
let right: Map<string, unknown>;
let ids: string[];

beforeAll(async () => {
  world = await startTinyWorld();
  stored = await storeEarlierStatistics(world);
  await world.runHere(sweep);
  right = await figures(world, jockeys);
  await stored.restore();
  ids = await idsInOrder(world, jockeys);
});
beforeEach(async () => {
  await stored.restore();
  world.api.options.plan = 'pro';
});
afterAll(() => world.close());

const always = () => true;
const fromCall = (number: number) => (call: ApiCall) => call.number >= number;

describe.each([401, 403])('%d', (code) => {
  it.each([walk, sweep])('at the start of a $strategy: nothing more is asked, nothing written', async (options) => {
    inject(world, status(code), always);
    const before = await wholeTables(world);
    const report = await runWith(world, options);
    expect(report).toMatchObject({ exit_code: 5, requests: 1, failures: [] });
    expect(report.stopped_by).toContain(`refuses the account (${code})`);
    expect(report.stopped_by).toContain('RACING_API_USERNAME');
    expect(await wholeTables(world)).toEqual(before);
  });

  it('in the middle of a walk: what was gathered is written and in the checkpoint', async () => {
    const before = await wholeRows(world, jockeys);
    const refused = ids.slice(8);
    inject(world, status(code), (call) => refused.some((id) => callsOf(id)(call)));
    // One at a time, so that the eight before are complete.
    const report = await runWith(world, { ...walk, rate: 20 });
    expect(report).toMatchObject({ exit_code: 5, failures: [] });
    const written = checkpointIds(world, jockeys);
    expect(written.length).toBeGreaterThanOrEqual(1);
    expect(report.statistics.jockeys).toMatchObject({ successful: written.length, failed: 0 });
    const [after, values] = [await wholeRows(world, jockeys), await figures(world, jockeys)];
    for (const id of ids) {
      if (written.includes(id)) expect(values.get(id)).toEqual(right.get(id));
      else expect(after.get(id)).toBe(before.get(id));
    }
    expect(refused.filter((id) => written.includes(id))).toEqual([]);

    world.api.options.intercept = undefined;
    expect(await runWith(world, { ...walk, resume: true })).toMatchObject({
      exit_code: 0,
      statistics: { jockeys: { total: ids.length - written.length, skipped: written.length } },
    });
    expect(await figures(world, jockeys)).toEqual(right);
  });

  it('in the middle of a sweep: nothing is written', async () => {
    inject(world, status(code), fromCall(6));
    const before = await wholeTables(world);
    expect(await runWith(world, sweep)).toMatchObject({ exit_code: 5, failures: [] });
    expect(await wholeTables(world)).toEqual(before);
    expect(checkpointIds(world, jockeys)).toEqual([]);
  });
});

describe('a plan without an endpoint', () => {
  it.each([401, 403, 404])('/results answers %d: auto walks and says why', async (code) => {
    inject(world, status(code), ({ path }) => path === '/v1/results');
    // So many entities that the sweep is the cheaper way.
    await addRetiredJockeys(130);
    try {
      const report = await runWith(world, auto);
      expect(report).toMatchObject({ exit_code: 0, strategy: 'walk', failures: [] });
      expect(report.lines.join('\n')).toMatch(new RegExp(`^Cannot sweep, so trying to walk: .*${code}`, 'm'));
    } finally {
      await world.database.query(`delete from ra_jockeys where id like 'jky_retired_%'`);
    }
    for (const [id, values] of await figures(world, jockeys)) expect(values).toEqual(right.get(id));
  });

  it.each([401, 403, 404])('/results answers %d: an explicit sweep fails', async (code) => {
    inject(world, status(code), ({ path }) => path === '/v1/results');
    const report = await runWith(world, sweep);
    expect(report).toMatchObject({ exit_code: 5, requests: 1 });
    expect(report.stopped_by).toMatch(/plan/);
  });

  it('Standard is served by the sweep', async () => {
    world.api.options.plan = 'standard';
    const report = await runWith(world, auto);
    expect(report).toMatchObject({ exit_code: 0, strategy: 'sweep' });
    expect(report.lines.join('\n')).toMatch(/^Cannot walk, so trying to sweep: .*401/m);
    expect(await figures(world, jockeys)).toEqual(right);
  });
});

/** Entities that the API knows and that have no race. */
async function addRetiredJockeys(count: number): Promise<void> {
  await world.database.query(
    `insert into ra_jockeys (id, name) select 'jky_retired_' || n, 'Retired' from generate_series(1, ${count}) as n`,
  );
  const { intercept } = world.api.options;
  world.api.options.intercept = (call, response, next) =>
    call.path.includes('jky_retired_')
      ? void response.end(JSON.stringify({ results: null, total: 0 }))
      : intercept?.(call, response, next);
}

describe('an answer about one entity alone', () => {
  it.each([
    [404, /does not know it \(404\)/],
    [422, /refused the parameters \(422\)/],
  ])('%d: its row stays, it is a failure, and it is not asked again', async (code, told) => {
    const [, , faultyId = ''] = ids;
    inject(world, status(code), callsOf(faultyId));
    const before = await wholeRows(world, jockeys);
    const report = await runWith(world, walk);
    expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
    expect(report.failures).toMatchObject([{ id: faultyId, reason: expect.stringMatching(told) }]);
    expect((await wholeRows(world, jockeys)).get(faultyId)).toBe(before.get(faultyId));
    expect(world.api.calls.filter(callsOf(faultyId))).toHaveLength(1);
    expect(checkpointIds(world, jockeys)).toHaveLength(ids.length - 1);
  });

  it('422 for everything stops the run', async () => {
    inject(world, status(422), always);
    const before = await wholeTables(world);
    expect(await runWith(world, walk)).toMatchObject({ exit_code: 7 });
    expect(await runWith(world, sweep)).toMatchObject({ exit_code: 7 });
    expect(await wholeTables(world)).toEqual(before);
  });

  it('many 404s and one lasting 500 are failures of these entities', async () => {
    const [, brokenId = '', ...unknown] = ids;
    inject(
      world,
      (response, _, call) => response.writeHead(callsOf(brokenId)(call) ? 500 : 404).end('{}'),
      (call) => !callsOf(ids[0] ?? '')(call),
    );
    const report = await runWith(world, walk);
    expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
    expect(report.failures).toHaveLength(unknown.length + 1);
  });
});

describe('429', () => {
  const pauses: { name: string; fault: Fault; seconds: number }[] = [
    { name: 'with Retry-After in seconds', fault: status(429, { 'retry-after': '30' }), seconds: 30 },
    { name: 'without Retry-After', fault: status(429), seconds: 2 },
    { name: 'as a page of Cloudflare', fault: html(429), seconds: 2 },
  ];

  it.each([walk, sweep].flatMap((options) => pauses.map((pause) => ({ ...options, ...pause }))))(
    '$name in a $strategy: a pause, then it goes on',
    async ({ entities, strategy, fault, seconds }) => {
      let refused: ApiCall | undefined;
      inject(world, fault, (call) => {
        if (call.number < 5 || refused) return false;
        refused = call;
        return true;
      });
      const report = await runWith(world, { entities, strategy }, { time: fasterTime(50) });
      expect(report).toMatchObject({ exit_code: 0, failures: [] });
      expect(await figures(world, jockeys)).toEqual(right);
      const text = report.lines.join('\n');
      expect(text.match(/refuses requests \(429/g)).toHaveLength(1);
      expect(text.match(/answers again after/g)).toHaveLength(1);
      const again = world.api.calls.findLast(({ url }) => url.href === refused?.url.href);
      const waitedMs = (again?.at ?? 0) - (refused?.at ?? 0);
      expect(waitedMs).toBeGreaterThanOrEqual((seconds * 1000) / 50 - 1);
    },
  );

  it('for longer than 90 minutes ends the run at once, resumable', async () => {
    inject(world, status(429, { 'retry-after': '6000' }), always);
    const before = await wholeTables(world);
    const report = await runWith(world, walk);
    expect(report).toMatchObject({ exit_code: 4, requests: 1 });
    expect(report.stopped_by).toContain('--resume');
    expect(await wholeTables(world)).toEqual(before);
  });
});

describe('503 with Retry-After', () => {
  it('is not asked again earlier', async () => {
    const hits = callsOf(ids[1] ?? '');
    inject(world, status(503, { 'retry-after': '1' }), once(hits));
    expect(await runWith(world, walk)).toMatchObject({ exit_code: 0 });
    const [refused, again] = world.api.calls.filter(hits);
    expect((again?.at ?? 0) - (refused?.at ?? 0)).toBeGreaterThanOrEqual(999);
    expect(await figures(world, jockeys)).toEqual(right);
  });

  it('is not asked again at once when it asks for longer than a timer can wait', async () => {
    const hits = callsOf(ids[1] ?? '');
    inject(world, status(503, { 'retry-after': '3000000' }), hits);
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(new Error('enough')), 1_000);
    await runWith(world, walk, { stop }).catch(() => {});
    clearTimeout(timer);
    expect(world.api.calls.filter(hits)).toHaveLength(1);
  });
});

it.each([301, 302, 303, 307, 308])('a redirect (%d) to another host takes no credentials there', async (code) => {
  const visitors: unknown[] = [];
  const elsewhere = createServer((request, response) => {
    visitors.push(request.headers);
    response.end('{}');
  });
  await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve));
  const { port } = elsewhere.address() as AddressInfo;
  try {
    inject(world, status(code, { location: `http://127.0.0.1:${port}/v1/results` }), always);
    expect(await runWith(world, sweep)).toMatchObject({
      exit_code: 7,
      stopped_by: expect.stringContaining(`redirect (${code})`),
    });
    expect(visitors).toEqual([]);
  } finally {
    elsewhere.close();
  }
});
