import { describe, expect, it } from 'vitest';
import { Entities, type Entity } from '../src/entity-types.js';
import type { Strategy } from '../src/events.js';
import { chooseCandidates, planRun, takeCandidates } from '../src/plan.js';
import { instantMs } from '../src/statistics.js';
import { jockeys } from './faults.js';

describe('the plan', () => {
  it.each([
    [1, 'walk', 'sweep'],
    [132, 'walk', 'sweep'],
    [133, 'sweep', 'walk'],
    [54_429, 'sweep', 'walk'],
  ] as const)('for a walk of %i requests is by itself what needs fewer: %s, otherwise %s', (count, strategy, other) => {
    expect(planRun({ strategy: 'auto', rate: 2 }, 'All', count, 132)).toMatchObject({ strategy, alternative: other });
  });

  it.each([
    ['walk', 54_429],
    ['sweep', 1],
  ] as const)('is %s for %i entities when that is asked for, without an alternative', (strategy, count) => {
    expect(planRun({ strategy, rate: 2 }, 'All', count, 132)).toMatchObject({ strategy, alternative: undefined });
  });

  it.each([
    [54_429, 2, 'All: sweeping about 132 pages, about 1m 06s at 2 requests/s (walking: about 7h 33m)'],
    [10, 0.5, 'All: walking, about 10 requests, 20s at 0.5 requests/s (sweeping: about 132 pages, 4m 24s)'],
  ])('for %i entities at %d requests a second is told in a line', (count, rate, line) => {
    expect(planRun({ strategy: 'auto', rate }, 'All', count, 132).description).toBe(line);
  });
});

