import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { daysBefore, type SeasonRace, type SeasonRunner } from '../demo/season.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { formatCount } from '../src/format.js';
import type { PopulateOptions } from '../src/options.js';
import { lastDateColumn, statisticsColumns } from '../src/statistics.js';
import { callsOf, jockeys, runWith, typeNamed, walk, wholeTables } from './faults.js';
import * as lies from './lies.js';
import { naiveRows } from './naive-statistics.js';
import { timelessRows } from './watching.js';
import { sharedWorld, startWorld, today } from './world.js';

/** Three races a day; yesterday has five, of which four in Ireland; 252 days ago there are most of all, nine. */
const season = { jockeys: 150, trainers: 130, owners: 320, races: 1_200, seed: 2 };
const world = sharedWorld(() => startWorld({ season }));
const owners = typeNamed('owners');
const ago = (days: number) => daysBefore(today, days);
const [tomorrow, yesterday, recently, longAgo] = [ago(-1), ago(1), ago(2), ago(120)];
const mostRaces = ago(252);
const oldest = ago(365);
const at = (day = today, time = '05:00') => ({ startedAt: new Date(`${day}T${time}:00Z`) });

const logs = (name = '') => join(world.folder, 'logs', name);
const filesOf = (names: string[]) => new Map(names.map((name) => [name, readFileSync(logs(name), 'base64')]));
let truth: readonly SeasonRace[];
/** Owners without a race, but for the first two, which have one each. */
const rare: string[] = [];
const kept: Record<string, Map<string, string>> = {};

async function keep(day: string): Promise<void> {
  kept[day] = filesOf(readdirSync(logs()));
  for (const { table } of entityTypes) await world.database.query(`create table ${day}_${table} as table ${table}`);
}

/** Rows and files as a full run of that day left them. */
async function begin(day: string): Promise<void> {
  mkdirSync(logs());
  for (const [name, content] of kept[day] ?? []) writeFileSync(logs(name), content, 'base64');
  for (const type of entityTypes) {
    const set = [...statisticsColumns(type), 'stats_updated_at'].map((name) => `${name} = kept.${name}`);
    const from = `from ${day}_${type.table} as kept where kept.id = entity.id`;
    await world.database.query(`update ${type.table} as entity set ${set} ${from}`);
  }
}

/** Gives an owner without a race one: as a runner of the latest race in Ireland up to that day. */
function enter(id: string, date: string): void {
  const race = world.api.races.find((one) => one.date <= date && one.region === 'IRE');
  const owned = (runner: SeasonRunner, index: number) => (index === 4 ? { ...runner, owner_id: id } : runner);
  world.api.amend(`${race?.race_id}`, (one) => ({ ...one, runners: one.runners.map(owned) }));
}

beforeAll(async () => {
  const raced = new Set(world.api.races.flatMap(({ runners }) => runners.map(({ owner_id }) => owner_id)));
  rare.push(...world.season.owners.map(({ id }) => id).filter((id) => !raced.has(id)));
  for (const [index, date] of [ago(20), mostRaces].entries()) enter(`${rare[index]}`, date);
  truth = [...world.api.races];
  for (const [name, day] of Object.entries({ yesterday, today })) {
    lies.tellLie(world.api, lies.truth);
    world.api.options.today = `${day}`;
    expect(await runWith(world, {}, at(day))).toMatchObject({ exit_code: 0 });
    await keep(name);
  }
});
beforeEach(() => {
  lies.restoreRaces(world.api, truth);
  lies.tellLie(world.api, lies.truth);
  world.api.options.today = today;
});

const refresh = { all: true, refresh: true } as Partial<PopulateOptions>;
const columns: [name: string, begin: () => Promise<unknown>, asked: Partial<PopulateOptions>][] = [
  ['the first run, on empty tables', async () => {}, {}],
  [
    'the first run, on filled tables',
    () => begin('yesterday').then(() => rmSync(logs('season.json.gz'), { force: true })),
    {},
  ],
  ['the second day', () => begin('yesterday'), {}],
  ['a refresh', () => begin('today'), refresh],
  ['a walk', () => begin('yesterday'), walk],
];
const [, , secondDay, aRefresh] = columns as [unknown, unknown, (typeof columns)[0], (typeof columns)[0]];

