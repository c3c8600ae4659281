import { describe, expect, it } from 'vitest';
import { makeSeason, newestFirst, type Season, type SeasonRace, type SeasonRunner } from '../demo/season.js';
import { naiveStatistics, naiveStatisticsOfAll } from './naive-statistics.js';

const today = '2026-07-01';
const small = { today, jockeys: 40, trainers: 30, owners: 120, races: 300 };
const DAY_MS = 86_400_000;

const daysAgo = (race: SeasonRace) => (Date.parse(today) - Date.parse(race.date)) / DAY_MS;
const isHome = (race: SeasonRace) => race.region === 'GB' || race.region === 'IRE';
const isInWindow = (race: SeasonRace) => daysAgo(race) <= 365;
const positionsOf = (race: SeasonRace) => race.runners.map((runner) => runner.position);
const hasTwice = (values: string[]) => new Set(values).size < values.length;

/** How many runners bear each id. */
function countRuns(races: SeasonRace[], field: keyof SeasonRunner): Map<string, number> {
  const counts = new Map<string, number>();
  for (const runner of races.flatMap((race) => race.runners)) {
    counts.set(runner[field], (counts.get(runner[field]) ?? 0) + 1);
  }
  return counts;
}

function expectPromises(season: Season): void {
  const home = season.races.filter((race) => isHome(race) && isInWindow(race));
  const days = new Set(season.races.filter(isHome).map(daysAgo));
  expect([0, 13, 14, 29, 30, 365, 366].filter((day) => !days.has(day))).toEqual([]);
  expect(season.races.every((race) => daysAgo(race) >= 0)).toBe(true);

  const sizes = home.map((race) => race.runners.length);
  expect([Math.min(...sizes), Math.max(...sizes)]).toEqual([5, 16]);
  const positions = new Set(home.flatMap(positionsOf));
  expect(['1', 'WON', 'PU', 'F', 'UR', 'RO', 'BD', ''].filter((position) => !positions.has(position))).toEqual([]);
  expect(home.some((race) => positionsOf(race).filter((position) => position === '1').length === 2)).toBe(true);

  expect(home.some((race) => hasTwice(race.runners.map((runner) => runner.owner_id)))).toBe(true);
  expect(home.some((race) => hasTwice(race.runners.map((runner) => runner.jockey_id)))).toBe(false);
  expect(season.races).toEqual([...season.races].sort(newestFirst));
  expect(hasTwice(season.races.map((race) => race.race_id))).toBe(false);
}

describe('a small season', () => {
  const season = makeSeason(small);

  it('keeps its promises', () => {
    expectPromises(season);
    expect(season.races.filter((race) => isHome(race) && isInWindow(race))).toHaveLength(300);
  });

  it.each([
    ['jockeys', 'jockey_id'],
    ['trainers', 'trainer_id'],
    ['owners', 'owner_id'],
  ] as const)('has %s that race only abroad, only before the window, and never', (type, field) => {
    const home = countRuns(season.races.filter(isHome), field);
    const recent = countRuns(season.races.filter(isInWindow), field);
    const all = countRuns(season.races, field);
    const ids = season[type].map((entity) => entity.id);
    expect(ids.some((id) => recent.has(id) && !home.has(id))).toBe(true);
    expect(ids.some((id) => all.has(id) && !recent.has(id))).toBe(true);
    expect(ids.some((id) => !all.has(id))).toBe(true);
    expect([...all.keys()].filter((id) => !ids.includes(id))).toEqual([]);
  });

  it('depends on its options alone', () => {
    expect(makeSeason(small)).toEqual(season);
    expect(makeSeason({ ...small, seed: 2 })).not.toEqual(season);
  });

  it('can be smaller still', () => {
    expect(makeSeason({ today, jockeys: 6, trainers: 1, owners: 1, races: 10 }).races).toHaveLength(14);
  });
});

describe('the full season', () => {
  const season = makeSeason({ today });
  const home = season.races.filter((race) => isHome(race) && isInWindow(race));

  it('keeps its promises', () => {
    expectPromises(season);
    expect(home).toHaveLength(12_900);
    expect(season.jockeys).toHaveLength(3483);
    expect(season.trainers).toHaveLength(2781);
    expect(season.owners).toHaveLength(48_165);
  });

  it('has unique ids and names with apostrophes and letters beyond ASCII', () => {
    const entities = [...season.jockeys, ...season.trainers, ...season.owners];
    expect(hasTwice(entities.map(({ id }) => id))).toBe(false);
    expect(entities.filter(({ id }) => !/^(jky|trn|own)_\d+$/.test(id))).toEqual([]);
    expect(entities.some(({ name }) => name.includes("'"))).toBe(true);
    expect(entities.some(({ name }) => /\p{Script=Latin}/u.test(name) && /[^ -~]/.test(name))).toBe(true);
  });

  it('spreads the activity unevenly', () => {
    const busiest = Math.max(...countRuns(home, 'jockey_id').values());
    expect(busiest).toBeGreaterThan(800);
    expect(busiest).toBeLessThan(1000);
    expect(countRuns(home, 'owner_id').size).toBeLessThan(48_165 / 2);
  });
});

describe('the naive statistics', () => {
  const runner = (position: string, owner_id = 'own_1') => ({
    position,
    jockey_id: 'jky_1',
    trainer_id: 'trn_1',
    owner_id,
  });
  const race = (race_id: string, date: string, ...runners: SeasonRunner[]) => ({
    race_id,
    date,
    region: 'GB',
    runners,
  });
  const races = [
    race('a', '2026-07-02', runner('1')),
    race('b', '2026-06-18', runner('2'), runner('PU'), runner('1', 'own_2')),
    race('c', '2026-06-17', runner('WON'), runner('1')),
    { ...race('d', '2026-06-30', runner('1')), region: 'FR' },
    race('e', '2025-06-30', runner('1', 'own_3')),
    race('f', '2025-07-01', runner('1', 'own_4')),
  ];
  const owner = (id: string) => naiveStatistics(races, 'owner_id', id, today);

  it('count every runner at home in the window', () => {
    expect(owner('own_1')).toEqual({
      lastDate: '2026-06-18',
      lastWinDate: '2026-06-17',
      daysSinceLast: 13,
      daysSinceLastWin: 14,
      recent14dRuns: 2,
      recent14dWins: 0,
      recent14dWinRate: 0,
      recent30dRuns: 4,
      recent30dWins: 2,
      recent30dWinRate: 50,
    });
    expect(owner('own_3')).toMatchObject({ lastDate: null, daysSinceLast: null, recent30dWinRate: null });
    expect(owner('own_4')).toMatchObject({ lastDate: '2025-07-01', daysSinceLastWin: 365, recent30dRuns: 0 });
  });

  it('round half up', () => {
    const oneWinIn = (runs: number) => [race('x', today, runner('1'), ...Array(runs - 1).fill(runner('')))];
    const rate = (runs: number) => naiveStatistics(oneWinIn(runs), 'owner_id', 'own_1', today).recent14dWinRate;
    expect([rate(3), rate(32), rate(160), rate(800)]).toEqual([33.33, 3.13, 0.63, 0.13]);
  });

  it('are the same for one as for all', () => {
    const all = naiveStatisticsOfAll(races, 'owner_id', today);
    expect([...all.keys()].sort()).toEqual(['own_1', 'own_2', 'own_3', 'own_4']);
    for (const [id, statistics] of all) expect(statistics).toEqual(owner(id));
  });
});
