import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { makeRandom, pick, wholeNumber } from '../demo/random.js';
import { daysBefore, type SeasonRace } from '../demo/season.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { jockeys, typeNamed, wholeTables } from './faults.js';
import * as lies from './lies.js';
import { naiveRows } from './naive-statistics.js';
import { timelessRows } from './watching.js';
import { sharedWorld, startWorld, withClock } from './world.js';

/** SEED=<the number in a failed test's name> for the same changes of the world and the same kills. */
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
const random = makeRandom(seed);
/** The season's races of the week are withheld until their day. */
const week = [6, 5, 4, 3, 2, 1, 0].map((days) => daysBefore('2026-03-04', days));
const season = { today: `${week[6]}`, jockeys: 150, trainers: 130, owners: 320, races: 1_200, seed: 2 };
const world = sharedWorld(() => startWorld({ season }));
const owners = typeNamed('owners');

/** What the clocks of the command and of the API say. */
let day = `${week[0]}`;
/** The day of the last full run of everything, after which a refresh needs no other. */
let sweptDay = '';
/** An owner whose only race is void: its row stays as it is until the day after. */
let voidId = '';
const ago = (days: number) => daysBefore(day, days);

const races = (from: number, to: number) => lies.homeRaces(world.api, ago(from), ago(to));
const anyRace = (from: number, to: number) => pick(random, races(from, to));
const correct = (race: SeasonRace, change: (race: SeasonRace) => SeasonRace) => world.api.amend(race.race_id, change);
const move = (race: SeasonRace, date: string) => correct(race, (before) => ({ ...before, date }));

function makeOneVoid(from: number, to: number): void {
  const all = races(from, to);
  const first = wholeNumber(random, 0, all.length);
  const spare = [...all.slice(first), ...all].find((race) => lies.isSpare(world.api, race, day));
  world.api.withdraw(`${spare?.race_id}`);
}

function mergeTwo(type: EntityType): void {
  const [from, into] = new Set(anyRace(300, 30).runners.map((runner) => runner[type.runnerIdField]));
  lies.merge(world.api, type, `${from}`, `${into}`);
}

/** An owner appears in the tables; or only there, or only at the API. */
const addRow = (id: string) => world.database.query('insert into ra_owners (id, name) values ($1, $1)', [id]);
const withFifthOwner = (owner_id: string) => (race: SeasonRace) => ({
  ...race,
  runners: race.runners.map((runner, index) => (index === 4 ? { ...runner, owner_id } : runner)),
});

/** Before a full run everything may change. */
async function changeByNight(number: number): Promise<void> {
  correct(anyRace(360, 4), lies.disqualify);
  correct(anyRace(360, 4), lies.deadHeat);
  move(anyRace(100, 30), ago(wholeNumber(random, 4, 200)));
  makeOneVoid(360, 4);
  if (number === 1) world.api.names.owners.set(`${world.season.owners[0]?.id}`, 'Renamed');
  if (number === 2) mergeTwo(owners);
  if (number === 4) mergeTwo(jockeys);
  if (number === 3) {
    voidId = 'own_rare';
    const only = world.api.races.find(({ runners }) => runners.some(({ owner_id }) => owner_id === voidId));
    world.api.withdraw(`${only?.race_id}`);
  } else voidId = '';
}

/** By day only what a refresh reads again: the races of today and the two days before. */
async function changeByDay(number: number): Promise<void> {
  correct(anyRace(2, 0), number % 2 === 0 ? lies.disqualify : lies.deadHeat);
  if (number % 3 === 0) makeOneVoid(2, 0);
  if (number % 3 === 1) move(anyRace(2, 1), day);
  if (number === 1) correct(anyRace(1, 0), withFifthOwner('own_new'));
  if (number === 2) await addRow('own_new');
  if (number === 5) await addRow('own_late');
}

/** Has `kill` called at a moment of the command that is about to start. */
function arrangeKill(kill: () => void): void {
  const moment = pick(random, ['at a request', 'before a read or write', 'after one', 'at any time']);
  let turn = wholeNumber(random, 1, 3);
  if (moment === 'at any time') void sleep(200 + random() * 600).then(kill);
  else if (moment === 'at a request') {
    world.api.options.intercept = (_call, _response, next) => (--turn === 0 ? kill() : next());
  } else {
    world.database.intercept = async (_request, _response, next) => {
      turn -= 1;
      if (turn === 0 && moment !== 'after one') return kill();
      await next();
      if (turn === 0) kill();
    };
  }
}

async function attempt(args: string[], time: string, isToBeKilled = false) {
  world.api.calls.length = 0;
  const running = world.start([...args, '--rate', '1000'], withClock(`${day}T${time}:00Z`));
  let isOver = false;
  if (isToBeKilled) arrangeKill(() => void (isOver || running.child.kill('SIGKILL')));
  const ended = await running.ended;
  isOver = true;
  world.api.options.intercept = undefined;
  world.database.intercept = undefined;
  return ended;
}

const refresh = ['--all', '--refresh', '--quiet'];
const kills = { at: [2, 10, 17].map((first) => first + wholeNumber(random, 0, 4)), done: 0, commands: 0 };