/**
 * Stopped: exit code 7, nothing written. Believed: by what the program knows nothing is wrong, or two readings agree.
 * Right: the lie is about what is not asked.
 */
type Ending = 'stopped' | 'believed' | 'right';
const table: [what: string, lie: lies.Lie, ...endings: Ending[]][] = [
  ['a region', lies.withoutRegion('IRE'), 'believed', 'stopped', 'stopped', 'stopped', 'believed'],
  ['yesterday', lies.withoutDays(yesterday), 'believed', 'stopped', 'stopped', 'stopped', 'believed'],
  ['a day', lies.withoutDays(mostRaces), 'believed', 'believed', 'stopped', 'right', 'believed'],
  ['the window of a day', lies.withoutWindow(longAgo), 'stopped', 'stopped', 'stopped', 'right', 'stopped'],
  ['the window of today', lies.withoutWindow(today), 'stopped', 'stopped', 'stopped', 'stopped', 'stopped'],
  ['eight weeks', withoutEightWeeks(), 'stopped', 'stopped', 'stopped', 'right', 'believed'],
  ['every tenth race', lies.withoutEveryTenth, 'believed', 'stopped', 'stopped', 'believed', 'believed'],
  ['all positions', lies.withoutPositions, 'stopped', 'stopped', 'stopped', 'stopped', 'believed'],
  ['most runners', lies.withFewRunners, 'believed', 'stopped', 'stopped', 'stopped', 'believed'],
  ['the last 3 days', lies.withoutLast(3), 'believed', 'stopped', 'stopped', 'stopped', 'stopped'],
  ['the last 14 days', lies.withoutLast(14), 'believed', 'stopped', 'stopped', 'stopped', 'stopped'],
  ['the region of Ireland, told as another,', lies.relabelled, 'believed', 'stopped', 'stopped', 'stopped', 'believed'],
  ['all owners', lies.withoutOwners, 'believed', 'stopped', 'stopped', 'stopped', 'right'],
  ['everything', lies.nothing, 'stopped', 'stopped', 'stopped', 'stopped', 'stopped'],
];

function withoutEightWeeks(): lies.Lie {
  return lies.withoutDays(ago(168), ago(113));
}

/** The races as they are told; a refresh asks for those of the last three days. */
const told = (lie: lies.Lie, asked = {}) =>
  truth.flatMap((race) =>
    'refresh' in asked && race.date < recently ? race : (lie(race, new URL('http://any')) ?? []),
  );

/** The rows that races give as of a day; but an entity that the database knows to be active keeps its row. */
async function expectRows(
  races: readonly SeasonRace[],
  types: readonly EntityType[] = entityTypes,
  before: Awaited<ReturnType<typeof timelessRows>> = new Map(),
  day = today,
): Promise<string[]> {
  const expected: typeof before = new Map();
  const keptIds: string[] = [];
  for (const type of types) {
    const ids = world.season[type.name].map(({ id }) => id);
    const lastDate = lastDateColumn(type);
    for (const [id, row] of naiveRows(races, type, ids, day)) {
      const stored = before.get(id);
      const isKept = row[lastDate] === null && `${stored?.[lastDate] ?? ''}` >= daysBefore(day, 365);
      expected.set(id, stored && isKept ? stored : row);
      if (isKept) keptIds.push(id);
    }
  }
  expect(await timelessRows(world, types)).toEqual(expected);
  return keptIds.sort();
}

/** The known races that the answers contradict: missing, without their winner, or without most of their runners. */
function contradicted(lie: lies.Lie, since: string, until: string): SeasonRace[] {
  const hasWinner = ({ runners }: SeasonRace) => runners.some(({ position }) => /^(1|WON)$/.test(position));
  return lies.homeRaces(world.api, since, until).filter((race) => {
    const now = lie(race, new URL('http://any'));
    return (
      now?.region !== race.region ||
      (hasWinner(race) && !hasWinner(now)) ||
      now.runners.length < race.runners.length / 2
    );
  });
}

