import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import {
  callsOf,
  checkpointIds,
  figures,
  idsInOrder,
  inject,
  once,
  runWith,
  type StoredWorld,
  startStoredWorld,
  status,
  typeNamed,
  wholeRows,
  wholeTables,
} from './faults.js';
import { neededProgram } from './needed-program.js';
import type { World } from './world.js';

const jockeys = typeNamed('jockeys');
const walk = { entities: [jockeys], strategy: 'walk' } as const;
const sweep = { entities: [jockeys], strategy: 'sweep' } as const;
const auto = { entities: [jockeys], strategy: 'auto' } as const;

let world: World;
let stored: StoredWorld;
let right: Map<string, unknown>;
let ids: string[];

beforeAll(async () => {
  stored = await startStoredWorld();
  ({ world, right, ids } = stored);
});
beforeEach(async () => {
  await stored.restore();
  world.api.options.plan = 'pro';
});
afterAll(() => world.close());

const always = () => true;

/** Runs and expects that no row has changed. */
async function expectNothingWritten(...run: Parameters<typeof runWith>) {
  const before = await wholeTables(world);
  const report = await runWith(...run);
  expect(await wholeTables(world)).toEqual(before);
  expect(checkpointIds(world, jockeys)).toEqual([]);
  return report;
}

describe.each([401, 403])('%d', (code) => {
  it.each([walk, sweep])('at the start of a $strategy: nothing more is asked, nothing written', async (options) => {
    inject(world, status(code), always);
    const report = await expectNothingWritten(world, options);
    expect(report).toMatchObject({ exit_code: 5, requests: 1, failures: [] });
    expect(report.stopped_by).toContain(`refuses the account (${code})`);
    expect(report.stopped_by).toContain('RACING_API_USERNAME');
  });

  it('in the middle of a sweep: nothing is written', async () => {
    inject(world, status(code), ({ number }) => number >= 6);
    expect(await expectNothingWritten(world, sweep)).toMatchObject({ exit_code: 5, failures: [] });
  });

  it('in the middle of a walk: what was gathered is written and in the checkpoint', async () => {
    const before = await wholeRows(world, jockeys);
    const refused = ids.slice(8);
    inject(world, status(code), (call) => refused.some((id) => callsOf(id)(call)));
    // Fewer at a time than all, so that some are complete before.
    const report = await runWith(world, { ...auto, rate: 0.5 });
    expect(report).toMatchObject({ exit_code: 5, strategy: 'walk', failures: [] });
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
});

describe('a plan', () => {
  const isSweep = ({ path }: { path: string }) => path === '/v1/results';

  it.each([401, 403, 404])('where /results answers %d: auto walks and says why', async (code) => {
    // So many entities that the sweep is the cheaper way; the API knows them, and has no race of them.
    const retired = `select 'jky_retired_' || n, 'Retired' from generate_series(1, 130) as n`;
    await world.database.query(`insert into ra_jockeys (id, name) ${retired}`);
    world.api.options.intercept = (call, response, next) => {
      if (isSweep(call)) response.writeHead(code).end('{}');
      else if (call.path.includes('jky_retired_')) response.end('{"results": null, "total": 0}');
      else return next();
    };
    try {
      const report = await runWith(world, auto);
      expect(report).toMatchObject({ exit_code: 0, strategy: 'walk', failures: [] });
      expect(report.lines.join('\n')).toMatch(RegExp(`^Cannot sweep, so trying to walk: .*${code}`, 'm'));
    } finally {
      await world.database.query(`delete from ra_jockeys where id like 'jky_retired_%'`);
    }
    expect(await figures(world, jockeys)).toEqual(right);
  });

  it.each([401, 403, 404])('where /results answers %d: an explicit sweep fails', async (code) => {
    inject(world, status(code), isSweep);
    const report = await expectNothingWritten(world, sweep);
    expect(report).toMatchObject({ exit_code: 5, requests: 1, stopped_by: expect.stringContaining('plan') });
  });

  it('that is Standard is served by the sweep', async () => {
    world.api.options.plan = 'standard';
    const report = await runWith(world, auto);
    expect(report).toMatchObject({ exit_code: 0, strategy: 'sweep' });
    expect(report.lines.join('\n')).toMatch(/^Cannot walk, so trying to sweep: .*401/m);
    expect(await figures(world, jockeys)).toEqual(right);
  });
});

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
    ['a lasting 500 of every second one', (place: number) => (place % 2 === 1 ? 500 : 200), 15],
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
    const hits = callsOf(ids[1] ?? '');
    inject(world, status(503, { 'retry-after': '1' }), once(hits));
    expect(await runWith(world, walk)).toMatchObject({ exit_code: 0 });
    const [refused, again] = world.api.calls.filter(hits);
    expect((again?.at ?? 0) - (refused?.at ?? 0)).toBeGreaterThanOrEqual(999);
    expect(await figures(world, jockeys)).toEqual(right);
  });

  it.each(['5401', '3000000'])('of %s seconds, more than 90 minutes, ends the run', async (seconds) => {
    inject(world, status(503, { 'retry-after': seconds }), always);
    const report = await expectNothingWritten(world, walk);
    expect(report).toMatchObject({ exit_code: 4, requests: 1 });
    expect(report.stopped_by).toMatch(/asks to wait for .*--resume/);
  });
});

