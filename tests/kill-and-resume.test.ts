import { mkdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, beforeEach, expect, it } from 'vitest';
import { makeRandom, type Random, wholeNumber } from '../demo/random.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { checkpointIds, placeCheckpoint, timelessRows, until, writtenIds } from './watching.js';
import { sharedWorld, startWorld, today } from './world.js';

/** KILLS=100 for more; SEED=<the number in a failed test's name> for the same moments again. */
const kills = Number(process.env.KILLS ?? 12);
const timeout = 60_000 + kills * 5_000;
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);

const [jockeys, trainers] = entityTypes as [EntityType, EntityType];
const world = sharedWorld(() => startWorld({ season: { jockeys: 130, trainers: 20, owners: 1_100, races: 90 } }));
let uninterrupted: Awaited<ReturnType<typeof timelessRows>>;

beforeAll(async () => {
  expect(await world.runHere({ strategy: 'sweep' })).toMatchObject({ exit_code: 0 });
  uninterrupted = await timelessRows(world);
});
beforeEach(() => mkdirSync(logs()));

const logs = (name = '') => join(world.folder, 'logs', name);
const idsOf = ({ name }: EntityType) => world.season[name].map(({ id }) => id);

function takeInterceptsOff(): void {
  world.api.options.intercept = undefined;
  world.database.intercept = undefined;
}

const moments = ['selecting', 'gathering', 'before writing', 'while writing', 'after writing', 'saving', 'any time'];

/** How many requests a run makes of the API, and how many writes. */
interface Course {
  requests: number;
  writes: number;
}

/** Has `kill` called at such a moment of the run that is about to start; returns what takes this back. */
function arrange(moment: string, { requests, writes }: Course, random: Random, kill: () => void): () => void {
  const mostTurns = moment === 'gathering' ? requests : moment.endsWith('writing') ? writes : 6;
  const turn = wholeNumber(random, 1, mostTurns);
  const delayMs = random() * 8;
  let seen = 0;
  const countDown = () => {
    seen += 1;
    return seen === turn;
  };
  if (moment === 'any time') {
    const timer = setTimeout(kill, 150 + random() * 1_000);
    return () => clearTimeout(timer);
  }
  if (moment === 'saving') {
    const watcher = watch(logs(), (_event, name) => {
      if (name?.startsWith('checkpoint_') && countDown()) void sleep(delayMs).then(kill);
    });
    return () => watcher.close();
  }
  if (moment === 'gathering') {
    world.api.options.intercept = (_call, _response, next) => (countDown() ? kill() : next());
    return takeInterceptsOff;
  }
  world.database.intercept = async (request, _response, next) => {
    const phase = request.url?.includes('/rpc/') ? 'writing' : 'selecting';
    const now = moment.endsWith(phase) && countDown();
    if (now && moment !== 'after writing') kill();
    // Never arrived, or carried out after the death of the one who asked for it.
    if (now && moment === 'before writing') return;
    await next();
    if (now && moment === 'after writing') void sleep(delayMs).then(kill);
  };
  return takeInterceptsOff;
}

/** Runs to the end, which has to be a good one, or to death at the moment. Resolves to whether it was the end. */
async function runAndKill(args: string[], moment: string | undefined, course: Course, random: Random) {
  const running = world.start(args);
  let over = false;
  const kill = () => void (over || running.child.kill('SIGKILL'));
  const undo = moment === undefined ? () => {} : arrange(moment, course, random, kill);
  const { code, signal, stdout, stderr } = await running.ended;
  over = true;
  undo();
  if (signal === 'SIGKILL') return false;
  expect(code, stdout + stderr).toBe(0);
  return true;
}

/** Fails unless the checkpoints are whole and each id in them has its row, the right one. Returns those ids. */
async function expectCheckpointsWritten(types: EntityType[]): Promise<Set<string>> {
  const ids = types.flatMap((type) => checkpointIds(world, type)).filter((id) => !id.startsWith('jky_gone_'));
  const rows = await timelessRows(world, types);
  expect(new Map(ids.map((id) => [id, rows.get(id)]))).toEqual(new Map(ids.map((id) => [id, uninterrupted.get(id)])));
  return new Set(ids);
}

