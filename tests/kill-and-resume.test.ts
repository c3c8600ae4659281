import { mkdirSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeRandom, pick, type Random, wholeNumber } from '../demo/random.js';
import { type EntityType, type EntityTypeName, entityTypes } from '../src/entity-types.js';
import { watchWholeness } from './checkpoint-reader.js';
import { checkpointIds, timelessRows } from './watching.js';
import { startWorld, type World } from './world.js';

/** KILLS=100 for more; SEED=<the number in a failed test's name> for the same moments again. */
const kills = Number(process.env.KILLS ?? 20);
const timeoutMs = 60_000 + kills * 5_000;
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);

/** Ids that an older run has processed: they make the checkpoint large, so that saving takes its time. */
const olderIds = Array.from({ length: 20_000 }, (_, index) => `jky_gone_${index}`);

let world: World;
let uninterrupted: Awaited<ReturnType<typeof timelessRows>>;

beforeAll(async () => {
  world = await startWorld({ season: { jockeys: 200, trainers: 150, owners: 2_200, races: 150 } });
  expect(await world.runHere({ strategy: 'sweep' })).toMatchObject({ exit_code: 0 });
  uninterrupted = await timelessRows(world);
});
beforeEach(async () => {
  await world.reset();
  world.api.options.latencyMs = 0;
});
afterAll(() => world.close());

const moments = [
  'selecting',
  'gathering',
  'before writing',
  'while writing',
  'after writing',
  'saving',
  'any time',
] as const;
type Moment = (typeof moments)[number];

/** Has `kill` called at such a moment of the run that is about to start; returns what takes this back. */
function arrange(moment: Moment, random: Random, kill: () => void): () => void {
  const { api, database, folder } = world;
  const turn = wholeNumber(random, 1, moment === 'gathering' ? 250 : 6);
  const delayMs = random() * 8;
  let seen = 0;
  const countDown = () => {
    seen += 1;
    return seen === turn;
  };
  if (moment === 'gathering') {
    api.options.intercept = (_call, _response, next) => (countDown() ? kill() : next());
    return () => undefined;
  }
  if (moment === 'saving') {
    const watcher = watch(join(folder, 'logs'), (_event, name) => {
      if (name?.startsWith('checkpoint_') && countDown()) void sleep(delayMs).then(kill);
    });
    return () => watcher.close();
  }
  if (moment === 'any time') {
    const timer = setTimeout(kill, 200 + random() * 2_500);
    return () => clearTimeout(timer);
  }
  database.intercept = async (request, _response, next) => {
    const phase = request.url?.includes('/rpc/') ? 'writing' : 'selecting';
    const now = moment.endsWith(phase) && countDown();
    if (now && moment !== 'after writing') kill();
    // Never arrived, or carried out after the death of the one who asked for it.
    if (now && moment === 'before writing') return;
    await next();
    if (now && moment === 'after writing') void sleep(delayMs).then(kill);
  };
  return () => undefined;
}

/** Runs the command until its end or its death at the moment. */
async function runAndKill(args: string[], moment: Moment | undefined, random: Random) {
  const running = world.start(args);
  let over = false;
  const undo = moment && arrange(moment, random, () => void (over || running.child.kill('SIGKILL')));
  const ended = await running.ended;
  over = true;
  undo?.();
  world.api.options.intercept = undefined;
  world.database.intercept = undefined;
  return ended;
}

/** No id is in a checkpoint without its row, and the row is right. Returns the ids. */
async function expectCheckpointsWritten(types: EntityTypeName[]): Promise<Set<string>> {
  const all = new Set<string>();
  for (const type of typesOf(types)) {
    const rows = await timelessRows(world, [type]);
    for (const id of checkpointIds(world, type)) {
      if (id.startsWith('jky_gone_')) continue;
      expect(rows.get(id), `${id} is in the checkpoint`).toEqual(uninterrupted.get(id));
      all.add(id);
    }
  }
  return all;
}

/** The entities whose own results were asked for, by the first page. */
function walkedIds(): string[] {
  return world.api.calls
    .filter(({ url }) => url.searchParams.get('skip') === '0')
    .flatMap(({ path }) => /^\/v1\/(?:jockeys|trainers|owners)\/(.+)\/results$/.exec(path)?.[1] ?? []);
}

function startOver(): void {
  mkdirSync(join(world.folder, 'logs'), { recursive: true });
  const checkpoint = {
    entity_type: 'jockeys',
    processed_ids: olderIds,
    count: olderIds.length,
    timestamp: '2025-11-01T05:00:00',
  };
  writeFileSync(join(world.folder, 'logs', 'checkpoint_jockeys.json'), JSON.stringify(checkpoint));
}

describe.each([
  { strategy: 'walk', types: ['jockeys', 'trainers'] as EntityTypeName[] },
  { strategy: 'sweep', types: ['jockeys', 'trainers', 'owners'] as EntityTypeName[] },
])('$strategy', ({ strategy, types }) => {
  it(
    `killed at ${kills / 2} moments and resumed: the table of an uninterrupted run (SEED=${seed})`,
    async () => {
      const random = makeRandom(seed + strategy.length);
      const args = ['--resume', '--rate', '200', '--strategy', strategy, '--entities', ...types];
      const expected = new Map([...uninterrupted].filter(([id]) => ofTypes(types, id)));
      world.api.options.latencyMs = () => random() * 20;
      let killed = 0;

      /** Resolves to whether the run came to its end. */
      const runOnce = async () => {
        world.api.calls.length = 0;
        const moment = killed < kills / 2 ? pick(random, moments) : undefined;
        const { code, signal, stdout, stderr } = await runAndKill(args, moment, random);
        const finished = signal !== 'SIGKILL';
        if (finished) expect(code, stdout + stderr).toBe(0);
        else killed += 1;
        const written = await expectCheckpointsWritten(types);
        const again = new Set(walkedIds().filter((id) => !written.has(id)));
        expect(again.size, `fetched again after a kill when ${moment}`).toBeLessThanOrEqual(100);
        return finished;
      };

      while (killed < kills / 2) {
        await world.reset();
        startOver();
        const reader = watchWholeness(join(world.folder, 'logs'));
        try {
          for (let finished = false; !finished; ) finished = await runOnce();
        } finally {
          expect(await reader.stop()).toEqual({ torn: [], whole: expect.any(Number) });
        }
        expect(await timelessRows(world, typesOf(types))).toEqual(expected);
      }
    },
    timeoutMs,
  );
});

function typesOf(names: EntityTypeName[]): EntityType[] {
  return entityTypes.filter(({ name }) => names.includes(name));
}

function ofTypes(types: EntityTypeName[], id: string): boolean {
  return types.some((name) => world.season[name].some((entity) => entity.id === id));
}
