import { describe, expect, it } from 'vitest';
import { instantMs } from '../src/database.js';
import { type Entity, entityTypes } from '../src/entity-types.js';
import { selectEntities } from '../src/run.js';

const [jockeys] = entityTypes;

function row(id: string, lastDate: string | null, statsUpdatedAt: string | null = null): Entity {
  const statsUpdatedAtMs = statsUpdatedAt === null ? null : instantMs(statsUpdatedAt);
  return { id, name: `Name of ${id}`, lastDate, statsUpdatedAtMs };
}

const rows = [
  [row('jky_1', null), row('jky_2', '2026-06-30', '2026-06-30T12:00:00+00:00')],
  [],
  [row('jky_3', '2025-01-01', '2026-07-01T05:00:00'), row('jky_4', '2026-07-01')],
  [row('jky_5', '2026-06-30'), row('jky_6', null, '2026-07-01T06:00:00.5+02:00')],
];

interface Rules {
  skipExisting?: boolean;
  freshSince?: string;
  limit?: number;
  writtenIds?: ReadonlySet<string>;
}

async function select(rules: Rules = {}) {
  if (jockeys === undefined) throw new Error('There is no entity type');
  const { skipExisting = false, freshSince, limit, writtenIds = new Set() } = rules;
  const startedAt = new Date('2026-07-01T12:00:00Z');
  const staleAfter =
    freshSince === undefined ? undefined : { text: '', ms: startedAt.getTime() - Date.parse(freshSince) };
  const pages = (async function* () {
    yield* rows;
  })();
  const options = { skipExisting, staleAfter, limit };
  const selection = await selectEntities(jockeys, pages, writtenIds, options, startedAt);
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
    expect(entities[0]).toEqual(row('jky_4', '2026-07-01'));
  });

  it.each<[string, Rules, string[], number]>([
    ['--skip-existing', { skipExisting: true }, ['jky_4', 'jky_5', 'jky_1'], 3],
    [
      'what the checkpoint holds',
      { writtenIds: new Set(['jky_4', 'jky_1', 'jky_elsewhere']) },
      ['jky_2', 'jky_5', 'jky_3', 'jky_6'],
      2,
    ],
    ['both, each entity once', { skipExisting: true, writtenIds: new Set(['jky_2', 'jky_5']) }, ['jky_4', 'jky_1'], 4],
    [
      'statistics of that instant or later',
      { freshSince: '2026-07-01T04:00:00.500Z' },
      ['jky_4', 'jky_2', 'jky_5', 'jky_1'],
      2,
    ],
    [
      'statistics later than some',
      { freshSince: '2026-07-01T04:00:00.501Z' },
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
    const options = { skipExisting: true, writtenIds: new Set(['jky_4']), limit };
    expect(await select(options)).toMatchObject({ ids, skipped: 4 });
  });
});
