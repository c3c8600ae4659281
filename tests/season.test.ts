import { expect, it } from 'vitest';
import { makeSeason, newestFirst, type SeasonRace, type SeasonRunner } from '../demo/season.js';

const today = '2026-07-01';
const smallOptions = { today, jockeys: 40, trainers: 30, owners: 120, races: 300 };
const small = makeSeason(smallOptions);
const full = makeSeason({ today });

const daysAgo = ({ date }: SeasonRace) => (Date.parse(today) - Date.parse(date)) / 86_400_000;
const isHome = ({ region }: SeasonRace) => region === 'GB' || region === 'IRE';
const isInWindow = (race: SeasonRace) => daysAgo(race) <= 365;
const hasTwice = (values: string[]) => new Set(values).size < values.length;
const idsIn = (races: SeasonRace[], field: keyof SeasonRunner) =>
  races.flatMap(({ runners }) => runners.map((runner) => runner[field]));

it.each([
  ['small', small, [40, 30, 120, 300]],
  ['full', full, [3_483, 2_781, 48_165, 12_900]],
])('a %s season has races on every edge, of every size, with every position', (_, season, sizes) => {
  const { jockeys, trainers, owners, races } = season;
  const home = races.filter((race) => isHome(race) && isInWindow(race));
  expect([jockeys, trainers, owners, home].map(({ length }) => length)).toEqual(sizes);
  const days = races.filter(isHome).map(daysAgo);
  expect(days).toEqual(expect.arrayContaining([0, 13, 14, 29, 30, 365, 366]));
  expect(days.every((day) => day >= 0)).toBe(true);

  const fields = home.map(({ runners }) => runners.length);
  expect([Math.min(...fields), Math.max(...fields)]).toEqual([5, 16]);
  const positions = home.map(({ runners }) => runners.map(({ position }) => position));
  expect([...new Set(positions.flat())]).toEqual(expect.arrayContaining(['1', 'WON', 'PU', 'F', 'UR', 'RO', 'BD', '']));
  expect(positions.some((ofRace) => ofRace.filter((position) => position === '1').length === 2)).toBe(true);

  expect(home.some((race) => hasTwice(idsIn([race], 'owner_id')))).toBe(true);
  expect(home.some((race) => hasTwice(idsIn([race], 'jockey_id')))).toBe(false);
  expect(races).toEqual([...races].sort(newestFirst));
  expect(hasTwice(races.map(({ race_id }) => race_id))).toBe(false);
  const entities = [...jockeys, ...trainers, ...owners];
  expect(hasTwice(entities.map(({ id }) => id))).toBe(false);
  expect(entities.filter(({ id }) => !/^(jky|trn|own)_\d+$/.test(id))).toEqual([]);
  for (const letter of [/'/, /[\u00c0-\u017f]/]) expect(entities.some(({ name }) => letter.test(name))).toBe(true);
});

it.each([
  ['jockeys', 'jockey_id'],
  ['trainers', 'trainer_id'],
  ['owners', 'owner_id'],
] as const)('a season has %s that race only abroad, only before the window, and never', (type, field) => {
  const home = new Set(idsIn(small.races.filter(isHome), field));
  const recent = new Set(idsIn(small.races.filter(isInWindow), field));
  const all = new Set(idsIn(small.races, field));
  const ids = small[type].map(({ id }) => id);
  expect(ids.some((id) => recent.has(id) && !home.has(id))).toBe(true);
  expect(ids.some((id) => all.has(id) && !recent.has(id))).toBe(true);
  expect(ids.some((id) => !all.has(id))).toBe(true);
  expect(ids).toEqual(expect.arrayContaining([...all]));
});

it('a season depends on its options alone, and can be smaller still', () => {
  expect(makeSeason(smallOptions)).toEqual(small);
  expect(makeSeason({ ...smallOptions, seed: 2 })).not.toEqual(small);
  expect(makeSeason({ today, jockeys: 6, trainers: 1, owners: 1, races: 10 }).races).toHaveLength(14);
});
