import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { daysBefore, type SeasonRace } from '../demo/season.js';
import type { ApiCall } from '../demo/simulator.js';
import { entityTypes } from '../src/entity-types.js';
import { expectNaiveRows, naiveRows, timelessRows } from './watching.js';
import { startWorld, today, type World } from './world.js';

let world: World;
/** 250 races of the last weeks, the newest first, in which the first of each type takes part every time. */
let busy: SeasonRace[];
let seasonRaces: readonly SeasonRace[];

beforeAll(async () => {
  world = await startWorld({ season: { jockeys: 20, trainers: 12, owners: 30, races: 40 } });
  seasonRaces = [...world.api.races];
});
beforeEach(async () => {
  await world.reset();
  for (const race of [...world.api.races]) world.api.withdraw(race.race_id);
  for (const race of seasonRaces) world.api.publish(race);
  for (let number = 0; number < 250; number += 1) world.api.publish(raceOf(`rac_busy_${number}`, 1 + (number % 24)));
  busy = world.api.races.filter(({ race_id }) => race_id.startsWith('rac_busy_'));
});
afterAll(() => world.close());

function raceOf(raceId: string, daysAgo: number): SeasonRace {
  const { jockeys, trainers, owners } = world.season;
  const runner = (index: number, position: string) => ({
    position,
    jockey_id: jockeys[index]?.id ?? '',
    trainer_id: trainers[index]?.id ?? '',
    owner_id: owners[index]?.id ?? '',
  });
  const other = 1 + (Number(raceId.replace(/\D/g, '')) % 8);
  const winner = daysAgo % 3 === 0;
  return {
    race_id: raceId,
    date: daysBefore(today, daysAgo),
    region: 'GB',
    runners: [runner(0, winner ? '1' : 'PU'), runner(other, winner ? '2' : '1')],
  };
}

/** The 250 races in the order of the API: pages of 100 begin at 0, 100 and 200. */
const raceId = (index: number) => busy[index]?.race_id ?? '';
const moved = (daysAgo: number) => (race: SeasonRace) => ({ ...race, date: daysBefore(today, daysAgo) });
const disqualified = (race: SeasonRace) => ({
  ...race,
  runners: race.runners.map((runner) => ({ ...runner, position: runner.position === '1' ? '9' : '1' })),
});

/** What happens after the first page of the busy races was answered, before the second is. */
const changes: { change: string; make: () => void; readings: number }[] = [
  { change: 'a late result arrives', make: () => world.api.publish(raceOf('rac_late_1', 0)), readings: 2 },
  { change: 'an old result arrives', make: () => world.api.publish(raceOf('rac_late_1', 24)), readings: 2 },
  { change: 'a race read already is withdrawn', make: () => world.api.withdraw(raceId(10)), readings: 2 },
  { change: 'a race to come is withdrawn', make: () => world.api.withdraw(raceId(220)), readings: 2 },
  {
    change: 'a race to come is amended',
    make: () => world.api.amend(raceId(150), disqualified),
    readings: 1,
  },
  {
    change: 'a race moves to an earlier page',
    make: () => world.api.amend(raceId(240), moved(0)),
    readings: 2,
  },
  { change: 'a race moves to a later page', make: () => world.api.amend(raceId(10), moved(24)), readings: 2 },
];

/** Calls for a page of the busy window, or of the first jockey. */
function isBusy({ path, url }: ApiCall, strategy: 'walk' | 'sweep'): boolean {
  if (strategy === 'walk') return path.includes(`/${world.season.jockeys[0]?.id}/`);
  return url.searchParams.get('end_date') === today;
}

const pageOf = ({ url }: ApiCall) => url.searchParams.get('skip');

/** Makes the change at the first call for a second busy page; returns the number of that call. */
function changeWhilePaging(strategy: 'walk' | 'sweep', make: () => void): () => number {
  let changedAt = 0;
  world.api.options.intercept = (call, _response, next) => {
    if (changedAt === 0 && isBusy(call, strategy) && pageOf(call) === '100') {
      changedAt = call.number;
      make();
    }
    return next();
  };
  return () => changedAt;
}

