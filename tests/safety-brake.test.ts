import { describe, expect, it } from 'vitest';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { exitCodes } from '../src/errors.js';
import { brake, recentSince, type Selection } from '../src/gather.js';
import { addDays, statisticsWindow, Tallies } from '../src/statistics.js';

const today = '2026-07-01';
const window = statisticsWindow(today);

function typeOf(name: string): EntityType {
  const type = entityTypes.find((one) => one.name === name);
  if (type === undefined) throw new Error(`There is no type ${name}`);
  return type;
}
const [jockeys, owners] = [typeOf('jockeys'), typeOf('owners')];

/** What a sweep tallied that found one run of each of these ids. */
function sweepOf(ids: { jockeys?: string[]; owners?: string[] }, races = 1): Tallies {
  const tallies = new Tallies([jockeys, owners], window);
  if (races === 0) return tallies;
  const longest = Math.max(ids.jockeys?.length ?? 0, ids.owners?.length ?? 0);
  const runners = Array.from({ length: longest }, (_, index) => ({
    position: '2',
    jockey_id: ids.jockeys?.[index] ?? 'jky_other',
    trainer_id: 'trn_other',
    owner_id: ids.owners?.[index] ?? 'own_other',
  }));
  tallies.count({ race_id: 'rac_1', date: today, region: 'GB', runners });
  return tallies;
}

function idsOf(count: number, prefix = 'own'): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}_${index}`);
}

function selectionOf(type: EntityType, ids: string[], lastDate: string | null): Selection {
  const entities = ids.map((id) => ({ id, name: id, lastDate, statsUpdatedAtMs: null }));
  const recentlyActive = lastDate !== null && lastDate >= recentSince(window) ? ids.length : 0;
  return { type, entities, skipped: 0, recentlyActive };
}

const unsafe = (message: RegExp) =>
  expect.objectContaining({ exitCode: exitCodes.unsafeToWrite, message: expect.stringMatching(message) });

describe('the safety brake', () => {
  it('stops a sweep without any race', () => {
    expect(() => brake(sweepOf({}, 0), [], window)).toThrow(unsafe(/no GB or IRE race .*--force/));
  });

  it.each([
    [0, false],
    [5, false],
    [6, true],
    [100, true],
  ])('with %i of 100 recently active entities without a race: %s', (vanished, stops) => {
    const swept = sweepOf({ owners: idsOf(100).slice(vanished) });
    const selections = [selectionOf(owners, idsOf(100), addDays(today, -10))];
    if (stops) expect(() => brake(swept, selections, window)).toThrow(unsafe(new RegExp(`^.*: ${vanished} of`)));
    else brake(swept, selections, window);
  });

  it.each([
    [0, true],
    [300, true],
    [301, false],
    [365, false],
    [null, false],
  ])('takes an entity whose stored last date is %j days old for recently active: %s', (ago, recent) => {
    const lastDate = ago === null ? null : addDays(today, -ago);
    const selections = [selectionOf(owners, ['own_1'], lastDate)];
    if (recent) expect(() => brake(sweepOf({}), selections, window)).toThrow(unsafe(/1 of the 1 /));
    else brake(sweepOf({}), selections, window);
  });

  it('counts the types together, each by its own tallies', () => {
    const swept = sweepOf({ owners: idsOf(100), jockeys: [] });
    const active = [selectionOf(owners, idsOf(100), today), selectionOf(jockeys, idsOf(6, 'jky'), addDays(today, -1))];
    expect(() => brake(swept, active, window)).toThrow(unsafe(/6 of the 106 /));
    brake(swept, [...active.slice(0, 1), selectionOf(jockeys, idsOf(5, 'jky'), today)], window);
  });

  it('lets a first run pass, and one with nothing selected', () => {
    brake(sweepOf({}), [selectionOf(owners, idsOf(3), null), selectionOf(jockeys, [], null)], window);
  });

  it('takes the share of the whole type, so that the same few do not stop every small selection', () => {
    const few = { ...selectionOf(owners, idsOf(3), addDays(today, -10)), recentlyActive: 100 };
    brake(sweepOf({ owners: ['own_200'] }), [few], window);
  });
});
