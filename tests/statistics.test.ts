import fc from 'fast-check';
import { expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { addDays, lastDateColumn, type Race, statisticsWindow, Tallies, winRate } from '../src/statistics.js';
import { jockeys } from './faults.js';
import { naiveRow, naiveWinRate } from './naive-statistics.js';

/** The row of a jockey whose only race has a runner of his in each of the positions. */
function rowAfter(date: string, positions: string[], today: string) {
  const ids = { jockey_id: 'jky_1', trainer_id: 'trn_1', owner_id: 'own_1' };
  const tallies = new Tallies([jockeys], statisticsWindow(today));
  tallies.count({ race_id: 'rac_1', date, region: 'GB', runners: positions.map((position) => ({ position, ...ids })) });
  return tallies.row(jockeys, 'jky_1');
}

it('every runner counts, a finisher or not, and a dead heat has two winners', () => {
  expect(rowAfter('2026-06-20', ['1', 'WON', '7', 'PU', '', '01'], '2026-07-01')).toEqual({
    id: 'jky_1',
    last_ride_date: '2026-06-20',
    last_win_date: '2026-06-20',
    days_since_last_ride: 11,
    days_since_last_win: 11,
    recent_14d_rides: 6,
    recent_14d_wins: 2,
    recent_14d_win_rate: 33.33,
    recent_30d_rides: 6,
    recent_30d_wins: 2,
    recent_30d_win_rate: 33.33,
  });
});

it.each([
  { ago: -1, counts: false, in14Days: 0, in30Days: 0 },
  { ago: 0, counts: true, in14Days: 1, in30Days: 1 },
  { ago: 13, counts: true, in14Days: 1, in30Days: 1 },
  { ago: 14, counts: true, in14Days: 0, in30Days: 1 },
  { ago: 29, counts: true, in14Days: 0, in30Days: 1 },
  { ago: 30, counts: true, in14Days: 0, in30Days: 0 },
  { ago: 365, counts: true, in14Days: 0, in30Days: 0 },
  { ago: 366, counts: false, in14Days: 0, in30Days: 0 },
])('a win $ago days ago counts where it should, whatever day is today', ({ ago, counts, in14Days, in30Days }) => {
  for (const today of ['2026-07-01', '2024-02-29', '2024-03-01', '2025-02-28', '2000-12-31', '2026-03-30']) {
    const date = addDays(today, -ago);
    expect(rowAfter(date, ['1'], today)).toMatchObject({
      last_win_date: counts ? date : null,
      days_since_last_ride: counts ? ago : null,
      recent_14d_wins: in14Days,
      recent_30d_rides: in30Days,
    });
  }
});

it.each([
  ['2024-02-28', 1, '2024-02-29'],
  ['2023-02-28', 1, '2023-03-01'],
  ['2024-03-01', -1, '2024-02-29'],
  ['2024-12-31', -365, '2024-01-01'],
  ['2026-10-25', 1, '2026-10-26'],
  ['2026-07-01', 0, '2026-07-01'],
])('the day %s %i days on is %s', (date, count, expected) => {
  expect(addDays(date, count)).toBe(expected);
});

it('a win rate is rounded half up for every count up to 400', () => {
  expect(winRate(1, 32)).toBe(3.13);
  for (let runs = 0; runs <= 400; runs += 1) {
    for (let wins = 0; wins <= runs; wins += 1) {
      const [rate, naive] = [winRate(wins, runs), naiveWinRate(wins, runs)];
      if (rate !== naive) expect.fail(`${wins} of ${runs} is ${rate}, not ${naive}`);
    }
  }
});

const positions = ['1', 'WON', '01', '1 ', ' 1', 'won', '1st', '10', '11', '2', 'PU', ''];
const boundaries = [-1, 0, 1, 12, 13, 14, 28, 29, 30, 31, 364, 365, 366, 367];
const idOf = (prefix: string) => fc.integer({ min: 0, max: 3 }).map((number) => `${prefix}_${number}`);
const runners = fc.record({
  position: fc.oneof(fc.constantFrom(...positions), fc.string({ maxLength: 3 })),
  jockey_id: idOf('jockeys'),
  trainer_id: idOf('trainers'),
  owner_id: idOf('owners'),
});
const seasons = fc.record({
  today: fc.integer({ min: 0, max: 37_000 }).map((days) => addDays('1999-12-01', days)),
  races: fc.array(
    fc.record({
      race_id: fc.uuid(),
      daysAgo: fc.oneof(fc.constantFrom(...boundaries), fc.integer({ min: -3, max: 400 })),
      region: fc.constantFrom('GB', 'IRE', 'gb', 'Ire', 'FR', 'USA', 'GBX', ''),
      runners: fc.array(runners, { maxLength: 6 }),
      part: fc.nat(2),
    }),
    { maxLength: 25 },
  ),
});

it.each(entityTypes)('the tallies of $name are the naive ones, also when added from parts in any order', (type) => {
  const tally = (races: Race[], today: string) => {
    const tallies = new Tallies([type], statisticsWindow(today));
    for (const race of races) tallies.count(race);
    return tallies;
  };
  fc.assert(
    fc.property(seasons, ({ today, races: drawn }) => {
      const races = drawn.map((race) => ({ ...race, date: addDays(today, -race.daysAgo) }));
      const inCapitals = races.map((race) => ({ ...race, region: race.region.toUpperCase() }));
      const tallies = tally(races, today);
      for (const id of [0, 1, 2, 3, 4].map((number) => `${type.name}_${number}`)) {
        const naive = naiveRow(inCapitals, type, id, today);
        expect(tallies.row(type, id)).toEqual(naive);
        expect(tallies.lastDate(type, id)).toBe(naive[lastDateColumn(type)]);
        expect([...tallies.ids(type)].includes(id)).toBe(naive[lastDateColumn(type)] !== null);
      }
    }),
    { numRuns: 300 },
  );
});
