import type { ServerResponse } from 'node:http';
import { expect } from 'vitest';
import type { ApiCall } from '../demo/simulator.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import type { Report } from '../src/files/report.js';
import type { PopulateOptions } from '../src/options.js';
import { lastDateColumn, statisticsColumns, statisticsWindow } from '../src/statistics.js';
import { timelessRows } from './watching.js';
import {
  type Ended,
  fasterTime,
  type HereOptions,
  startCommand,
  startWorld,
  today,
  type World,
  type WorldOptions,
} from './world.js';

export { checkpointIds, latestReport as lastReport } from './watching.js';
export { fasterTime } from './world.js';

/** A fault of the API: answers a call in its place. `normal` is the body that it would have had. */
export type Fault = (response: ServerResponse, normal: ResultsBody, call: ApiCall) => unknown;

/** An answer of the API, as far as faults change it. */
export interface ResultsBody {
  results: { race_id: string; date: unknown; runners: Record<string, unknown>[] }[] | null;
  total: number;
  [key: string]: unknown;
}

export const status =
  (code: number, headers: Record<string, string> = {}, body = '{"detail":"no"}'): Fault =>
  (response) =>
    response.writeHead(code, headers).end(body);

export const html = (code: number, headers: Record<string, string> = {}): Fault =>
  status(code, { 'content-type': 'text/html', ...headers }, '<!DOCTYPE html><title>Attention Required!</title>');

/** A fault that spoils what would have been a good answer. */
export const spoilt =
  (spoil: (body: ResultsBody) => unknown): Fault =>
  (response, normal) => {
    const body = structuredClone(normal);
    const answer = spoil(body) ?? body;
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  };

/** Answers calls that `hits` with the fault and all others as usual. */
export function inject(world: World, fault: Fault, hits: (call: ApiCall) => boolean): void {
  world.api.options.intercept = (call, response, next) =>
    hits(call) ? void fault(response, world.api.answer(call.url).body as unknown as ResultsBody, call) : next();
}

export const callsOf =
  (id: string) =>
  (call: ApiCall): boolean =>
    call.path.includes(`/${id}/`);

/** A run in this process, quick in its patience. */
export async function runWith(
  world: World,
  options: Partial<PopulateOptions>,
  parts: HereOptions = {},
): Promise<Report & { lines: string[] }> {
  return await world.runHere(options, { timeoutMs: 5_000, firstRetryMs: 1, time: fasterTime(100), ...parts });
}

/** Every column of every row, other programs' and the test rows' too, as text by id. */
export async function wholeRows(world: World, ...types: EntityType[]): Promise<Map<string, string>> {
  const tables = types.map(({ table }) => `select id, row::text as whole from ${table} as row`);
  const rows = await world.database.query<{ id: string; whole: string }>(tables.join(' union all '));
  return new Map(rows.map(({ id, whole }) => [id, whole]));
}

export const wholeTables = (world: World): Promise<Map<string, string>> => wholeRows(world, ...entityTypes);

/** Runs the command as a child process with exactly this environment. `shell` may set limits before it starts. */
export function runCommand(
  args: string[],
  { cwd, environment, shell }: { cwd: string; environment: Record<string, string>; shell?: string },
): Promise<Ended> {
  return startCommand(args, cwd, environment, shell).ended;
}

export function typeNamed(name: EntityType['name']): EntityType {
  const type = entityTypes.find((one) => one.name === name);
  if (type === undefined) throw new Error(`No type ${name}`);
  return type;
}

/** The ids of a type in the order in which a run takes them. */
export async function idsInOrder(world: World, type: EntityType): Promise<string[]> {
  const rows = await world.database.query<{ id: string }>(
    `select id from ${type.table} where id not like '**TEST**%' order by ${lastDateColumn(type)} desc nulls last, id`,
  );
  return rows.map(({ id }) => id);
}

/** How many races of the window the API has for an entity. */
export function raceCount(world: World, type: EntityType, id: string): number {
  const { start, today: end } = statisticsWindow(today);
  const query = `start_date=${start}&end_date=${end}&region=gb&region=ire`;
  const url = new URL(`${world.api.url}/${type.name}/${id}/results?${query}`);
  return (world.api.answer(url).body as { total: number }).total;
}

/** Few entities and short fields, so that dozens of runs take seconds; one jockey has two pages of races. */
export async function startTinyWorld(options: WorldOptions = {}): Promise<World> {
  const world = await startWorld({ ...options, season: { jockeys: 14, trainers: 6, owners: 10, races: 60 } });
  const [race] = world.api.races.filter(({ date, region }) => date === today && region === 'GB');
  const runner = race?.runners[0];
  if (!race || !runner) throw new Error('No race today');
  for (let number = 0; number < 100; number += 1) {
    world.api.publish({ ...race, race_id: `rac_extra_${number}`, runners: [{ ...runner }] });
  }
  return world;
}

export type StoredWorld = Awaited<ReturnType<typeof startStoredWorld>>;

/** A tiny world whose rows an earlier run wrote, what a run today writes for the jockeys, and these in its order. */
export async function startStoredWorld(options: WorldOptions = {}) {
  const world = await startTinyWorld(options);
  const jockeys = typeNamed('jockeys');
  const startedAt = new Date(Date.now() - 3 * 24 * 3600 * 1000);
  expect(await world.runHere({ strategy: 'walk' }, { startedAt })).toMatchObject({ exit_code: 0 });
  for (const { table } of entityTypes) {
    await world.database.query(`create table kept_${table} as select * from ${table}`);
  }
  await world.runHere({ entities: [jockeys], strategy: 'sweep' });
  const right = await timelessRows(world, [jockeys]);
  /** Puts the statistics of three days ago into all rows, and the world in order. */
  const restore = async () => {
    await world.reset();
    for (const type of entityTypes) {
      const set = [...statisticsColumns(type), 'stats_updated_at'].map((name) => `${name} = kept.${name}`);
      const from = `from kept_${type.table} as kept where kept.id = entity.id`;
      await world.database.query(`update ${type.table} as entity set ${set} ${from}`);
    }
    world.api.options.plan = 'pro';
  };
  await restore();
  return { world, restore, right, ids: await idsInOrder(world, jockeys) };
}
