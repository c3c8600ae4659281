import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import type { SeasonRace } from '../demo/season.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import type { Report } from '../src/files/report.js';
import type { StatisticsRow } from '../src/statistics.js';
import { naiveRows } from './naive-statistics.js';
import { readJson, type World } from './world.js';

/** A folder of its own for each test of a file; the returned function makes paths in it. */
export function ownFolder(): (name?: string) => string {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'test-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  return (name = '') => join(folder, name);
}

/** Resolves when `holds` does. Rejects, naming `what`, if it does not within a minute. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const check = () => {
    if (!holds()) throw new Error(`Waited a minute in vain for ${what}`);
  };
  await vi.waitFor(check, { timeout: 60_000, interval: 5 });
}

/** The reports in the world's logs folder, the oldest first. */
export function reports(world: Pick<World, 'folder'>): Report[] {
  const names = readdirSync(join(world.folder, 'logs')).sort();
  const ofReports = names.filter((name) => /^statistics_population_report_\d{8}_\d{6}\.json$/.test(name));
  return ofReports.map((name) => readJson(world, name) as Report);
}

/** The report written last. */
export function latestReport(world: Pick<World, 'folder'>): Report {
  const report = reports(world).at(-1);
  if (report === undefined) throw new Error('There is no report');
  return report;
}

/** The ids in a type's checkpoint; none without a file. Fails if the file is not whole. */
export function checkpointIds(world: Pick<World, 'folder'>, { name }: EntityType): string[] {
  if (!existsSync(join(world.folder, 'logs', `checkpoint_${name}.json`))) return [];
  const checkpoint = readJson(world, `checkpoint_${name}.json`) as { processed_ids: string[] };
  const { processed_ids } = checkpoint;
  expect(checkpoint).toEqual({
    entity_type: name,
    processed_ids: expect.any(Array),
    count: processed_ids.length,
    timestamp: expect.any(String),
    ...('rows_from' in checkpoint && { rows_from: expect.toBeOneOf([expect.stringMatching(/^20/), null]) }),
  });
  return processed_ids;
}

/** Leaves a checkpoint of the original program, as Python's json.dump and datetime.isoformat wrote it. */
export function placeCheckpoint(
  world: Pick<World, 'folder'>,
  { name }: EntityType,
  ids: readonly string[],
  timestamp: string | null = new Date().toISOString(),
): void {
  const checkpoint = { entity_type: name, processed_ids: ids, count: ids.length, timestamp: timestamp ?? undefined };
  writeFileSync(join(world.folder, 'logs', `checkpoint_${name}.json`), JSON.stringify(checkpoint, null, 2));
}

/** All rows of the given types, by id, without stats_updated_at. */
export async function timelessRows(
  world: Pick<World, 'rows'>,
  types: readonly EntityType[] = entityTypes,
): Promise<Map<string, Omit<StatisticsRow, 'id'>>> {
  const rows = await Promise.all(types.map((type) => world.rows(type)));
  const all = rows.flatMap((byId) => [...byId.values()]);
  return new Map(all.map(({ stats_updated_at: _, ...row }) => [row.id as string, row]));
}

/** Fails unless every row of the types is as the naive implementation has it. */
export async function expectNaiveRows(
  world: World,
  races: readonly SeasonRace[] = world.api.races,
  types: readonly EntityType[] = entityTypes,
): Promise<void> {
  for (const type of types) {
    const ids = world.season[type.name].map(({ id }) => id);
    expect(await timelessRows(world, [type])).toEqual(naiveRows(races, type, ids));
  }
}

/** The ids of a type's rows that have statistics, sorted. */
export async function writtenIds(world: World, type: EntityType): Promise<string[]> {
  const rows = [...(await world.rows(type)).values()];
  const written = rows.filter(({ stats_updated_at }) => stats_updated_at !== null);
  return written.map(({ id }) => id).sort();
}