/** A server on a port of its own while the test uses it. */
async function listening<T>(server: Server, use: (port: number) => Promise<T>): Promise<T> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await use((server.address() as AddressInfo).port);
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

it.each([301, 302, 303, 307, 308])('a redirect (%d) to another host takes no credentials there', async (code) => {
  const { visitors, listener } = noteVisitors();
  await listening(createHttpServer(listener), async (port) => {
    inject(world, status(code, { location: `http://127.0.0.1:${port}/v1/results` }), always);
    const report = await runWith(world, sweep);
    expect(report).toMatchObject({ exit_code: 7, stopped_by: expect.stringContaining(`redirect (${code})`) });
  });
  expect(visitors).toEqual([]);
});

describe('an API that cannot be reached', () => {
  /** Expects both strategies to end with exit code 4, a reason and advice, and no row changed. */
  async function expectUnavailable(baseUrl: string, told: RegExp): Promise<void> {
    for (const options of [walk, sweep]) {
      const report = await expectNothingWritten(world, options, { baseUrl });
      expect(report).toMatchObject({ exit_code: 4, requests: 6, stopped_by: expect.stringMatching(told) });
      expect(report.stopped_by).toContain('RACING_API_BASE_URL and the network');
    }
  }

  it('because it refuses connections', async () => {
    const closedPort = await listening(createHttpServer(), async (port) => port);
    await expectUnavailable(`http://127.0.0.1:${closedPort}/v1`, /ECONNREFUSED/);
  });

  it('because nobody knows its name', async () => {
    await expectUnavailable('https://racing-api.invalid/v1', /racing-api\.invalid.*\((ENOTFOUND|EAI_AGAIN)\)/);
  });

  it('because it speaks http where https is spoken', async () => {
    await expectUnavailable(world.api.url.replace('http:', 'https:'), /\(E\w+\)/);
    expect(world.api.calls).toEqual([]);
  });

  const openssl = neededProgram('openssl') ?? '';
  it.runIf(openssl)('because nobody vouches for its certificate: it gets no request', async ({ onTestFinished }) => {
    const folder = mkdtempSync(join(tmpdir(), 'certificate-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=127.0.0.1', '-days', '2'];
    execFileSync(openssl, [...request, '-keyout', key, '-out', cert], { stdio: 'ignore' });
    const { visitors, listener } = noteVisitors();
    const server = createHttpsServer({ key: readFileSync(key), cert: readFileSync(cert) }, listener);
    await listening(server, (port) => expectUnavailable(`https://127.0.0.1:${port}/v1`, /self.signed certificate/));
    expect(visitors).toEqual([]);
  });
});