/** From when to when a season of before knows the races that are asked for. */
const known = new Map<unknown, [since: string, until: string]>([
  [secondDay[2], [oldest, yesterday]],
  [aRefresh[2], [recently, today]],
]);

/** Fails unless the message tells regions, days and how many races; not where a lie is about windows or owners. */
function expectTold(message: string | null, lie: lies.Lie, [since, until]: [string, string]): void {
  const races = contradicted(lie, since, until);
  const days = races.map(({ date }) => date).sort();
  const regions = new Set(races.map(({ region }) => region));
  if (races.length === 0) return;
  for (const wanted of [formatCount(races.length), ...regions, days[0], days.at(-1)]) {
    expect(message).toMatch(new RegExp(`(?<![\\d,])${wanted}(?![\\d,])`));
  }
}

async function expectNothingWritten(work: () => Promise<unknown>): Promise<void> {
  const files = readdirSync(world.folder).length > 0 ? readdirSync(logs()) : [];
  const names = files.filter((name) => /^(checkpoint|season)/.test(name));
  const before = { rows: await wholeTables(world), files: filesOf(names) };
  await work();
  expect({ rows: await wholeTables(world), files: filesOf(names) }).toEqual(before);
}

describe.each(columns.map((column, index) => [...column, index] as const))('%s', (_, start, asked, index) => {
  it.each(table.map(([what, lie, ...endings]) => [what, endings[index], lie] as const))(
    'when the API leaves out %s: %s',
    async (_, ending, lie) => {
      await start();
      lies.tellLie(world.api, lie);
      const before = await timelessRows(world);
      if (ending === 'stopped') {
        return expectNothingWritten(async () => {
          const { exit_code, stopped_by } = await runWith(world, asked, at(today, '12:00'));
          expect({ exit_code, stopped_by }).toEqual({ exit_code: 7, stopped_by: expect.stringContaining('--force') });
          const span = known.get(asked);
          if (span) expectTold(stopped_by, lie, span);
        });
      }
      const { exit_code, failures } = await runWith(world, asked, at(today, '12:00'));
      const races = ending === 'right' ? truth : told(lie, asked);
      // A walk asks twice and then believes that there is no race.
      const keptIds = await expectRows(races, asked.entities, asked === walk ? undefined : before);
      expect(failures.map(({ id }) => id).sort()).toEqual(keptIds);
      expect(exit_code).toBe(keptIds.length > 0 ? 3 : 0);
    },
  );
});

describe.each([secondDay, aRefresh])('%s', (_, start, asked) => {
  beforeEach(start);
  it.each([
    ['a region', lies.withoutRegion('IRE')],
    ['yesterday', lies.withoutDays(yesterday)],
    ['the window of today', lies.withoutWindow(today)],
    ['all positions', lies.withoutPositions],
    ['most runners', lies.withFewRunners],
    ['everything', lies.nothing],
  ])('a lie told once is passed over: %s', async (_, lie) => {
    lies.tellLie(world.api, lie, 1);
    expect(await runWith(world, asked, at(today, '12:00'))).toMatchObject({ exit_code: 0, failures: [] });
    await expectRows(world.api.races);
  });

  it('--force passes, and the report says what', async () => {
    const lie = lies.withoutRegion('IRE');
    const before = await timelessRows(world);
    lies.tellLie(world.api, lie);
    const report = await runWith(world, { ...asked, force: true }, at(today, '12:00'));
    const keptIds = await expectRows(told(lie, asked), entityTypes, before);
    expect(report).toMatchObject({ exit_code: keptIds.length > 0 ? 3 : 0, stopped_by: null });
    expect(JSON.stringify(report)).toMatch(/force[^}]*IRE/);
  });

  it('two races made void, a disqualification and a dead heat are legal', async () => {
    makeVoid(2, recently);
    const [first, second] = lies.homeRaces(world.api, recently, yesterday);
    world.api.amend(`${first?.race_id}`, lies.disqualify);
    world.api.amend(`${second?.race_id}`, lies.deadHeat);
    expect(await runWith(world, asked, at(today, '12:00'))).toMatchObject({ exit_code: 0, failures: [] });
    await expectRows(world.api.races);
  });
});

