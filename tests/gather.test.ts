import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { daysBefore, makeSeason, type Season, type SeasonRace, type SeasonRunner } from '../demo/season.js';
import { type ApiCall, type SimulatedRacingApi, startSimulatedRacingApi } from '../demo/simulator.js';
import { Entities, type EntityType, entityTypes, type Selection } from '../src/entity-types.js';
import { exitCodes } from '../src/errors.js';
import { type GatherOptions, sweep } from '../src/gather.js';
import { addDays, type StatisticsRow, statisticsWindow } from '../src/statistics.js';
import { walk } from '../src/walk.js';
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

/** A selection of the type; all of them and `others` more were last active on `lastDate`. */
function select(type: EntityType, ids: string[], lastDate: string | null = null, others: string[] = []): Selection {
  const stored = { lastDate, recentRuns: 0, recentWins: 0, lastWinDate: null, statsUpdatedAtMs: null };
  const named = (some: string[]) => new Entities(some.map((id) => ({ id, name: id, ...stored })));
  return { type, entities: named(ids), skipped: 0, all: named([...ids, ...others]) };
}

/** Gathers from the API; returns the row of each entity by its id, or why there is none. Throws what ends a run. */
async function outcomes(strategy: 'walk' | 'sweep', selections: Selection[], force = false, lines: string[] = []) {
  const { api: client, stop, close, events } = openApi(api.url, 2, { firstRetryMs: 1 });
  events.listen((event) => event.kind === 'line' && lines.push(event.line));
  const found = new Map<string, StatisticsRow | string>();
  try {
    const options: GatherOptions = { api: client, window: statisticsWindow(today), tell: events.tell, stop, force };
    const types = selections.map(({ type }) => type);
    const gathering =
      strategy === 'walk'
        ? walk(selections, options)
        : (await sweep(Promise.resolve(selections), Promise.resolve(undefined), types, options)).outcomes;
    for await (const outcome of gathering) {
      found.set(outcome.entity.id, 'row' in outcome ? outcome.row : outcome.failure);
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
  const season = makeSeason({ today, jockeys: 20, trainers: 12, owners: 30, races: 90 });
  const busyId = season.jockeys[0]?.id ?? '';
  const idsOf = (entities: Iterable<{ id: string }>) => Array.from(entities, ({ id }) => id);
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

  describe.each<['walk' | 'sweep', Selection[]]>([
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

/** A race in each week of the year, of others than those who are asked about; it has a winner. */
const ofOthers = series(53, (week) => race(`rac_other_${week}`, week * 7, { position: '1' }));
const ids = (count: number, prefix = 'own') => series(count, (index) => `${prefix}_${index}`);
const raceOf = (ownerIds: string[], daysAgo = 0) =>
  race(`rac_of_${daysAgo}`, daysAgo, ...ownerIds.map((owner_id) => ({ owner_id })));
const failuresOf = (found: Map<string, unknown>) => [...found.values()].filter((one) => typeof one === 'string');

describe('a sweep that cannot be true', () => {
  const vanished = expect.stringMatching(/^results vanished: the database has 20\d\d-/);

  it('stops without any race, asked for three times, unless forced', async () => {
    await serve([]);
    const selections = [select(owners, ids(1))];
    const told = unsafe(/no GB or IRE race at all from .*Nothing was written.*--force/);
    await expect(outcomes('sweep', selections)).rejects.toMatchObject(told);
    const queries = api.calls.map(
      ({ url }) => `${url.searchParams.get('start_date')} ${url.searchParams.get('end_date')}`,
    );
    expect(queries.filter((query) => query.endsWith(` ${today}`))).toHaveLength(3);
    expect(await outcomes('sweep', selections, true)).toEqual(naiveRows([], owners, ids(1)));
  });

  it('stops where no race has a winner', async () => {
    await serve(
      ofOthers.map((one) => ({ ...one, runners: one.runners.map((runner) => ({ ...runner, position: '' })) })),
    );
    await expect(outcomes('sweep', [select(owners, ids(1))])).rejects.toMatchObject(unsafe(/no winner of any race/));
  });

  it.each([
    ['four weeks, counted back from today,', 28, 55, 28],
    ['the first four weeks', 0, 27, 28],
    ['five weeks in which five races are usual', 30, 64, 0],
  ])('with %s without a race stops, or does not: days %i to %i ago', async (_, first, last, days) => {
    const ago = ({ date }: SeasonRace) => (Date.parse(today) - Date.parse(date)) / 86_400_000;
    await serve(ofOthers.filter((one) => ago(one) < first || ago(one) > last));
    const gathering = outcomes('sweep', [select(owners, ids(1))]);
    if (days === 0) return void expect((await gathering).size).toBe(1);
    await expect(gathering).rejects.toMatchObject(unsafe(/no GB or IRE race at all from/));
  });

  it('with four weeks without a race where twenty are usual stops; an answer that is empty once does not', async () => {
    const daily = series(366, (day) => race(`rac_daily_${day}`, day, { position: '1' }));
    await serve(daily.filter((_, day) => day < 40 || day > 67));
    await expect(outcomes('sweep', [select(owners, ids(1))])).rejects.toMatchObject(unsafe(/no GB or IRE race at all/));
    for (const one of daily.slice(40, 68)) api.publish(one);
    let empties = 0;
    api.options.intercept = ({ url }, response, next) => {
      const isFirst = url.searchParams.get('end_date') === today && ++empties <= 2;
      return isFirst ? void response.end('{"results": null, "total": 0}') : next();
    };
    expect(await outcomes('sweep', [select(jockeys, ['jky_other'])])).toEqual(
      naiveRows(api.races, jockeys, ['jky_other']),
    );
    expect(empties).toBe(3);
  });

  it.each([
    [0, 100, false],
    [5, 100, false],
    [6, 100, true],
    [100, 100, true],
    // Two may be a merger or a void race, however few there are.
    [2, 3, false],
  ])('by the stored dates of %i of %i recently active entities stops: %s', async (count, all, stops) => {
    await serve([...ofOthers, raceOf(ids(all).slice(count), 10)]);
    const selections = [select(owners, ids(all), daysBefore(today, 10))];
    const failures = series(count, () => vanished);
    const told = unsafe(RegExp(`because ${count} of ${all} owners have no race any more, or only older ones`));
    if (stops) await expect(outcomes('sweep', selections)).rejects.toMatchObject(told);
    else expect(failuresOf(await outcomes('sweep', selections))).toEqual(failures);
    expect(failuresOf(await outcomes('sweep', selections, true))).toEqual(failures);
  });

  it('counts those who have only older races, of all of the type that were active, taken or not', async () => {
    await serve([...ofOthers, raceOf(ids(100), 11)]);
    const active = (taken: number, others: number) =>
      outcomes('sweep', [
        select(
          owners,
          ids(taken),
          daysBefore(today, 10),
          series(others, (n) => `own_x${n}`),
        ),
      ]);
    await expect(active(100, 0)).rejects.toMatchObject(unsafe(/100 of 100 owners/));
    await expect(active(3, 57)).rejects.toMatchObject(unsafe(/60 of 60 owners/));
    const few = select(jockeys, ids(2, 'jky'), daysBefore(today, 10));
    expect(failuresOf(await outcomes('sweep', [few]))).toEqual([vanished, vanished]);
    const longAgo = select(owners, ids(100, 'own_y'), daysBefore(today, 366));
    expect(failuresOf(await outcomes('sweep', [longAgo]))).toEqual([]);
  });

  it('reads the days again that a witness has seen otherwise', async () => {
    await serve([...ofOthers, raceOf(ids(9), 10)]);
    let calls = 0;
    api.options.intercept = (call, response, next) => {
      const isNewest = call.url.searchParams.get('end_date') === today && ++calls === 1;
      if (!isNewest) return next();
      const { results } = api.answer(call.url).body as { results: SeasonRace[] };
      const some = results.filter(({ race_id }) => race_id !== 'rac_of_10');
      response.end(JSON.stringify({ results: some, total: some.length }));
    };
    const lines: string[] = [];
    const selections = [select(owners, ids(9), daysBefore(today, 10))];
    expect(await outcomes('sweep', selections, false, lines)).toEqual(naiveRows(api.races, owners, ids(9)));
    expect(lines.join('\n')).toMatch(/Reading again, because 9 of 9 owners have no race any more/);
    expect(api.calls).toHaveLength(6);
  });

  it.each([
    [365, 'fails'],
    [366, 'is written'],
    [null, 'is written'],
  ])('is nothing that one entity is, without a race now and %j days ago: it %s', async (ago, then) => {
    await serve(ofOthers, { owners: [{ id: 'own_1', name: 'One' }] });
    const selections = [select(owners, ['own_1'], ago === null ? null : daysBefore(today, ago))];
    const found = then === 'fails' ? new Map([['own_1', vanished]]) : naiveRows([], owners, ['own_1']);
    expect(await outcomes('sweep', selections)).toEqual(found);
  });
});

describe('a walk', () => {
  const known = (count: number) => ({ owners: ids(count).map((id) => ({ id, name: id })) });
  const yesterday = addDays(today, -1);

  it('believes two answers that agree against the stored date, and tells it', async () => {
    await serve([raceOf(['own_0'], 1), raceOf(['own_1'], 5)], known(3));
    const lines: string[] = [];
    const found = await outcomes('walk', [select(owners, ids(3), yesterday)], false, lines);
    expect(found).toEqual(naiveRows(api.races, owners, ids(3)));
    expect(api.calls).toHaveLength(5);
    expect(lines.sort()).toEqual(
      ids(3)
        .slice(1)
        .map((id) => `owners ${id} ${id}: ${notBelieved(yesterday)}: asked twice, both answers agree.`),
    );
  });
  const notBelieved = (date: string) =>
    `the API has no race of ${date} or later any more, which is the date that is stored`;

  it.each([
    ['that is right', 1, naiveRows],
    ['that is another one again', 2, () => new Map([['own_0', expect.stringContaining('others each time')]])],
  ])(
    'does not believe a first answer against the stored date when there is a second %s',
    async (_, wrong, expected) => {
      await serve([raceOf(['own_0'], 1), raceOf(['own_0'], 9), raceOf(['own_0'], 5)]);
      api.options.intercept = ({ url, number }, response, next) => {
        if (number > wrong) return next();
        const { results } = api.answer(url).body as { results: SeasonRace[] };
        const older = results.filter(({ date }) => date < daysBefore(today, number === 1 ? 1 : 5));
        response.end(JSON.stringify({ results: older, total: older.length }));
      };
      const found = await outcomes('walk', [select(owners, ['own_0'], yesterday)]);
      expect(found).toEqual(expected(api.races, owners, ['own_0']));
      expect(api.calls).toHaveLength(2);
    },
  );

  it.each([
    ['ten contradicted in a row', 10, yesterday, /of 10 entities, one after the other,.*None of these 10 was written/],
    [
      'three that are all contradicted',
      3,
      yesterday,
      /of 3 entities, one after the other,.*None of these 3 was written/,
    ],
    ['a hundred without any race', 100, null, /no race of 100 entities.*None of these 100 was written/],
  ])('stops at %s, unless forced', async (_, count, lastDate, told) => {
    await serve([], known(count));
    const selections = [select(owners, ids(count), lastDate)];
    await expect(outcomes('walk', selections)).rejects.toMatchObject(unsafe(told));
    expect(await outcomes('walk', selections, true)).toEqual(naiveRows([], owners, ids(count)));
  });

  it('writes nine contradicted and ninety without a race when another one has races', async () => {
    await serve([raceOf(['own_0'])], known(100));
    const [racing, others] = [select(owners, ['own_0'], today), ids(100).slice(1)];
    const mixed = [select(owners, others.slice(0, 90)), select(owners, others.slice(90), yesterday), racing];
    expect(await outcomes('walk', mixed)).toEqual(naiveRows(api.races, owners, ids(100)));
    const ten = [racing, select(owners, others.slice(0, 90)), select(owners, ids(10, 'own_x'), yesterday)];
    for (const id of ids(10, 'own_x')) api.publish(race(`rac_${id}`, 400, { owner_id: id }));
    await expect(outcomes('walk', ten)).rejects.toMatchObject(unsafe(/of 10 entities, one after the other,/));
  });
});
