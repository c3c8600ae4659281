import type { IncomingMessage, ServerResponse } from 'node:http';
import { beforeAll, beforeEach, expect, onTestFinished, vi } from 'vitest';
import type { ApiCall } from '../demo/simulator.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import type { Report } from '../src/files/report.js';
import type { PopulateOptions } from '../src/options.js';
import { lastDateColumn, statisticsColumns } from '../src/statistics.js';
import { timelessRows } from './watching.js';
import {
  fasterTime,
  type HereOptions,
  sharedWorld,
  startWorld,
  today,
  type World,
  type WorldOptions,
} from './world.js';

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
    hits(call) ? void fault(response, world.api.answer(call.url).body as ResultsBody, call) : next();
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

export function typeNamed(name: EntityType['name']): EntityType {
  const type = entityTypes.find((one) => one.name === name);
  if (type === undefined) throw new Error(`No type ${name}`);
  return type;
}

export const jockeys = typeNamed('jockeys');
export const walk = { entities: [jockeys], strategy: 'walk' } as const;
export const sweep = { entities: [jockeys], strategy: 'sweep' } as const;

/** The ids of a type in the order in which a run takes them. */
export async function idsInOrder(world: World, type: EntityType): Promise<string[]> {
  const rows = await world.database.query<{ id: string }>(
    `select id from ${type.table} where id not like '**TEST**%' order by ${lastDateColumn(type)} desc nulls last, id`,
  );
  return rows.map(({ id }) => id);
}

/** Few entities and short fields, so that dozens of runs take seconds; one jockey has two pages of races. */
export async function startTinyWorld(options: WorldOptions = {}): Promise<World> {
  const world = await startWorld({ ...options, season: { jockeys: 14, trainers: 6, owners: 10, races: 90 } });
  const [race] = world.api.races.filter(({ date, region }) => date === today && region === 'GB');
  const runner = race?.runners[0];
  if (!race || !runner) throw new Error('No race today');
  for (let number = 0; number < 100; number += 1) {
    world.api.publish({ ...race, race_id: `rac_extra_${number}`, runners: [{ ...runner }] });
  }
  return world;
}

/**
 * The one world of a test file, tiny, with the rows that a run three days ago wrote: so again before each test. With
 * what a run today writes for the jockeys, and these in the order in which it takes them.
 */
export function sharedStoredWorld(options: WorldOptions = {}) {
  const world = sharedWorld(() => startTinyWorld(options));
  const right: Awaited<ReturnType<typeof timelessRows>> = new Map();
  const ids: string[] = [];
  beforeAll(async () => {
    const startedAt = new Date(Date.now() - 3 * 24 * 3600 * 1000);
    expect(await world.runHere({ strategy: 'walk' }, { startedAt })).toMatchObject({ exit_code: 0 });
    ids.push(...(await idsInOrder(world, jockeys)));
    for (const { table } of entityTypes) {
      await world.database.query(`create table kept_${table} as select * from ${table}`);
    }
    expect(await world.runHere({ entities: [jockeys], strategy: 'sweep' })).toMatchObject({ stopped_by: null });
    for (const [id, row] of await timelessRows(world, [jockeys])) right.set(id, row);
  });
  beforeEach(async () => {
    for (const type of entityTypes) {
      const set = [...statisticsColumns(type), 'stats_updated_at'].map((name) => `${name} = kept.${name}`);
      const from = `from kept_${type.table} as kept where kept.id = entity.id`;
      await world.database.query(`update ${type.table} as entity set ${set} ${from}`);
    }
    world.api.options.plan = 'pro';
  });
  return { world, right, ids };
}

/** Whether the Data API is asked to write. */
export const isWrite = ({ method }: IncomingMessage) => method !== 'GET';

/** The database has so many milliseconds for an answer, and is waited for silently for a fifth of it, until the test ends. */
export function answersIn(ms: number): void {
  const inTime = setTimeout;
  const shorter = new Map([
    [30_000, ms],
    [5_000, ms / 5],
  ]);
  const spy = vi
    .spyOn(globalThis, 'setTimeout')
    .mockImplementation(((task: () => void, wanted = 0) =>
      inTime(task, shorter.get(wanted) ?? wanted)) as typeof setTimeout);
  onTestFinished(() => spy.mockRestore());
}

/** Ways to change the database of a world, the last two until the test ends. */
export function changesOf(world: World) {
  async function sql(...statements: string[]): Promise<void> {
    for (const statement of statements) await world.database.query(statement);
  }

  async function change(statements: string[], back: string[]): Promise<void> {
    onTestFinished(() => sql(...back));
    await sql(...statements);
  }

  async function dropFunction(): Promise<void> {
    onTestFinished(() => world.database.migrate());
    await sql('drop function populate_statistics(text, jsonb)', `notify pgrst, 'reload schema'`);
  }

  return { sql, change, dropFunction };
}
