import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { daysBefore, makeSeason, type Season, type SeasonRace, type SeasonRunner } from '../demo/season.js';
import { type ApiCall, type SimulatedRacingApi, startSimulatedRacingApi } from '../demo/simulator.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { exitCodes } from '../src/errors.js';
import type { Strategy } from '../src/events.js';
import { gather, type Selection } from '../src/gather.js';
import { type StatisticsRow, statisticsWindow } from '../src/statistics.js';
import { typeNamed } from './faults.js';
import { naiveRows } from './naive-statistics.js';
import { openApi, password, today, username } from './world.js';

const [jockeys, owners] = [typeNamed('jockeys'), typeNamed('owners')];
let api: SimulatedRacingApi;
afterEach(() => api.close());

/** Starts an API with these races; those who are in none are known to it from the season. */
async function serve(races: readonly SeasonRace[], season: Partial<Season> = {}): Promise<void> {
  const nobody = { today, jockeys: [], trainers: [], owners: [], races: [] };
  const requestsPerSecond = Number.POSITIVE_INFINITY;
  api = await startSimulatedRacingApi({ season: { ...nobody, ...season }, username, password, requestsPerSecond });
  for (const race of races) api.publish(race);
}

function race(race_id: string, daysAgo: number, ...runners: Partial<SeasonRunner>[]): SeasonRace {
  const other = { position: '2', jockey_id: 'jky_other', trainer_id: 'trn_other', owner_id: 'own_other' };
  const all = runners.map((runner) => ({ ...other, ...runner }));
  return { race_id, date: daysBefore(today, daysAgo), region: 'GB', runners: all };
}

const series = <Item>(count: number, make: (index: number) => Item) =>
  Array.from({ length: count }, (_, index) => make(index));

function select(type: EntityType, ids: string[], lastDate: string | null = null, recentlyActive = 0): Selection {
  const stored = { lastDate, recentRuns: 0, recentWins: 0, lastWinDate: null, statsUpdatedAtMs: null };
  const entities = ids.map((id) => ({ id, name: id, ...stored }));
  return { type, entities, skipped: 0, recentlyActive };
}

/** Gathers from the API; returns the row of each entity by its id, or why there is none. Throws what ends a run. */
async function outcomes(strategy: Strategy, selections: Selection[], force = false) {
  const { api: client, stop, close } = openApi(api.url, 2, { firstRetryMs: 1 });
  const tell = () => {};
  const found = new Map<string, StatisticsRow | string>();
  try {
    const window = statisticsWindow(today);
    const types = selections.map(({ type }) => type);
    const selecting = Promise.resolve(selections);
    const gathering = await gather(strategy, types, selecting, { api: client, window, tell, stop, force });
    for (const { type, entities } of selections) {
      for await (const outcome of gathering.outcomes(type, entities)) {
        found.set(outcome.entity.id, 'row' in outcome ? outcome.row : outcome.failure);
      }
    }
    stop.signal.throwIfAborted();
    return found;
  } finally {
    await close();
  }
}

const skipOf = ({ url }: ApiCall) => url.searchParams.get('skip');
const unsafe = (told: RegExp) => ({ exitCode: exitCodes.unsafeToWrite, message: expect.stringMatching(told) });

describe('the pages of a walked entity', () => {
  const own = (index: number) => race(`rac_${index}`, 0, { jockey_id: 'jky_busy' });

  it.each([
    [1, ['0']],
    [100, ['0']],
    [101, ['0', '100']],
    [250, ['0', '100', '200']],
  ])('with %i races are %j', async (count, skips) => {
    await serve(series(count, own), { jockeys: [{ id: 'jky_idle', name: 'Idle' }] });
    const found = await outcomes('walk', [select(jockeys, ['jky_busy', 'jky_idle'])]);
    expect(found.get('jky_busy')).toMatchObject({ recent_14d_rides: count });
    expect(found.get('jky_idle')).toMatchObject({ recent_14d_rides: 0, last_ride_date: null });
    expect(api.calls.map(skipOf).sort()).toEqual([...skips, '0'].sort());
  });

  it.each([
    [20_100, 201, /^20100 rides$/],
    [20_101, 1, /^more than 20100 races, which the API cannot page$/],
  ])('with %i races are as many as the API pages, or too many', async (total, pages, told) => {
    await serve([own(0)]);
    api.options.intercept = ({ url }, response) => {
      const skip = Number(url.searchParams.get('skip'));
      const results = series(Math.min(100, total - skip), (index) => own(skip + index));
      response.end(JSON.stringify({ results, total }));
    };
    const outcome = (await outcomes('walk', [select(jockeys, ['jky_busy'])])).get('jky_busy');
    expect(typeof outcome === 'string' ? outcome : `${outcome?.recent_14d_rides} rides`).toMatch(told);
    expect(api.calls.length).toBeGreaterThanOrEqual(pages);
  });
});

