import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { addDays, statisticsWindow, Tallies } from '../src/statistics.js';
import { naiveStatistics } from './naive-statistics.js';
import { naiveRow } from './watching.js';

const prefixes = { jockeys: 'jky', trainers: 'trn', owners: 'own' };
const todays = fc
  .date({ min: new Date('1999-12-01'), max: new Date('2101-03-01'), noInvalidDate: true })
  .map((day) => day.toISOString().slice(0, 10));
const daysAgo = fc.oneof(
  fc.constantFrom(-1, 0, 1, 12, 13, 14, 28, 29, 30, 31, 364, 365, 366, 367),
  fc.integer({ min: -3, max: 400 }),
);
const positions = fc.oneof(
  fc.constantFrom(
    '1',
    'WON',
    '01',
    '1 ',
    ' 1',
    'won',
    '1st',
    '10',
    '11',
    '2',
    '3',
    'PU',
    'F',
    'UR',
    'RO',
    '',
  ),
  fc.string({ maxLength: 3 }),
);
const ids = (prefix: string) => fc.integer({ min: 0, max: 3 }).map((number) => `${prefix}_${number}`);
const runners = fc.record({
  position: positions,
  jockey_id: ids('jky'),
  trainer_id: ids('trn'),
  owner_id: ids('own'),
});
const seasons = todays.chain((today) =>
  fc.record({
    today: fc.constant(today),
    races: fc.array(
      fc.record({
        race_id: fc.uuid(),
        date: daysAgo.map((ago) => addDays(today, -ago)),
        region: fc.constantFrom('GB', 'IRE', 'GB', 'IRE', 'FR', 'USA', 'GBX', ''),
        runners: fc.array(runners, { maxLength: 6 }),
      }),
      { maxLength: 25 },
    ),
  }),
);

describe.each(entityTypes)('the tallies of $name', (type) => {
  const everyId = [0, 1, 2, 3, 4].map((number) => `${prefixes[type.name]}_${number}`);

  it('are as the naive implementation has them', () => {
    fc.assert(
      fc.property(seasons, ({ today, races }) => {
        const tallies = new Tallies([type], statisticsWindow(today));
        for (const race of races) tallies.count(race);
        for (const id of everyId) {
          const naive = naiveStatistics(races, type.runnerIdField, id, today);
          expect(tallies.row(type, id)).toEqual(naiveRow(type, id, naive));
          expect(tallies.has(type, id)).toBe(naive.lastDate !== null);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('may be counted in parts and in any order, then added', () => {
    fc.assert(
      fc.property(
        seasons,
        fc.array(fc.nat(2), { minLength: 25, maxLength: 25 }),
        ({ today, races }, parts) => {
          const window = statisticsWindow(today);
          const tallies = [0, 1, 2].map(() => new Tallies([type], window));
          races.forEach((race, index) => {
            tallies[parts[index] ?? 0]?.count(race);
          });
          const all = new Tallies([type], window);
          for (const part of tallies.reverse()) all.add(part);
          for (const id of everyId) {
            const naive = naiveStatistics(races, type.runnerIdField, id, today);
            expect(all.row(type, id)).toEqual(naiveRow(type, id, naive));
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