/** Runs a command, which may be killed and is then run again, to a good end; fails unless all rows are right. */
async function goesWell(args: string[], time: string, codes = [0]): Promise<void> {
  const before = await storedRows();
  kills.commands += 1;
  const isToBeKilled = kills.commands >= (kills.at[kills.done] ?? Number.POSITIVE_INFINITY);
  let ended = await attempt(args, time, isToBeKilled);
  const isKilled = ended.signal === 'SIGKILL';
  if (isKilled) {
    kills.done += 1;
    // One that is killed while it selects has left the checkpoint of a full run of today as it was: that is resumed.
    const again = args === refresh || sweptDay === day ? [args] : [args, [...args, '--resume']];
    ended = await attempt(pick(random, again), time);
  }
  expect(codes, ended.stdout + ended.stderr).toContain(ended.code);
  await expectOracle(before.timeless);
  if (args === refresh && sweptDay === day && !isKilled) await expectLittleWork(before);
  // What is resumed does not take part in what a season tells.
  if (args === refresh || !isKilled) sweptDay = day;
}

/** Runs a command that has to end with this code and to write nothing. */
async function stops(args: string[], time: string, code: number): Promise<void> {
  const before = await wholeTables(world);
  const ended = await attempt(args, time);
  expect(ended, ended.stdout + ended.stderr).toMatchObject({ code });
  expect(await wholeTables(world)).toEqual(before);
}

async function storedRows() {
  const rows = await Promise.all(entityTypes.map((type) => world.rows(type)));
  const updatedAt = new Map(rows.flatMap((byId) => [...byId].map(([id, row]) => [id, row.stats_updated_at])));
  return { timeless: await timelessRows(world), updatedAt };
}

/** Fails unless each row of the tables is as the API's races of the moment give it, but for that of a void race. */
async function expectOracle(before: Awaited<ReturnType<typeof timelessRows>>): Promise<void> {
  const expected: typeof before = new Map();
  for (const type of entityTypes) {
    const ids = (await world.rows(type)).keys();
    for (const [id, row] of naiveRows(world.api.races, type, ids, day)) expected.set(id, row);
  }
  const kept = before.get(voidId);
  if (kept) expected.set(voidId, kept);
  expect(await timelessRows(world)).toEqual(expected);
}

/** Fails unless a refresh has asked for the last days alone and has written just the rows that differ now. */
async function expectLittleWork(before: Awaited<ReturnType<typeof storedRows>>): Promise<void> {
  expect(world.api.calls.length).toBeLessThanOrEqual(4);
  const after = await storedRows();
  const idsWhere = (isWanted: (id: string) => boolean) => [...after.timeless.keys()].filter(isWanted);
  const figures = (rows: typeof before, id: string) => JSON.stringify(rows.timeless.get(id));
  expect(idsWhere((id) => after.updatedAt.get(id) !== before.updatedAt.get(id))).toEqual(
    idsWhere((id) => figures(after, id) !== figures(before, id)),
  );
}

it(`a week of nightly runs and refreshes in a world that changes, lies and fails (SEED=${seed})`, {
  timeout: 300_000,
}, async () => {
  const { api } = world;
  const withheld = api.races.filter(({ date }) => date >= day).reverse();
  for (const { race_id } of withheld) api.withdraw(race_id);
  /** Results come in, of at most so many races up to that day. */
  const come = (date: string, count: number) => {
    const ready = withheld.filter((race) => race.date <= date).length;
    withheld.splice(0, Math.min(count, ready)).forEach(api.publish);
  };
  await addRow('own_rare');
  correct(anyRace(200, 20), withFifthOwner('own_rare'));
  correct(anyRace(200, 20), withFifthOwner('own_late'));

  for (const [number, today] of week.entries()) {
    day = today;
    api.options.today = day;
    // Before the night's full run there is no season of today: it is a full run itself.
    if (number === 5) await goesWell(refresh, '00:10');
    // The last one of yesterday among them.
    come(ago(1), 100);
    if (number > 0) await changeByNight(number);
    if (number === 2) {
      lies.tellLie(api, lies.withoutRegion('IRE'));
      await stops(['--all'], '04:00', 7);
    }
    await goesWell(['--all'], '05:00', [number === 3 ? 3 : 0]);

    come(day, 2);
    await changeByDay(number);
    if (number === 4) {
      api.options.intercept = (_, response) => void response.writeHead(503, { 'retry-after': '6000' }).end();
      await stops(refresh, '12:55', 4);
    }
    await goesWell(refresh, '13:00', number === 3 ? [0, 3] : [0]);

    come(day, withheld.filter(({ date }) => date === day).length - 1);
    if (number === 5) {
      lies.tellLie(api, lies.withoutDays(ago(2), day));
      await stops(refresh, '20:55', 7);
    }
    await goesWell(refresh, '21:00', number === 3 ? [0, 3] : [0]);
  }
  // The API's clock is a little ahead.
  api.options.today = daysBefore(day, -1);
  await goesWell(refresh, '23:59');
  expect(kills.done).toBe(3);
});
