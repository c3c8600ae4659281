import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { daysBefore } from '../demo/season.js';
import { entityTypes } from '../src/entity-types.js';
import type { PopulateOptions } from '../src/options.js';
import { describeOnEachEngine, supabaseLite } from './engines.js';
import { jockeys, startTinyWorld, typeNamed, wholeTables } from './faults.js';
import { restoreRaces } from './lies.js';
import { expectNaiveRows, reports } from './watching.js';
import { readJson, sharedWorld, today } from './world.js';

describeOnEachEngine((engine) => {
  const world = sharedWorld(() => startTinyWorld({ engine }));
  const races: (typeof world.api.races)[number][] = [];
  beforeEach(async () => {
    if (races.length === 0) races.push(...world.api.races);
    restoreRaces(world.api, races);
    expect(await world.runHere({ strategy: 'sweep' })).toMatchObject({ exit_code: 0 });
    world.api.calls.length = 0;
  });

  const refresh = (options: Partial<PopulateOptions> = {}) => world.runHere({ refresh: true, ...options });
  const seasonPath = () => join(world.folder, 'logs', 'season.json.gz');
  const season = () => JSON.parse(gunzipSync(readFileSync(seasonPath())).toString());
  /** Gives the last runner of the latest race the first place, and the first place's holder none. */
  function correctLatest(): void {
    const [latest] = world.api.races.filter(({ runners }) => runners.length > 2);
    world.api.amend(`${latest?.race_id}`, (race) => ({
      ...race,
      runners: race.runners.map((one, index) => ({ ...one, position: index === race.runners.length - 1 ? '1' : '9' })),
    }));
  }

  it('asks for the last three days and writes what differs, of all that a full run would have written', async () => {
    correctLatest();
    await world.database.query(`insert into ra_jockeys (id, name) values ('jky_new', 'New')`);
    try {
      const before = await wholeTables(world);
      const report = await refresh();
      expect(report).toMatchObject({ exit_code: 0, strategy: 'refresh', failures: [], options: { resume: false } });
      expect(world.api.calls.length).toBeLessThanOrEqual(2);
      const [then, now] = [before, await wholeTables(world)];
      const changed = [...now].filter(([id, row]) => then.get(id) !== row).map(([id]) => id);
      expect(changed).toContain('jky_new');
      expect(report.overall.total_successful).toBe(changed.length);
      expect(readJson(world, 'statistics_refresh_report.json')).toMatchObject({ strategy: 'refresh', exit_code: 0 });
      expect(reports(world)).toHaveLength(1);
    } finally {
      await world.database.query(`delete from ra_jockeys where id = 'jky_new'`);
    }
    await expectNaiveRows(world);
    expect(await refresh()).toMatchObject({ exit_code: 0, overall: { total_entities: 0 } });
  });

  it('has a page that tells names, and what was before', async () => {
    correctLatest();
    const report = await refresh({ html: true });
    const page = readFileSync(join(world.folder, 'logs', 'statistics_refresh_report.html'), 'utf8');
    expect(report.changed).toBe(report.overall.total_successful);
    expect(page).toContain('<h2>Since the run before</h2>');
    const names = [...page.matchAll(/<th scope="row" title="\w+">(.*?)</g)].map(([, name]) => name);
    expect(names.length).toBeGreaterThan(3);
    for (const name of names) expect(name).not.toMatch(/^(|(jky|trn|own)_\d+)$/);
  });

  it('passes over what the database does not hold, and what it cannot', async () => {
    const [latest] = world.api.races;
    const unknown = { jockey_id: 'jky_unknown', trainer_id: 'trn_\0', owner_id: 'own_\ud800' };
    world.api.amend(`${latest?.race_id}`, (race) => ({
      ...race,
      runners: race.runners.map((one, index) => (index === 0 ? { ...one, ...unknown } : one)),
    }));
    const { code, stdout } = await world.run(['--all', '--refresh', '--rate', '500']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/ writing ([\d,]+)\/\1 in /);
    expect(stdout).toContain('Refreshing the season read just now');
    expect(readJson(world, 'statistics_refresh_report.json')).toMatchObject({ failures: [] });
    await expectNaiveRows(world);
  });

  it('of some types leaves the season as it is for the others, and takes back what it has written once', async () => {
    const before = readFileSync(seasonPath());
    const original = [...world.api.races];
    correctLatest();
    expect(await refresh({ entities: [jockeys] })).toMatchObject({ exit_code: 0 });
    expect(readFileSync(seasonPath())).toEqual(before);
    // The correction is taken back: only the time of the rows tells that they are not of the season.
    for (const race of original) world.api.amend(race.race_id, () => race);
    expect(await refresh({ entities: [jockeys] })).toMatchObject({ exit_code: 0 });
    expect(await refresh()).toMatchObject({ exit_code: 0 });
    await expectNaiveRows(world);
  });

  it('knows its rows also after a refresh that began earlier by a clock that was set back', async () => {
    const at = (seconds: number) => ({ startedAt: new Date(Date.now() + 1000 * seconds) });
    correctLatest();
    const written = await world.runHere({ refresh: true }, at(2));
    expect(written.overall.total_successful).toBeGreaterThan(0);
    for (const seconds of [1, 3]) {
      expect(await world.runHere({ refresh: true }, at(seconds))).toMatchObject({ overall: { total_entities: 0 } });
    }
  });

  it('tries a row again that the database has refused, also when nothing changes meanwhile', async () => {
    correctLatest();
    const { runners = [] } = world.api.races.find((one) => one.runners.length > 2) ?? {};
    const id = runners.at(-1)?.jockey_id;
    await world.database.query(`
      create function refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$`);
    await world.database.query(`
      create trigger refuse before update on ra_jockeys for each row when (old.id = '${id}') execute function refuse()`);
    try {
      expect(await refresh()).toMatchObject({ exit_code: 3, failures: [{ id }] });
    } finally {
      await world.database.query('drop function refuse cascade');
    }
    expect(await refresh()).toMatchObject({ exit_code: 0 });
    await expectNaiveRows(world);
  });

  it('tells that an entity has lost its race, though the row was written by a refresh that left no season', async () => {
    const [latest] = world.api.races.filter(({ runners }) => runners.length > 2);
    await world.database.query(`insert into ra_jockeys (id, name) values ('jky_new', 'New')`);
    try {
      const late = { ...latest, race_id: 'rac_late', runners: [{ ...latest?.runners[0], jockey_id: 'jky_new' }] };
      world.api.publish(late as NonNullable<typeof latest>);
      const draft = `${seasonPath()}.${process.pid}.tmp`;
      mkdirSync(draft);
      expect(await refresh()).toMatchObject({ exit_code: 8, overall: { total_failed: 0 } });
      rmSync(draft, { recursive: true });
      world.api.withdraw('rac_late');
      expect(await refresh()).toMatchObject({ exit_code: 3, failures: [{ id: 'jky_new' }] });
    } finally {
      await world.database.query(`delete from ra_jockeys where id = 'jky_new'`);
    }
    await expectNaiveRows(world);
  });

  it('has nothing to say of a void race whose runners are in no table', async () => {
    const [latest] = world.api.races.filter(({ runners }) => runners.length > 2);
    const unknown = { position: '1', jockey_id: 'jky_x', trainer_id: 'trn_x', owner_id: 'own_x' };
    world.api.publish({ ...(latest as NonNullable<typeof latest>), race_id: 'rac_unknown', runners: [unknown] });
    expect(await refresh()).toMatchObject({ exit_code: 0 });
    world.api.withdraw('rac_unknown');
    expect(await refresh()).toMatchObject({ exit_code: 0, failures: [] });
  });

  it.each(['', '0.5', '1.0'])(
    'knows its rows where the database rounds their time to whole seconds: %s',
    async (more) => {
      const rounded = `date_trunc('second', stats_updated_at + interval '${more || 0} s')`;
      await world.database.query(`update ra_owners set stats_updated_at = ${rounded}`);
      const { lines, overall } = await refresh();
      expect(overall.total_entities).toBe(0);
      expect(lines).toContain('Nothing has changed since then: no row was written.');
      await world.database.query(`update ra_owners set stats_updated_at = stats_updated_at + interval '1 h'`);
      expect((await refresh()).overall.total_successful).toBe(world.season.owners.length);
    },
  );

  it('of an empty table, or of one that is hidden, ends with 6', async () => {
    await world.database.query('create table kept as table ra_owners');
    await world.database.query('delete from ra_owners');
    try {
      expect(await refresh()).toMatchObject({
        exit_code: 6,
        stopped_by: expect.stringContaining('ra_owners is empty'),
      });
    } finally {
      await world.database.query('insert into ra_owners select * from kept');
    }
  });

  // What the season alone decides is the same on either.
  if (engine !== supabaseLite) return;

  it.each([3, 6])('finds a race that is told of a day %i days ago now', async (days) => {
    const [latest] = world.api.races.filter(({ race_id, runners }) => runners.length > 2 && !race_id.includes('extra'));
    const date = daysBefore(today, days);
    world.api.amend(`${latest?.race_id}`, (race) => ({ ...race, date }));
    expect(await refresh()).toMatchObject({ exit_code: 0, failures: [] });
    await expectNaiveRows(world);
  });

  it('is a full run where no season of today has all types, and says so', async () => {
    expect(await world.runHere({ strategy: 'sweep', entities: [typeNamed('trainers')] })).toMatchObject({
      exit_code: 0,
    });
    correctLatest();
    const report = await refresh();
    expect(report).toMatchObject({ exit_code: 0, strategy: 'sweep', overall: { total_successful: 30 } });
    expect(report.lines).toContain('No sweep of today has all that is to be refreshed, so this is a full run.');
    await expectNaiveRows(world);
  });

  it.each<[string, () => void]>([
    ['is missing', () => rmSync(seasonPath())],
    ['is torn', () => writeFileSync(seasonPath(), readFileSync(seasonPath()).subarray(0, 500))],
    ['is no gzip', () => writeFileSync(seasonPath(), '{}')],
    ['is of another version', () => writeFileSync(seasonPath(), gzipSync(JSON.stringify({ ...season(), version: 2 })))],
    [
      'has a place without a name',
      () => writeFileSync(seasonPath(), gzipSync(JSON.stringify({ ...season(), names: [] }))),
    ],
    ['is of another shape', () => writeFileSync(seasonPath(), gzipSync(JSON.stringify({ ...season(), races: [[1]] })))],
  ])('or a sweep after a season that %s is a full run without a witness', async (_, spoil) => {
    spoil();
    const report = await refresh();
    expect(report).toMatchObject({ exit_code: 0, strategy: 'sweep' });
    const told = report.lines.filter((line) =>
      /^(No|\S+ cannot be used: no) earlier sweep to compare with\.$/.test(line),
    );
    expect(told).toHaveLength(1);
    expect(season()).toMatchObject({ version: 1, whole_types: entityTypes.map(({ name }) => name) });
  });
});

describe('the season', () => {
  const world = sharedWorld(startTinyWorld);
  const wholeTypes = () =>
    JSON.parse(gunzipSync(readFileSync(join(world.folder, 'logs', 'season.json.gz'))).toString()).whole_types;

  it('has the types whose whole table was written from it; a partial run leaves one of today that has some', async () => {
    await world.runHere({ strategy: 'sweep', limit: 3 });
    expect(wholeTypes()).toEqual([]);
    await world.runHere({ strategy: 'sweep', entities: [jockeys] });
    expect(wholeTypes()).toEqual(['jockeys']);
    await world.runHere({ strategy: 'sweep', limit: 3 });
    expect(wholeTypes()).toEqual(['jockeys']);
    await world.runHere({ strategy: 'sweep' });
    expect(wholeTypes()).toEqual(['jockeys', 'trainers', 'owners']);
  });
});