/** Makes so many races up to yesterday void, here and there; each entity still has one. */
function makeVoid(count: number, since: string): void {
  const races = lies.homeRaces(world.api, since, yesterday);
  let left = count;
  for (const [index, race] of races.entries()) {
    const isDue = index >= ((count - left) * races.length) / count;
    if (left === 0 || !isDue || !lies.isSpare(world.api, race, today)) continue;
    world.api.withdraw(race.race_id);
    left -= 1;
  }
  expect(left).toBe(0);
}

describe('on the second day', () => {
  beforeEach(() => begin('yesterday'));

  it.each([
    [20, 0],
    [21, 7],
  ])('%i races made void here and there: exit code %i', async (count, exit_code) => {
    makeVoid(count, oldest);
    expect(await runWith(world, {}, at())).toMatchObject({ exit_code });
    if (exit_code === 0) await expectRows(world.api.races);
  });

  it('an entity whose races are there under another id has its blank row at once', async () => {
    const [from, into] = [...new Set(truth[0]?.runners.map(({ owner_id }) => owner_id))] as [string, string];
    lies.merge(world.api, owners, from, into);
    expect(await runWith(world, {}, at())).toMatchObject({ exit_code: 0, failures: [] });
    await expectRows(world.api.races);
    expect((await timelessRows(world, [owners])).get(from)).toMatchObject({ last_runner_date: null });
  });

  it('an entity whose only race is void keeps its row that day, and has its blank row the day after', async () => {
    const [id] = rare;
    world.api.withdraw(`${truth.find(({ runners }) => runners.some(({ owner_id }) => owner_id === id))?.race_id}`);
    const before = await timelessRows(world);
    const { exit_code, failures } = await runWith(world, {}, at());
    const keptIds = await expectRows(world.api.races, entityTypes, before);
    expect(keptIds).toEqual([id]);
    expect({ exit_code, ids: failures.map((failure) => failure.id).sort() }).toEqual({ exit_code: 3, ids: keptIds });

    world.api.options.today = tomorrow;
    expect(await runWith(world, {}, at(tomorrow))).toMatchObject({ exit_code: 0, failures: [] });
    await expectRows(world.api.races, entityTypes, undefined, tomorrow);
  });

  it('an API that is a day ahead stops a full run', async () => {
    world.api.options.today = tomorrow;
    await expectNothingWritten(async () => {
      const { exit_code, stopped_by } = await runWith(world, {}, at(today, '23:59'));
      expect({ exit_code, stopped_by }).toEqual({ exit_code: 7, stopped_by: expect.stringContaining('midnight') });
    });
  });
});

it('an API that is a day ahead does not disturb a refresh', async () => {
  await begin('today');
  world.api.options.today = tomorrow;
  expect(await runWith(world, refresh, at(today, '23:59'))).toMatchObject({ exit_code: 0 });
  await expectRows(world.api.races);
});

describe('a walk', () => {
  /** One of those with the latest stored date. */
  const busyId = () =>
    `${truth.find(({ date, region }) => date === yesterday && region === 'GB')?.runners[0]?.jockey_id}`;
  const withoutBusy: lies.Lie = (race, url) =>
    url.pathname.includes(busyId()) && race.date > longAgo ? undefined : race;

  it.each([
    [1, 'is right the second time', false],
    [2, 'agrees with the first', true],
  ])('asks an entity whose last date went back once more: the answer %#', async (readings, _, isBelieved) => {
    await begin('yesterday');
    lies.tellLie(world.api, withoutBusy, readings);
    world.api.calls.length = 0;
    const { exit_code, lines } = await runWith(world, walk, at());
    expect({ exit_code, told: lines.some((line) => line.includes(busyId())) }).toEqual({
      exit_code: 0,
      told: isBelieved,
    });
    const firstPages = world.api.calls
      .filter(callsOf(busyId()))
      .filter(({ url }) => url.searchParams.get('skip') === '0');
    expect(firstPages).toHaveLength(2);
    const row = (await timelessRows(world, [jockeys])).get(busyId());
    expect(`${row?.last_ride_date}` <= longAgo).toBe(isBelieved);
  });
});
