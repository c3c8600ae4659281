import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ApiCall } from '../demo/simulator.js';
import { passingFaults } from './api-fault-kinds.js';
import {
  callsOf,
  checkpointIds,
  figures,
  idsInOrder,
  inject,
  once,
  raceCount,
  runWith,
  type StoredStatistics,
  spoilt,
  startTinyWorld,
  storeEarlierStatistics,
  typeNamed,
  wholeRows,
  wholeTables,
} from './faults.js';
import type { World } from './world.js';

const jockeys = typeNamed('jockeys');
const walk = { entities: [jockeys], strategy: 'walk' } as const;
const sweep = { entities: [jockeys], strategy: 'sweep' } as const;

let world: World;
let stored: StoredStatistics;
/** What a run without faults writes. */
let right: Map<string, unknown>;
let firstId: string;
/** An entity in the middle of the walk, with two pages of races. */
let faultyId: string;

beforeAll(async () => {
  world = await startTinyWorld();
  stored = await storeEarlierStatistics(world);
  await world.runHere(sweep);
  right = await figures(world, jockeys);
  await stored.restore();
  const [first = '', ...others] = await idsInOrder(world, jockeys);
  firstId = first;
  faultyId = others.find((id) => raceCount(world, jockeys, id) > 100) ?? '';
});
beforeEach(() => stored.restore());
afterAll(() => world.close());

const faultyPage = (call: ApiCall) => callsOf(faultyId)(call);
const thirdWindow = () => {
  const starts = new Set<string | null>();
  return ({ url }: ApiCall) => {
    const start = url.searchParams.get('start_date');
    starts.add(start);
    return [...starts][2] === start;
  };
};

/** Runs a walk of all jockeys and expects that the faulty one kept its row and all others are right. */
async function expectOneFailure(reason: RegExp, timeoutMs?: number): Promise<void> {
  const before = await wholeRows(world, jockeys);
  const report = await runWith(world, walk, { timeoutMs });
  const name = world.season.jockeys.find(({ id }) => id === faultyId)?.name;
  expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
  expect(report.failures).toEqual([
    { entity_type: 'jockeys', id: faultyId, name, reason: expect.stringMatching(reason) },
  ]);
  expect(report.statistics.jockeys).toMatchObject({ total: 14, processed: 14, successful: 13, failed: 1 });
  expect(report.lines).toContainEqual(`jockeys ${faultyId} ${name}: ${report.failures[0]?.reason}`);
  expect((await wholeRows(world, jockeys)).get(faultyId)).toBe(before.get(faultyId));
  const after = await figures(world, jockeys);
  for (const [id, values] of right) if (id !== faultyId) expect(after.get(id)).toEqual(values);
  expect(checkpointIds(world, jockeys)).toHaveLength(13);
  expect(checkpointIds(world, jockeys)).not.toContain(faultyId);
}