describe('the selection', () => {
  const row = (id: string, lastDate: string | null, statsUpdatedAt?: string): Entity => ({
    id,
    name: `Name of ${id}`,
    lastDate,
    recentRuns: 0,
    recentWins: 0,
    lastWinDate: null,
    statsUpdatedAtMs: statsUpdatedAt === undefined ? null : instantMs(statsUpdatedAt),
  });
  const rows = [
    [row('jky_1', null), row('jky_2', '2026-06-30', '2026-06-30T12:00:00+00:00')],
    [],
    // 301 days ago, today, and 300 days ago.
    [row('jky_3', '2025-09-03', '2026-07-01T05:00:00'), row('jky_4', '2026-07-01')],
    [row('jky_5', '2026-06-30'), row('jky_6', null, '2026-07-01T06:00:00.5+02:00'), row('jky_7', '2025-09-04')],
  ];
  const startedAt = new Date('2026-07-01T12:00:00Z');
  /** --stale-after that leaves out what was updated at this instant or later. */
  const freshSince = (instant: string) => ({ text: '', ms: startedAt.getTime() - Date.parse(instant) });

  type Rules = Partial<Parameters<typeof chooseCandidates>[2] & { limit: number }>;
  async function choose({ skipExisting = false, staleAfter }: Rules = {}, last: string[] = []) {
    const pages = (async function* () {
      yield* rows;
    })();
    return await chooseCandidates(jockeys, pages, { skipExisting, staleAfter }, new Set(last), startedAt);
  }
  const checkpointOf = (ids: string[], day: string | undefined) => ({ ids: new Set(ids), timestamp: day, day });
  async function select(rules: Rules = {}, writtenIds: string[] = [], strategy: Strategy = 'walk', day = '2026-07-01') {
    const checkpoint = checkpointOf(writtenIds, day);
    const [taken] = takeCandidates([{ ...(await choose(rules)), checkpoint }], strategy, '2026-07-01', rules.limit);
    return taken ?? expect.fail('of the one type');
  }
  const numbers = (entities: Iterable<Entity>) => Array.from(entities, ({ id }) => Number(id.slice(4)));

  it('has the most recently active first, those of one date by id, those without a date last', async () => {
    const { entities, skipped } = await select();
    expect(numbers(entities)).toEqual([4, 2, 5, 7, 3, 1, 6]);
    expect([...entities][0]).toEqual(row('jky_4', '2026-07-01'));
    expect(skipped).toBe(0);
  });

  it.each([
    ['those with statistics', { skipExisting: true }, [], [4, 5, 7, 1], 3],
    ['those written by an earlier run', {}, ['jky_4', 'jky_1', 'jky_elsewhere'], [2, 5, 7, 3, 6], 2],
    ['both, each entity once', { skipExisting: true }, ['jky_2', 'jky_5'], [4, 7, 1], 4],
    ['what is as new', { staleAfter: freshSince('2026-07-01T04:00:00.500Z') }, [], [4, 2, 5, 7, 1], 2],
    ['what is newer', { staleAfter: freshSince('2026-07-01T04:00:00.501Z') }, [], [4, 2, 5, 7, 1, 6], 1],
    ['some, then takes 2 of the rest', { skipExisting: true, limit: 2 }, ['jky_4'], [5, 7], 4],
    ['some, then takes up to 100 of the rest', { skipExisting: true, limit: 100 }, ['jky_4'], [5, 7, 1], 4],
  ])('leaves out %s', async (_, options, writtenIds, selected, skipped) => {
    const selection = await select(options, writtenIds);
    expect(numbers(selection.entities)).toEqual(selected);
    expect(selection.skipped).toBe(skipped);
  });

  it('knows all of the type, selected or not', async () => {
    const { all } = await select({ skipExisting: true, limit: 1 }, ['jky_7']);
    expect(numbers(all).sort()).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it('has those at the end that have failed before', async () => {
    expect(numbers((await choose({}, ['jky_4', 'jky_7'])).entities)).toEqual([2, 5, 3, 1, 6, 4, 7]);
  });

  it.each([
    ['walk', '2026-07-01', [5, 7, 3, 1, 6]],
    ['sweep', '2026-07-01', [5, 7, 3, 1, 6]],
    ['walk', '2026-06-30', [5, 7, 3, 1, 6]],
    ['sweep', '2026-06-30', [4, 2, 5, 7, 3, 1, 6]],
  ] as const)(
    'leaves out of a %s what the checkpoint of %s has, unless it costs nothing to renew it',
    async (...row) => {
      const [strategy, day, left] = row;
      const { entities, skipped, resumed } = await select({}, ['jky_4', 'jky_2'], strategy, day);
      expect(numbers(entities)).toEqual(left);
      expect(skipped).toBe(7 - left.length);
      expect(resumed?.day).toBe(left.length < 7 ? day : undefined);
    },
  );

  it.each([
    ['2026-07-01', 0],
    ['2026-06-30', 7],
  ])('of a checkpoint of %s that covers everything is %i entities', async (day, count) => {
    const all = rows.flat().map(({ id }) => id);
    expect((await select({}, all, 'walk', day)).entities).toHaveLength(count);
  });
});

describe('many entities', () => {
  const one = (index: number): Entity => ({
    id: `own_${index}`,
    name: ['Plain', 'Nuñez', 'Şahin', '\u2028 "quoted"\n', '\ud83d'][index % 5] ?? '',
    lastDate: index % 3 === 0 ? null : '2026-06-30',
    recentRuns: index,
    recentWins: index % 2,
    lastWinDate: index % 7 === 0 ? '2026-01-01' : null,
    statsUpdatedAtMs: index % 4 === 0 ? null : 1_780_000_000_000.5 + index,
  });
  const series = (count: number, from = 0) => Array.from({ length: count }, (_, index) => one(from + index));

  it.each([0, 1, 999, 1000, 1001, 2500])('come as they were: %i of them', (count) => {
    const entities = new Entities(series(count));
    expect(entities).toHaveLength(count);
    for (let time = 0; time < 2; time += 1) expect([...entities]).toEqual(series(count));
    expect([...entities.first(1000)]).toEqual(series(Math.min(count, 1000)));
    const even = ({ recentRuns }: Entity) => recentRuns % 2 === 0;
    expect([...entities.filter(even)]).toEqual(series(count).filter(even));
  });

  it.each([
    [0, 0],
    [3, 0],
    [1001, 2000],
    [1000, 1],
  ])('come one after the other: %i and then %i', (count, more) => {
    const [first, then] = [new Entities(series(count)), new Entities(series(more, count))];
    const all = Entities.inTurn([first, then]);
    all.add(one(count + more));
    expect(all).toHaveLength(count + more + 1);
    expect([...all]).toEqual(series(count + more + 1));
    expect([...first, ...then]).toEqual(series(count + more));
  });
});
