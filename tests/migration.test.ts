import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { describeOnEachEngine, supabaseLite } from './engines.js';
import { typeNamed } from './faults.js';
import { naiveRow } from './naive-statistics.js';
import type { TestDatabase } from './postgrest.js';

describeOnEachEngine((engine) => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await engine.start();
  });
  afterAll(() => database.close());

  /** Takes away all that the migration makes. */
  async function unmigrate(): Promise<void> {
    await database.query('drop table if exists ra_jockeys, ra_trainers, ra_owners');
    await database.query('drop function if exists populate_statistics, populate_statistics_columns');
    await database.query('notify pgrst');
  }

  const instant = '2025-11-01T05:00:00.123Z';
  const instantInUtc = '2025-11-01T05:00:00.123+00:00';

  const jockeyStatistics = {
    id: 'jky_1',
    last_ride_date: '2025-10-31',
    last_win_date: '2025-10-02',
    days_since_last_ride: 1,
    days_since_last_win: 30,
    recent_14d_rides: 4,
    recent_14d_wins: 4,
    recent_14d_win_rate: 100,
    recent_30d_rides: 32,
    recent_30d_wins: 1,
    recent_30d_win_rate: 3.13,
    stats_updated_at: instant,
  };

  /** Asks the Data API, as the program does. */
  async function ask(path: string, apikey: string, body?: object, prefer = '') {
    const response = await fetch(`${database.url}/rest/v1/${path}`, {
      method: body ? 'POST' : 'GET',
      headers: { apikey, prefer, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  }

  const populate = (entity_type: unknown, statistics: unknown, key = database.serviceKey, prefer = '') =>
    ask('rpc/populate_statistics', key, { entity_type, statistics }, prefer);

  const nobody = { gone: [], unreached: [], refused: {} };
  const success = (written: number) => ({ status: 200, body: { written, ...nobody } });
  const refusal = (status: number, code: string, message = '') => ({
    status,
    body: expect.objectContaining({ code, message: expect.stringContaining(message) }),
  });

  const readAll = (table: string) => database.query<Record<string, unknown>>(`select * from ${table} order by id`);

  describe('the migration', () => {
    beforeEach(unmigrate);

    it('may be applied again without a change', async () => {
      await database.migrate();
      await database.query(`insert into ra_jockeys (id, name) values ('jky_1', 'A. Jockey')`);
      for (const recent_30d_wins of [1, 2]) {
        expect(await populate('jockeys', [{ ...jockeyStatistics, recent_30d_wins }])).toEqual(success(1));
        const before = await readAll('ra_jockeys');
        expect(before).toMatchObject([{ recent_30d_wins }]);
        await database.migrate();
        expect(await readAll('ra_jockeys')).toEqual(before);
      }
    });

    it('has the Data API read the schema anew, and hides the tables that it creates from the publishable key', async () => {
      expect(await populate('owners', [])).toEqual(refusal(404, 'PGRST202'));
      await database.migrate();
      expect(await populate('owners', [])).toEqual(success(0));
      for (const type of ['jockeys', 'trainers', 'owners']) {
        await database.query(`insert into ra_${type} (id, name) values ('one', 'One')`);
        expect(await ask(`ra_${type}?select=id`, database.publishableKey)).toEqual({ status: 200, body: [] });
        expect((await ask(`ra_${type}?select=id`, database.serviceKey)).body).toEqual([{ id: 'one' }]);
      }
    });

    it.each([
      ['timestamptz', instantInUtc],
      ['timestamp', '2025-11-01T05:00:00.123'],
    ])('adds to a table, keeps its %s column and stores UTC in it, whatever the session', async (type, stored) => {
      const columns = `id text primary key, name text not null, total_rides integer, stats_updated_at ${type}`;
      await database.query(`create table ra_jockeys (${columns})`);
      await database.query(`insert into ra_jockeys values ('jky_1', 'A. Jockey', 812, now())`);
      await database.migrate();
      // PostgREST takes it from the request; Supabase Lite has but one session.
      const zone = 'America/New_York';
      if (engine === supabaseLite) await database.query(`set timezone = '${zone}'`);
      expect(await populate('jockeys', [jockeyStatistics], database.serviceKey, `timezone=${zone}`)).toEqual(
        success(1),
      );
      if (engine === supabaseLite) await database.query('reset timezone');
      const written = { ...jockeyStatistics, name: 'A. Jockey', total_rides: 812, stats_updated_at: stored };
      expect(await readAll('ra_jockeys')).toEqual([written]);
    });

    it.each([
      {
        what: 'a partitioned table',
        make: [
          'create table ra_owners (like all_owners, primary key (id)) partition by hash (id)',
          'create table owners_1 partition of ra_owners for values with (modulus 1, remainder 0)',
        ],
        drop: 'drop table ra_owners, all_owners',
      },
      {
        what: 'a view',
        make: ['create view ra_owners with (security_invoker) as select * from all_owners'],
        drop: 'drop table all_owners cascade',
      },
    ])('may be applied again where $what bears the name, and its rows are written', async ({ make, drop }) => {
      await database.migrate();
      onTestFinished(async () => {
        await database.query(drop);
      });
      const grant = 'grant select, update on ra_owners to service_role';
      for (const statement of ['alter table ra_owners rename to all_owners', ...make, grant]) {
        await database.query(statement);
      }
      await database.migrate();
      await database.query(`insert into ra_owners (id, name) values ('own_1', 'An Owner')`);
      await database.query('notify pgrst');
      const row = { ...naiveRow([], typeNamed('owners'), 'own_1', '2025-11-01'), stats_updated_at: instant };
      expect(await populate('owners', [row])).toEqual(success(1));
    });

    it.each([
      ['jockeys', 'last_ride_date'],
      ['trainers', 'last_runner_date'],
      ['owners', 'last_runner_date'],
    ])('answers from an index which %s were active lately, win most', async (type, lastDate) => {
      await database.migrate();
      await database.query(`insert into ra_${type} (id, name) select 'x_' || n, 'x' from generate_series(1, 5000) n`);
      await database.query(`analyze ra_${type}`);
      for (const [question, index] of [
        [`order by ${lastDate} desc nulls last`, lastDate],
        ['order by recent_30d_win_rate desc nulls last', 'recent_win_rate'],
      ]) {
        const plan = await database.query(`explain select id from ra_${type} ${question} limit 20`);
        expect(JSON.stringify(plan)).toContain(`ra_${type}_${index}`);
      }
    });
  });

  describe('populate_statistics', () => {
    const migrateAnew = async () => {
      await unmigrate();
      await database.migrate();
    };
    beforeAll(migrateAnew);
    beforeEach(async () => {
      await database.query('truncate ra_jockeys, ra_trainers, ra_owners');
      await database.query(`insert into ra_jockeys (id, name) values ('jky_1', 'A. Jockey'), ('jky_2', 'B. Jockey')`);
      await database.query(`insert into ra_trainers (id, name) values ('trn_1', 'A. Trainer')`);
      await database.query(`insert into ra_owners (id, name) values ('own_1', 'An Owner')`);
    });

    it('writes the statistics and nothing else, whatever else the objects hold', async () => {
      const [, other] = await readAll('ra_jockeys');
      expect(await populate('jockeys', [{ ...jockeyStatistics, name: 'Changed', horse: 1 }])).toEqual(success(1));
      const written = { ...jockeyStatistics, name: 'A. Jockey', stats_updated_at: instantInUtc };
      expect(await readAll('ra_jockeys')).toEqual([written, other]);
    });

    it.each([
      ['trainers', 'trn_1'],
      ['owners', 'own_1'],
    ] as const)('knows the columns of %s and empties what is null', async (type, id) => {
      const empty = { ...naiveRow([], typeNamed(type), id, '2025-11-01'), stats_updated_at: instant };
      await populate(type, [{ ...empty, last_runner_date: '2025-10-31', recent_30d_win_rate: 50 }]);
      await populate(type, [empty]);
      const written = { ...empty, name: expect.any(String), stats_updated_at: instantInUtc };
      expect(await readAll(`ra_${type}`)).toEqual([written]);
    });

    const three = ['jky_9', 'jky_1', 'jky_8'].map((id) => ({ ...jockeyStatistics, id }));

    it('returns the ids that the table does not hold, and inserts none of them', async () => {
      const gone = ['jky_8', 'jky_9'];
      expect(await populate('jockeys', three)).toEqual({ status: 200, body: { ...nobody, written: 1, gone } });
      expect(await readAll('ra_jockeys')).toHaveLength(2);
      expect(await populate('jockeys', [])).toEqual(success(0));
    });

    it('returns which rows no update reaches, which are refused and why, and writes the others', async () => {
      onTestFinished(migrateAnew);
      await database.query(`insert into ra_jockeys (id, name) values ('jky_8', 'C. Jockey'), ('jky_9', 'D. Jockey')`);
      await database.query(`create function keep() returns trigger language plpgsql as 'begin return null; end'`);
      onTestFinished(async () => {
        await database.query('drop function keep cascade');
      });
      const trigger = 'create trigger keep before update on ra_jockeys for each row';
      await database.query(`${trigger} when (new.id = 'jky_9') execute function keep()`);
      await database.query(`alter table ra_jockeys add constraint no_news check (id <> 'jky_8') not valid`);
      const refused = { jky_8: expect.stringMatching(/violates check constraint "no_news" \(23514\)$/) };
      const body = { written: 1, gone: [], unreached: ['jky_9'], refused };
      expect(await populate('jockeys', three)).toEqual({ status: 200, body });
      const written = (await readAll('ra_jockeys')).filter(({ stats_updated_at }) => stats_updated_at !== null);
      expect(written).toMatchObject([{ id: 'jky_1' }]);
    });

    const lacking = Object.keys(jockeyStatistics).map((name) => ({
      what: `an object without ${name}`,
      batch: [
        { ...jockeyStatistics, id: 'jky_2' },
        { ...jockeyStatistics, [name]: undefined },
      ],
      told: 'every object needs an id and each statistics column of jockeys',
    }));
    const notAnArray = 'statistics must be a JSON array of objects';

    it.each([
      ...lacking,
      { what: 'an id twice', batch: [jockeyStatistics, jockeyStatistics], told: 'occurs twice' },
      { what: 'null', batch: null, told: notAnArray },
      { what: 'an object', batch: {}, told: notAnArray },
      { what: 'a list of numbers', batch: [1], told: 'every object needs' },
      { what: 'a list of null', batch: [null], told: 'every object needs' },
    ])('refuses $what and writes nothing', async ({ batch, told }) => {
      const before = await readAll('ra_jockeys');
      const refused = refusal(400, expect.stringMatching(/^22/), told);
      expect(await populate('jockeys', batch)).toEqual(refused);
      expect(await readAll('ra_jockeys')).toEqual(before);
    });

    it.each(['horses', 'Jockeys', '', null])('refuses the type %j', async (type) => {
      expect(await populate(type, [jockeyStatistics])).toEqual(refusal(400, '22023', 'unknown entity type'));
    });

    it('is not for the publishable key, and gives its caller no rights that the caller lacks', async () => {
      expect(await populate('jockeys', [], database.publishableKey)).toEqual(refusal(401, '42501'));
      onTestFinished(migrateAnew);
      await database.query('revoke update on ra_jockeys from service_role');
      expect(await populate('jockeys', [jockeyStatistics])).toEqual(refusal(403, '42501'));
    });
  });
});
