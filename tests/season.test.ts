import { describe, expect, it } from 'vitest';
import { makeSeason, newestFirst, type Season, type SeasonRace, type SeasonRunner } from '../demo/season.js';

const today = '2026-07-01';
const smallOptions = { today, jockeys: 40, trainers: 30, owners: 120, races: 300 };
const small = makeSeason(smallOptions);
const full = makeSeason({ today });

const daysAgo = ({ date }: SeasonRace) => (Date.parse(today) - Date.parse(date)) / 86_400_000;
const isHome = ({ region }: SeasonRace) => region === 'GB' || region === 'IRE';
const isInWindow = (race: SeasonRace) => daysAgo(race) <= 365;
const homeOf = ({ races }: Season) => races.filter((race) => isHome(race) && isInWindow(race));
const hasTwice = (values: string[]) => new Set(values).size < values.length;

/** How many runners bear each id. */
function countRuns(races: SeasonRace[], field: keyof SeasonRunner): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { [field]: id } of races.flatMap(({ runners }) => runners)) counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
}

it.each([
  ['small', small, [40, 30, 120, 300]],
  ['full', full, [3_483, 2_781, 48_165, 12_900]],
])('a %s season has races on every edge, of every size, with every position', (_, season, sizes) => {
  const { jockeys, trainers, owners, races } = season;
  const home = homeOf(season);
  expect([jockeys, trainers, owners, home].map(({ length }) => length)).toEqual(sizes);
  const days = new Set(races.filter(isHome).map(daysAgo));
  expect([0, 13, 14, 29, 30, 365, 366].filter((day) => !days.has(day))).toEqual([]);
  expect(Math.min(...days)).toBe(0);

  const fields = home.map(({ runners }) => runners.length);
  expect([Math.min(...fields), Math.max(...fields)]).toEqual([5, 16]);
  const positions = home.map(({ runners }) => runners.map(({ position }) => position));
  const every = new Set(positions.flat());
  expect(['1', 'WON', 'PU', 'F', 'UR', 'RO', 'BD', ''].filter((position) => !every.has(position))).toEqual([]);
  const deadHeats = positions.filter((ofRace) => ofRace.filter((position) => position === '1').length === 2);
  expect(deadHeats.length).toBeGreaterThan(0);

  expect(home.some(({ runners }) => hasTwice(runners.map(({ owner_id }) => owner_id)))).toBe(true);
  expect(home.some(({ runners }) => hasTwice(runners.map(({ jockey_id }) => jockey_id)))).toBe(false);
  expect(races).toEqual([...races].sort(newestFirst));
  expect(hasTwice(races.map(({ race_id }) => race_id))).toBe(false);
});

describe('a small season', () => {
  it.each([
    ['jockeys', 'jockey_id'],
    ['trainers', 'trainer_id'],
    ['owners', 'owner_id'],
  ] as const)('has %s that race only abroad, only before the window, and never', (type, field) => {
    const home = countRuns(small.races.filter(isHome), field);
    const recent = countRuns(small.races.filter(isInWindow), field);
    const all = countRuns(small.races, field);
    const ids = small[type].map(({ id }) => id);
    expect(ids.some((id) => recent.has(id) && !home.has(id))).toBe(true);
    expect(ids.some((id) => all.has(id) && !recent.has(id))).toBe(true);
    expect(ids.some((id) => !all.has(id))).toBe(true);
    expect([...all.keys()].filter((id) => !ids.includes(id))).toEqual([]);
  });

  it('depends on its options alone, and can be smaller still', () => {
    expect(makeSeason(smallOptions)).toEqual(small);
    expect(makeSeason({ ...smallOptions, seed: 2 })).not.toEqual(small);
    expect(makeSeason({ today, jockeys: 6, trainers: 1, owners: 1, races: 10 }).races).toHaveLength(14);
  });
});

describe('the full season', () => {
  it('has unique ids and names with apostrophes and letters beyond ASCII', () => {
    const entities = [...full.jockeys, ...full.trainers, ...full.owners];
    expect(hasTwice(entities.map(({ id }) => id))).toBe(false);
    expect(entities.filter(({ id }) => !/^(jky|trn|own)_\d+$/.test(id))).toEqual([]);
    expect(entities.some(({ name }) => name.includes("'"))).toBe(true);
    expect(entities.some(({ name }) => /\p{Script=Latin}/u.test(name) && /[^ -~]/.test(name))).toBe(true);
  });

  it('spreads the activity unevenly', () => {
    const busiest = Math.max(...countRuns(homeOf(full), 'jockey_id').values());
    expect(busiest).toBeGreaterThan(800);
    expect(busiest).toBeLessThan(1000);
    expect(countRuns(homeOf(full), 'owner_id').size).toBeLessThan(48_165 / 2);
  });
});
