import { describe, expect, it } from 'vitest';
import { Database } from '../src/database.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import type { EntityRow } from '../src/rows.js';
import { type SelectionOptions, selectEntities } from '../src/selection.js';

const [jockeys] = entityTypes;

/** A database that gives these pages and asks nobody. */
class FakeDatabase extends Database {
  private readonly pages: EntityRow[][];

  constructor(pages: EntityRow[][]) {
    const { signal } = new AbortController();
    super({ url: 'http://127.0.0.1:9', serviceKey: 'sb_secret_x', log: () => {}, signal });
    this.pages = pages;
  }

  override async *entities(type: EntityType): AsyncGenerator<EntityRow[]> {
    expect(type).toBe(jockeys);
    yield* this.pages;
  }
}

function row(id: string, lastDate: string | null, statsUpdatedAt: string | null = null): EntityRow {
  return { id, name: `Name of ${id}`, lastDate, statsUpdatedAt };
}

const rows = [
  [row('jky_1', null), row('jky_2', '2026-06-30', '2026-06-30T12:00:00+00:00')],
  [],
  [row('jky_3', '2025-01-01', '2026-07-01T05:00:00'), row('jky_4', '2026-07-01')],
  [row('jky_5', '2026-06-30'), row('jky_6', null, '2026-07-01T06:00:00.5+02:00')],
];

async function select(options: Partial<SelectionOptions> = {}, signal = new AbortController().signal) {
  if (jockeys === undefined) throw new Error('There is no entity type');
  const recentSince = '2026-06-01';
  const all = { freshSinceMs: null, writtenIds: new Set<string>(), limit: null, recentSince, ...options };
  const selection = await selectEntities(new FakeDatabase(rows), jockeys, all, signal);
  const { type, entities, skipped } = selection;
  expect(type).toBe(jockeys);
  // Of all rows, whatever is selected.
  expect(selection.recentlyActive).toBe(3);
  return { ids: entities.map(({ id }) => id), skipped, entities };
}

describe('the selection', () => {
  it('has the most recently active first, those of one date by id, those without a date last', async () => {
    const { ids, skipped, entities } = await select();
    expect(ids).toEqual(['jky_4', 'jky_2', 'jky_5', 'jky_3', 'jky_1', 'jky_6']);
    expect(skipped).toBe(0);
    expect(entities[0]).toEqual({ id: 'jky_4', name: 'Name of jky_4', lastDate: '2026-07-01' });
  });

  it.each<[string, Partial<SelectionOptions>, string[], number]>([
    ['--skip-existing', { freshSinceMs: Number.NEGATIVE_INFINITY }, ['jky_4', 'jky_5', 'jky_1'], 3],
    [
      'what the checkpoint holds',
      { writtenIds: new Set(['jky_4', 'jky_1', 'jky_elsewhere']) },
      ['jky_2', 'jky_5', 'jky_3', 'jky_6'],
      2,
    ],
    [
      'both, each entity once',
      { freshSinceMs: Number.NEGATIVE_INFINITY, writtenIds: new Set(['jky_2', 'jky_5']) },
      ['jky_4', 'jky_1'],
      4,
    ],
    [
      'statistics of that instant or later',
      { freshSinceMs: Date.parse('2026-07-01T04:00:00.500Z') },
      ['jky_4', 'jky_2', 'jky_5', 'jky_1'],
      2,
    ],
    [
      'statistics later than some',
      { freshSinceMs: Date.parse('2026-07-01T04:00:00.501Z') },
      ['jky_4', 'jky_2', 'jky_5', 'jky_1', 'jky_6'],
      1,
    ],
  ])('leaves out %s', async (_, options, ids, skipped) => {
    expect(await select(options)).toMatchObject({ ids, skipped });
  });

  it.each([
    [1, ['jky_5']],
    [2, ['jky_5', 'jky_1']],
    [100, ['jky_5', 'jky_1']],
  ])('takes at most %i of what is left then', async (limit, ids) => {
    const options = { freshSinceMs: Number.NEGATIVE_INFINITY, writtenIds: new Set(['jky_4']), limit };
    expect(await select(options)).toMatchObject({ ids, skipped: 4 });
  });

  it('ends with the reason of a stop', async () => {
    await expect(select({}, AbortSignal.abort(new Error('Stopped')))).rejects.toThrow('Stopped');
  });
});