const busyReadings = (strategy: 'walk' | 'sweep') =>
  world.api.calls.filter((call) => isBusy(call, strategy) && pageOf(call) === '0').length;

describe.each(changes)('while paging $change:', ({ make, readings }) => {
  it('a sweep writes every row as it is afterwards', async () => {
    changeWhilePaging('sweep', make);
    const report = await world.runHere({ strategy: 'sweep' });
    expect(report).toMatchObject({ exit_code: 0, failures: [] });
    expect(busyReadings('sweep')).toBe(readings);
    await expectNaiveRows(world);
  });

  it('a walk writes every row as it was before or is afterwards, by the time of its reading', async () => {
    const before = [...world.api.races];
    const changedAt = changeWhilePaging('walk', make);
    const types = entityTypes.filter(({ name }) => name === 'jockeys');
    const report = await world.runHere({ strategy: 'walk', entities: types });
    expect(report).toMatchObject({ exit_code: 0, failures: [] });
    expect(busyReadings('walk')).toBe(readings);

    const rows = await timelessRows(world, types);
    for (const type of types) {
      const ids = [...rows.keys()];
      const old = naiveRows(before, type, ids);
      const now = naiveRows(world.api.races, type, ids);
      for (const [id, row] of rows) {
        const lastReading = world.api.calls.findLast((call) => call.path.includes(`/${id}/`) && pageOf(call) === '0');
        const busyOne = id === world.season.jockeys[0]?.id;
        const expected = busyOne || (lastReading?.number ?? 0) > changedAt() ? now : old;
        expect(row).toEqual(expected.get(id));
      }
    }
  });
});

describe('results that change at every reading', () => {
  let published = 0;
  const restless = (strategy: 'walk' | 'sweep') => {
    world.api.options.intercept = (call, _response, next) => {
      if (isBusy(call, strategy) && pageOf(call) === '100') {
        published += 1;
        world.api.publish(raceOf(`rac_late_${published}`, 3));
      }
      return next();
    };
  };

  it('stop a sweep after three tries with nothing written', async () => {
    restless('sweep');
    expect(await world.runHere({ strategy: 'sweep' })).toMatchObject({ exit_code: 7 });
    expect(busyReadings('sweep')).toBe(3);
    await expectNothingWritten();
  });

  it('are the failure of one walked entity, whose row stays as it was', async () => {
    restless('walk');
    const types = entityTypes.filter(({ name }) => name === 'jockeys');
    const report = await world.runHere({ strategy: 'walk', entities: types });
    const id = world.season.jockeys[0]?.id;
    expect(report).toMatchObject({
      exit_code: 3,
      failures: [{ id, reason: expect.stringContaining('total') }],
    });
    expect(busyReadings('walk')).toBe(3);
    for (const type of types) {
      const rows = await world.rows(type);
      const unwritten = [...rows.values()].filter((row) => row.stats_updated_at === null);
      expect(unwritten.map((row) => row.id)).toEqual([id]);
    }
  });
});

it('a race whose date moves into a second window counts once or not at all', async () => {
  const oldest = seasonRaces.findLast(({ region, date }) => /GB|IRE/.test(region) && date === daysBefore(today, 365));
  let moves = 0;
  world.api.options.intercept = (call, _response, next) => {
    if (moves === 0 && isBusy(call, 'sweep')) {
      moves += 1;
      world.api.amend(oldest?.race_id ?? '', moved(2));
    }
    return next();
  };
  expect(await world.runHere({ strategy: 'sweep' })).toMatchObject({ exit_code: 7 });
  await expectNothingWritten();
});

async function expectNothingWritten(): Promise<void> {
  for (const type of entityTypes) {
    for (const row of (await world.rows(type)).values()) expect(row.stats_updated_at).toBeNull();
  }
}