/** The entities whose own results were asked for, by the first page. */
function walkedIds(): string[] {
  return world.api.calls
    .filter(({ url }) => url.searchParams.get('skip') === '0')
    .flatMap(({ path }) => /^\/v1\/(?:jockeys|trainers|owners)\/(.+)\/results$/.exec(path)?.[1] ?? []);
}

it.each([
  { strategy: 'walk', types: [jockeys, trainers], requests: 150, writes: 4 },
  { strategy: 'sweep', types: [...entityTypes], requests: 14, writes: 3 },
])(
  `a $strategy killed at ${kills / 2} moments and resumed: the table of an uninterrupted run (SEED=${seed})`,
  { timeout },
  async ({ strategy, types, ...course }) => {
    const random = makeRandom(seed + strategy.length);
    // Each kind in turn, so that none is left out.
    let turn = wholeNumber(random, 1, moments.length);
    const names = types.map(({ name }) => name);
    const args = ['--resume', '--rate', '1000', '--strategy', strategy, '--entities', ...names];
    const expected = new Map(types.flatMap(idsOf).map((id) => [id, uninterrupted.get(id)]));
    // They make the checkpoint large, so that saving takes its time.
    const olderIds = Array.from({ length: 20_000 }, (_, index) => `jky_gone_${index}`);
    world.api.options.latencyMs = () => random() * 20;
    for (let killed = 0; killed < kills / 2; ) {
      await world.reset();
      mkdirSync(logs());
      placeCheckpoint(world, jockeys, olderIds, '2025-10-19T14:17:14.123456');
      for (let finished = false; !finished; ) {
        world.api.calls.length = 0;
        const moment = killed < kills / 2 ? moments[turn++ % moments.length] : undefined;
        finished = await runAndKill(args, moment, course, random);
        if (!finished) killed += 1;
        const written = await expectCheckpointsWritten(types);
        const again = new Set(walkedIds().filter((id) => !written.has(id)));
        expect(again.size, `fetched again after a kill when ${moment}`).toBeLessThanOrEqual(100);
      }
      expect(await timelessRows(world, types)).toEqual(expected);
    }
  },
);

it.each([[[]], [['--clear-checkpoints']]])(
  'a run %j killed while it selects is not hidden by the complete checkpoint of an older one',
  async (more) => {
    world.api.options.latencyMs = 0;
    const yesterday = new Date(Date.now() - 24 * 3600 * 1000).toISOString();
    for (const type of entityTypes) placeCheckpoint(world, type, idsOf(type), yesterday);
    const killed = world.start(['--all', '--strategy', 'sweep', '--rate', '1000', ...more]);
    world.database.intercept = () => void killed.child.kill('SIGKILL');
    expect(await killed.ended).toMatchObject({ signal: 'SIGKILL' });
    takeInterceptsOff();

    const resumed = await world.runHere({ strategy: 'sweep', resume: true });
    expect(resumed).toMatchObject({ exit_code: 0, overall: { total_successful: 1_250 } });
    expect(resumed.after_killed).toMatch(new RegExp(`^${today}T`));
    expect((await world.runHere({ limit: 1 })).after_killed).toBeNull();
    expect(await timelessRows(world)).toEqual(uninterrupted);
  },
);

it('asks for at most 100 walked entities before the first of them are written', async () => {
  const held: (() => Promise<void>)[] = [];
  world.database.intercept = (request, _response, next) =>
    request.url?.includes('/rpc/') ? void held.push(next) : next();
  const running = world.start(['--entities', 'jockeys', '--strategy', 'walk', '--rate', '1000']);
  await until('a batch of walked entities', () => walkedIds().length >= 50);
  for (let before = -1; before < walkedIds().length; ) {
    before = walkedIds().length;
    await sleep(300);
  }
  const asked = new Set(walkedIds()).size;
  world.database.intercept = undefined;
  for (const next of held) void next();
  expect(await running.ended).toMatchObject({ code: 0 });
  expect(asked).toBeLessThanOrEqual(100);
  expect(await writtenIds(world, jockeys)).toHaveLength(130);
});