describe('a fault of one answer', () => {
  it.each(passingFaults)('$name: mended by asking again', async ({ fault, timeoutMs }) => {
    inject(world, fault, once(faultyPage));
    const walked = await runWith(world, walk, { timeoutMs });
    expect(walked).toMatchObject({ exit_code: 0, requests: world.api.calls.length, failures: [] });
    expect(await figures(world, jockeys)).toEqual(right);

    await stored.restore();
    inject(world, fault, once(thirdWindow()));
    const swept = await runWith(world, sweep, { timeoutMs });
    expect(swept).toMatchObject({ exit_code: 0, failures: [] });
    expect(await figures(world, jockeys)).toEqual(right);
  });

  it.each(passingFaults)('$name, for one entity to the end', async ({ fault, timeoutMs, told }) => {
    inject(world, fault, faultyPage);
    await expectOneFailure(told, timeoutMs);
    expect(world.api.calls.filter(faultyPage)).toHaveLength(6);
  });

  it.each(passingFaults)('$name, in a sweep to the end', async ({ fault, timeoutMs, told, exitCode }) => {
    inject(world, fault, thirdWindow());
    const before = await wholeTables(world);
    const report = await runWith(world, sweep, { timeoutMs });
    expect(report).toMatchObject({
      exit_code: exitCode,
      stopped_by: expect.stringMatching(told),
      failures: [],
    });
    expect(report.stopped_by).toContain('Nothing was written');
    expect(await wholeTables(world)).toEqual(before);
    expect(checkpointIds(world, jockeys)).toEqual([]);
  });

  const lasting = ['500', '502 as an HTML page', 'a reset before the answer', 'truncated JSON', 'a redirect'];
  it.each(passingFaults.filter(({ name }) => lasting.includes(name)))(
    '$name, in every answer of a walk',
    async ({ fault, told, exitCode }) => {
      inject(world, fault, () => true);
      const before = await wholeTables(world);
      const report = await runWith(world, walk);
      expect(report).toMatchObject({ exit_code: exitCode, stopped_by: expect.stringMatching(told) });
      expect(report.stopped_by).toContain('RACING_API_BASE_URL');
      expect(await wholeTables(world)).toEqual(before);
      expect(checkpointIds(world, jockeys)).toEqual([]);
    },
  );
});

describe('pages that do not fit together', () => {
  const secondPage = (call: ApiCall) => faultyPage(call) && call.url.searchParams.get('skip') === '100';
  const otherTotal = spoilt((body) => {
    body.total += 1;
    body.results?.push(structuredClone(body.results[0]) as never);
  });
  const firstRaceTwice = spoilt((body) => {
    const last = body.results?.at(-1);
    if (body.results?.[0] && last) body.results[0].race_id = last.race_id;
  });
  const faults = [
    { name: 'a total that changes', fault: otherTotal },
    { name: 'the same race twice', fault: firstRaceTwice },
  ];

  it.each(faults)('$name: read again', async ({ fault }) => {
    inject(world, fault, once(secondPage));
    expect(await runWith(world, walk)).toMatchObject({ exit_code: 0, failures: [] });
    expect(world.api.calls.filter(secondPage)).toHaveLength(2);
    expect(await figures(world, jockeys)).toEqual(right);
  });

  it.each(faults)('$name, to the end', async ({ fault }) => {
    inject(world, fault, secondPage);
    await expectOneFailure(/did not add up to their total in 3 readings/);
  });
});

it('the number 1 as a position is a win', async () => {
  inject(
    world,
    spoilt(({ results }) => {
      for (const runner of results?.flatMap(({ runners }) => runners) ?? []) {
        if (/^\d+$/.test(String(runner.position))) runner.position = Number(runner.position);
      }
    }),
    () => true,
  );
  expect(await runWith(world, walk)).toMatchObject({ exit_code: 0 });
  expect(await figures(world, jockeys)).toEqual(right);
});

describe('one entity', () => {
  it('with stored statistics for which the API now has nothing keeps its row: results vanished', async () => {
    inject(
      world,
      spoilt((body) => ({ ...body, results: null, total: 0 })),
      faultyPage,
    );
    await expectOneFailure(/^results vanished/);
  });

  it('without stored statistics for which the API has nothing gets zeros', async () => {
    await world.reset();
    inject(
      world,
      spoilt((body) => ({ ...body, results: null, total: 0 })),
      faultyPage,
    );
    expect(await runWith(world, walk)).toMatchObject({ exit_code: 0, failures: [] });
    expect((await figures(world, jockeys)).get(faultyId)).toMatchObject({
      last_ride_date: null,
      recent_14d_rides: 0,
      recent_30d_win_rate: null,
    });
  });

  it.each(passingFaults.filter(({ name }) => ['500', 'truncated JSON'].includes(name)))(
    'that is the first one walked does not stop the run: $name',
    async ({ fault }) => {
      inject(world, fault, callsOf(firstId));
      const report = await runWith(world, walk);
      expect(report).toMatchObject({ exit_code: 3, failures: [{ id: firstId }] });
    },
  );
});