/** Some races in the whole window, and 250 in its last weeks: pages of 100 begin at 0, 100 and 200. */
describe('results that change between pages', () => {
  const season = makeSeason({ today, jockeys: 20, trainers: 12, owners: 30, races: 40 });
  const busyId = season.jockeys[0]?.id ?? '';
  const idsOf = (entities: readonly { id: string }[]) => entities.map(({ id }) => id);
  const selections = entityTypes.map((type) => select(type, idsOf(season[type.name])));
  const naiveRowsOf = (selected: readonly Selection[]) =>
    new Map(selected.flatMap(({ type, entities }) => [...naiveRows(api.races, type, idsOf(entities))]));

  function busyRace(raceId: string, daysAgo: number): SeasonRace {
    const other = 1 + (Number(raceId.replace(/\D/g, '')) % 8);
    const runner = (index: number, position: string) => ({
      position,
      jockey_id: season.jockeys[index]?.id,
      trainer_id: season.trainers[index]?.id,
      owner_id: season.owners[index]?.id,
    });
    const winner = daysAgo % 3 === 0;
    return race(raceId, daysAgo, runner(0, winner ? '1' : 'PU'), runner(other, winner ? '2' : '1'));
  }

  async function serveBusy(): Promise<void> {
    const busy = series(250, (index) => busyRace(`rac_busy_${index}`, 1 + (index % 24)));
    await serve(busy, season);
  }

  /** In the order of the API. */
  const raceId = (index: number) =>
    api.races.filter(({ race_id }) => race_id.startsWith('rac_busy_'))[index]?.race_id ?? '';
  const moveTo = (daysAgo: number) => (one: SeasonRace) => ({ ...one, date: daysBefore(today, daysAgo) });
  const disqualify = (one: SeasonRace) => ({
    ...one,
    runners: one.runners.map((runner) => ({ ...runner, position: runner.position === '1' ? '9' : '1' })),
  });

  /** Calls for a page of the last weeks, or of the first jockey. */
  const isBusy = ({ path, url }: ApiCall) =>
    path === '/v1/results' ? url.searchParams.get('end_date') === today : path.includes(`/${busyId}/`);
  const readings = () => api.calls.filter((call) => isBusy(call) && skipOf(call) === '0').length;

  /** Makes a change before calls for a second busy page are answered. */
  function beforeSecondPage(change: (times: number) => void): void {
    let times = 0;
    api.options.intercept = (call, _response, next) => {
      if (isBusy(call) && skipOf(call) === '100') change(++times);
      return next();
    };
  }

  function takeAnotherPlace(): void {
    api.withdraw(raceId(240));
    api.publish(busyRace('rac_late_1', 0));
  }

  const changes: [string, number, () => void][] = [
    ['a late result arrives', 2, () => api.publish(busyRace('rac_late_1', 0))],
    ['an old result arrives', 2, () => api.publish(busyRace('rac_late_1', 24))],
    ['a race read already is withdrawn', 2, () => api.withdraw(raceId(10))],
    ['a race to come is withdrawn', 2, () => api.withdraw(raceId(220))],
    ['a race to come is amended', 1, () => api.amend(raceId(150), disqualify)],
    ['a race moves to an earlier page', 2, () => api.amend(raceId(240), moveTo(0))],
    ['a race moves to a later page', 2, () => api.amend(raceId(10), moveTo(24))],
    ['another race takes the place of one', 2, takeAnotherPlace],
  ];

  describe.each<[Strategy, Selection[]]>([
    ['sweep', selections],
    ['walk', [select(jockeys, [busyId])]],
  ])('(in a %s)', (strategy, selected) => {
    beforeEach(serveBusy);

    it.each(changes)('when %s, are as they are afterwards, in %i readings', async (_, count, change) => {
      beforeSecondPage((times) => times === 1 && change());
      expect(await outcomes(strategy, selected)).toEqual(naiveRowsOf(selected));
      expect(readings()).toBe(count);
    });

    it('when they change twice, are those of the third reading', async () => {
      beforeSecondPage((times) => times < 3 && api.publish(busyRace(`rac_late_${times}`, 3)));
      expect(await outcomes(strategy, selected)).toEqual(naiveRowsOf(selected));
      expect(readings()).toBe(3);
    });
  });

  it('whenever a second page is read, are read in halves and are right', async () => {
    await serveBusy();
    beforeSecondPage((times) => api.publish(busyRace(`rac_late_${times}`, 3)));
    expect(await outcomes('sweep', selections)).toEqual(naiveRowsOf(selections));
  });

  it('or never fit together are read three times, end a sweep, and are the failure of one walked entity', async () => {
    await serveBusy();
    const raceTwice = ({ url }: ApiCall, response: ServerResponse) => {
      const body = api.answer(url).body as { results: object[] };
      response.end(JSON.stringify({ ...body, results: [body.results[0], ...body.results.slice(0, -1)] }));
    };
    api.options.intercept = (call, response, next) => (isBusy(call) ? raceTwice(call, response) : next());
    const incomplete = unsafe(/total in 3 readings.*Nothing was written/);
    await expect(outcomes('sweep', selections)).rejects.toMatchObject(incomplete);
    api.calls.length = 0;
    const found = await outcomes('walk', selections.slice(0, 1));
    expect(readings()).toBe(3);
    const failures = [...found].filter(([_id, outcome]) => typeof outcome === 'string');
    expect(failures).toEqual([[busyId, expect.stringContaining('total in 3 readings')]]);
  });

  const oldestRace = () => {
    const oldest = season.races.findLast(({ region, date }) => region !== 'FR' && date === daysBefore(today, 365));
    return oldest?.race_id ?? '';
  };

  it('so that a race is in a second window, too, are as they are afterwards', async () => {
    await serveBusy();
    let moves = 0;
    api.options.intercept = (call, _response, next) => {
      if (isBusy(call) && moves++ === 0) api.amend(oldestRace(), moveTo(2));
      return next();
    };
    expect(await outcomes('sweep', selections)).toEqual(naiveRowsOf(selections));
    const oldestWindow = ({ url }: ApiCall) => url.searchParams.get('start_date') === daysBefore(today, 365);
    expect(api.calls.filter(oldestWindow)).toHaveLength(2);
  });

  it('so that a race is in two windows for ever end a sweep', async () => {
    await serveBusy();
    const another = ({ url }: ApiCall, response: ServerResponse) => {
      const body = api.answer(url).body as { results: object[] };
      response.end(
        JSON.stringify({ ...body, results: body.results.with(0, { ...body.results[0], race_id: oldestRace() }) }),
      );
    };
    api.options.intercept = (call, response, next) =>
      isBusy(call) && skipOf(call) === '0' ? another(call, response) : next();
    await expect(outcomes('sweep', selections)).rejects.toMatchObject(unsafe(/in two windows in 3 readings/));
  });
});

