import { describe, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import {
  addDays,
  type Race,
  type StatisticsRow,
  statisticsWindow,
  Tallies,
  winRate,
} from '../src/statistics.js';

/** A race with runners of one jockey, in the given positions. */
function raceOf(date: string, positions: string[], region = 'GB'): Race {
  const runners = positions.map((position) => ({
    position,
    jockey_id: 'jky_1',
    trainer_id: 'trn_1',
    owner_id: 'own_1',
  }));
  return { race_id: `rac_${date}`, date, region, runners };
}

function statisticsOf(races: Race[], today: string): StatisticsRow {
  const [jockeys] = entityTypes;
  if (jockeys === undefined) throw new Error('There is no entity type');
  const tallies = new Tallies([jockeys], statisticsWindow(today));
  for (const race of races) tallies.count(race);
  return tallies.row(jockeys, 'jky_1');
}

describe('a ride', () => {
  const today = '2026-07-01';

  it.each(['PU', 'F', 'UR', '', '2', '01', '1 ', 'won'])(
    'in position %j counts and is no win',
    (position) => {
      expect(statisticsOf([raceOf(today, [position])], today)).toMatchObject({
        last_ride_date: today,
        last_win_date: null,
        days_since_last_win: null,
        recent_14d_rides: 1,
        recent_14d_wins: 0,
        recent_14d_win_rate: 0,
      });
    },
  );

  it.each(['1', 'WON'])('in position %s is a win', (position) => {
    expect(statisticsOf([raceOf(today, [position])], today)).toMatchObject({
      last_win_date: today,
      days_since_last_win: 0,
      recent_14d_wins: 1,
      recent_14d_win_rate: 100,
    });
  });

  it('counts for every runner that bears the id, and twice in a dead heat', () => {
    expect(statisticsOf([raceOf(today, ['1', '1', '7'])], today)).toMatchObject({
      recent_30d_rides: 3,
      recent_30d_wins: 2,
      recent_30d_win_rate: 66.67,
    });
  });

  it.each([
    ['gb', 1],
    ['Ire', 1],
    ['FR', 0],
    ['GBR', 0],
  ])('in region %s counts %i times', (region, runs) => {
    expect(statisticsOf([raceOf(today, ['3'], region)], today).recent_14d_rides).toBe(runs);
  });

  it('of nobody gives zeros and nulls', () => {
    expect(statisticsOf([], today)).toEqual({
      id: 'jky_1',
      last_ride_date: null,
      last_win_date: null,
      days_since_last_ride: null,
      days_since_last_win: null,
      recent_14d_rides: 0,
      recent_14d_wins: 0,
      recent_14d_win_rate: null,
      recent_30d_rides: 0,
      recent_30d_wins: 0,
      recent_30d_win_rate: null,
    });
  });
});

describe.each(['2026-07-01', '2024-02-29', '2024-03-01', '2025-02-28', '2000-12-31', '2026-03-30'])(
  'with today %s',
  (today) => {
    it.each([
      { ago: -1, runs14: 0, runs30: 0, counted: false },
      { ago: 0, runs14: 1, runs30: 1, counted: true },
      { ago: 13, runs14: 1, runs30: 1, counted: true },
      { ago: 14, runs14: 0, runs30: 1, counted: true },
      { ago: 29, runs14: 0, runs30: 1, counted: true },
      { ago: 30, runs14: 0, runs30: 0, counted: true },
      { ago: 365, runs14: 0, runs30: 0, counted: true },
      { ago: 366, runs14: 0, runs30: 0, counted: false },
    ])('a win $ago days ago counts where it should', ({ ago, runs14, runs30, counted }) => {
      const date = addDays(today, -ago);
      expect(statisticsOf([raceOf(date, ['1'])], today)).toMatchObject({
        last_ride_date: counted ? date : null,
        last_win_date: counted ? date : null,
        days_since_last_ride: counted ? ago : null,
        days_since_last_win: counted ? ago : null,
        recent_14d_rides: runs14,
        recent_14d_wins: runs14,
        recent_30d_rides: runs30,
        recent_30d_wins: runs30,
      });
    });
  },
);

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

describe('a win rate', () => {
  it.each([
    [1, 32, 3.13],
    [3, 32, 9.38],
    [31, 32, 96.88],
    [1, 160, 0.63],
    [1, 3, 33.33],
    [2, 3, 66.67],
    [1, 7, 14.29],
    [0, 5, 0],
    [5, 5, 100],
  ])('of %i in %i is %d', (wins, runs, rate) => {
    expect(winRate(wins, runs)).toBe(rate);
  });

  it('is null without a run', () => expect(winRate(0, 0)).toBeNull());

  it('is rounded half up for every count up to 400', () => {
    for (let runs = 1; runs <= 400; runs += 1) {
      for (let wins = 0; wins <= runs; wins += 1) {
        // Long division: hundredths of a percent, and the remainder that decides the rounding.
        const hundredths = Math.floor((wins * 10_000) / runs);
        const remainder = (wins * 10_000) % runs;
        const rate = (hundredths + (remainder * 2 >= runs ? 1 : 0)) / 100;
        if (winRate(wins, runs) !== rate) {
          expect.fail(`${wins} of ${runs} is ${winRate(wins, runs)} instead of ${rate}`);
        }
      }
    }
  });
});