describe('the safety brake of a sweep', () => {
  const ids = (count: number, prefix = 'own') => series(count, (index) => `${prefix}_${index}`);
  const raceOf = (ownerIds: string[]) => race('rac_1', 0, ...ownerIds.map((owner_id) => ({ owner_id })));
  const vanished = expect.stringMatching(/^results vanished: the database has 20\d\d-/);

  it('stops without any race, unless forced', async () => {
    await serve([]);
    const selections = [select(owners, ids(1))];
    await expect(outcomes('sweep', selections)).rejects.toMatchObject(unsafe(/no GB or IRE race .*--force/));
    expect(await outcomes('sweep', selections, true)).toEqual(naiveRows([], owners, ids(1)));
  });

  it.each([
    [0, false],
    [5, false],
    [6, true],
    [100, true],
  ])('with %i of 100 recently active entities without a race stops: %s', async (count, stops) => {
    await serve([raceOf(ids(100).slice(count))]);
    const selections = [select(owners, ids(100), daysBefore(today, 10), 100)];
    const failuresOf = (found: Map<string, unknown>) => [...found.values()].filter((one) => typeof one === 'string');
    const failures = series(count, () => vanished);
    if (stops)
      await expect(outcomes('sweep', selections)).rejects.toMatchObject(unsafe(RegExp(`: ${count} of the 100 `)));
    else expect(failuresOf(await outcomes('sweep', selections))).toEqual(failures);
    expect(failuresOf(await outcomes('sweep', selections, true))).toEqual(failures);
  });

  it.each([
    [0, 'stops'],
    [300, 'stops'],
    [301, 'fails'],
    [365, 'fails'],
    [366, 'is written'],
    [null, 'is written'],
  ])('is for entities active lately: one without a race now and %j days ago %s', async (ago, then) => {
    await serve([raceOf(['own_other'])], { owners: [{ id: 'own_1', name: 'One' }] });
    const selections = [select(owners, ['own_1'], ago === null ? null : daysBefore(today, ago), 1)];
    const blank = naiveRows([], owners, ['own_1']);
    const found = then === 'is written' ? blank : new Map([['own_1', vanished]]);
    if (then === 'stops') await expect(outcomes('sweep', selections)).rejects.toMatchObject(unsafe(/1 of the 1 /));
    else expect(await outcomes('sweep', selections)).toEqual(found);
    expect(await outcomes('walk', selections)).toEqual(found);
  });

  it('counts the types together, each by its own races, of all that were active, selected or not', async () => {
    await serve([raceOf(ids(100))]);
    const active = (type: EntityType, prefix: string, selected: number, of: number) =>
      select(type, ids(selected, prefix), today, of);
    const owned = active(owners, 'own', 100, 100);
    const stopped = outcomes('sweep', [owned, active(jockeys, 'jky', 6, 6)]);
    await expect(stopped).rejects.toMatchObject(unsafe(/6 of the 106 /));
    expect((await outcomes('sweep', [owned, active(jockeys, 'jky', 5, 5)])).get('jky_4')).toEqual(vanished);
    expect((await outcomes('sweep', [active(jockeys, 'jky', 3, 100)])).get('jky_2')).toEqual(vanished);
  });
});
