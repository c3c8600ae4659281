import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type EmbeddedDatabase, startEmbeddedDatabase } from '../demo/database.js';

let database: EmbeddedDatabase;

beforeAll(async () => {
  database = await startEmbeddedDatabase({ migrate: false });
});

afterAll(() => database.close());

beforeEach(async () => {
  await database.query('reset timezone');
  await database.query('drop table if exists ra_jockeys, ra_trainers, ra_owners');
  await database.query('drop function if exists populate_statistics');
  await database.query('notify pgrst');
});

const instant = '2025-11-01T05:00:00.123Z';

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

const ownerStatistics = {
  id: 'own_1',
  last_runner_date: null,
  last_win_date: null,
  days_since_last_runner: null,
  days_since_last_win: null,
  recent_14d_runs: 0,
  recent_14d_wins: 0,
  recent_14d_win_rate: null,
  recent_30d_runs: 0,
  recent_30d_wins: 0,
  recent_30d_win_rate: null,
  stats_updated_at: instant,
};

/** Calls the function over HTTP, as the program does. */
async function populate(entityType: unknown, statistics: unknown, key = database.serviceKey) {
  const response = await fetch(`${database.url}/rest/v1/rpc/populate_statistics`, {
    method: 'POST',
    headers: { apikey: key, 'content-type': 'application/json' },
    body: JSON.stringify({ entity_type: entityType, statistics }),
  });
  return { status: response.status, body: await response.json() };
}

const refusal = (message: string) => ({
  status: 400,
  body: expect.objectContaining({ code: '22023', message: expect.stringContaining(message) }),
});

const readAll = (table: string) =>
  database.query<Record<string, unknown>>(`select * from ${table} order by id`);

describe('the migration', () => {
  it('may be applied again without a change', async () => {
    await database.migrate();
    await database.query(`insert into ra_jockeys (id, name) values ('jky_1', 'A. Jockey')`);
    await populate('jockeys', [jockeyStatistics]);
    const before = await readAll('ra_jockeys');

    await database.migrate();

    expect(await readAll('ra_jockeys')).toEqual(before);
    expect((await populate('jockeys', [jockeyStatistics])).status).toBe(200);
  });

  it('has the Data API read the schema anew', async () => {
    expect(await populate('owners', [])).toMatchObject({ status: 404, body: { code: 'PGRST202' } });

    await database.migrate();

    expect(await populate('owners', [])).toEqual({ status: 200, body: [] });
  });

  it('hides the tables that it creates from the publishable key', async () => {
    await database.migrate();
    await database.query(`insert into ra_owners (id, name) values ('own_1', 'An Owner')`);

    const response = await fetch(`${database.url}/rest/v1/ra_owners?select=id`, {
      headers: { apikey: database.publishableKey },
    });

    expect(await response.json()).toEqual([]);
  });

  it.each([
    ['timestamptz', '2025-11-01T05:00:00.123+00:00'],
    ['timestamp', '2025-11-01T05:00:00.123'],
  ])('adds to an existing table and keeps its %s column', async (type, stored) => {
    await database.query(`create table ra_jockeys (
      id text primary key, name text not null, total_rides integer, win_rate numeric(5, 2), stats_updated_at ${type})`);
    await database.query(`insert into ra_jockeys values ('jky_1', 'A. Jockey', 812, 11.5, now())`);

    await database.migrate();
    await populate('jockeys', [jockeyStatistics]);

    expect(await readAll('ra_jockeys')).toEqual([
      { ...jockeyStatistics, name: 'A. Jockey', total_rides: 812, win_rate: 11.5, stats_updated_at: stored },
    ]);
  });

  it.each([
    ['who has no statistics', 'stats_updated_at is null order by id', 'ra_owners_without_statistics'],
    ['who ran lately', 'true order by last_runner_date desc nulls last', 'ra_owners_last_runner_date'],
    ['who wins most', 'true order by recent_30d_win_rate desc nulls last', 'ra_owners_recent_win_rate'],
  ])('answers from an index: %s', async (_question, condition, index) => {
    await database.migrate();
    await database.query(
      `insert into ra_owners (id, name) select 'own_' || n, 'x' from generate_series(1, 5000) n`,
    );
    await database.query('analyze ra_owners');

    const plan = await database.query(`explain select id from ra_owners where ${condition} limit 20`);

    expect(JSON.stringify(plan)).toContain(index);
  });
});

describe('populate_statistics', () => {
  beforeEach(async () => {
    await database.migrate();
    await database.query(
      `insert into ra_jockeys (id, name) values ('jky_1', 'A. Jockey'), ('jky_2', 'B. Jockey')`,
    );
    await database.query(`insert into ra_trainers (id, name) values ('trn_1', 'A. Trainer')`);
    await database.query(`insert into ra_owners (id, name) values ('own_1', 'An Owner')`);
  });

  it('writes the statistics and nothing else, whatever else the objects hold', async () => {
    const [, other] = await readAll('ra_jockeys');

    expect(await populate('jockeys', [{ ...jockeyStatistics, name: 'Changed', horse: 1 }])).toEqual({
      status: 200,
      body: [],
    });

    expect(await readAll('ra_jockeys')).toEqual([
      { ...jockeyStatistics, name: 'A. Jockey', stats_updated_at: '2025-11-01T05:00:00.123+00:00' },
      other,
    ]);
  });

  it.each([
    ['trainers', 'trn_1'],
    ['owners', 'own_1'],
  ])('knows the columns of %s and empties what is null', async (type, id) => {
    await populate(type, [
      { ...ownerStatistics, id, last_runner_date: '2025-10-31', recent_30d_win_rate: 50 },
    ]);
    await populate(type, [{ ...ownerStatistics, id }]);

    expect(await readAll(`ra_${type}`)).toEqual([
      expect.objectContaining({ ...ownerStatistics, id, stats_updated_at: '2025-11-01T05:00:00.123+00:00' }),
    ]);
  });

  it('returns the ids that the table does not hold, and inserts none of them', async () => {
    const batch = ['jky_9', 'jky_1', 'jky_8'].map((id) => ({ ...jockeyStatistics, id }));

    expect((await populate('jockeys', batch)).body).toEqual(['jky_8', 'jky_9']);
    expect(await readAll('ra_jockeys')).toHaveLength(2);
    expect((await populate('jockeys', [])).body).toEqual([]);
  });

  it.each(['timestamptz', 'timestamp'])('stores UTC in %s whatever the session time zone', async (type) => {
    await database.query(`alter table ra_jockeys alter stats_updated_at type ${type}`);
    await database.query(`set timezone = 'America/New_York'`);

    await populate('jockeys', [jockeyStatistics]);

    await database.query(`set timezone = 'UTC'`);
    const [row] = await database.query<{ stored: string }>(
      `select stats_updated_at::text as stored from ra_jockeys where id = 'jky_1'`,
    );
    expect(row?.stored.slice(0, 23)).toBe('2025-11-01 05:00:00.123');
  });

  it.each(Object.keys(jockeyStatistics))('refuses a batch in which one object lacks %s', async (key) => {
    const before = await readAll('ra_jockeys');
    const incomplete = Object.fromEntries(Object.entries(jockeyStatistics).filter(([name]) => name !== key));

    const answer = await populate('jockeys', [{ ...jockeyStatistics, id: 'jky_2' }, incomplete]);

    expect(answer).toEqual(refusal('every object needs an id and each statistics column of jockeys'));
    expect(await readAll('ra_jockeys')).toEqual(before);
  });

  it('refuses an id that occurs twice', async () => {
    expect(await populate('jockeys', [jockeyStatistics, jockeyStatistics])).toEqual(refusal('occurs twice'));
  });

  it.each(['horses', 'Jockeys', '', null])('refuses the entity type %j', async (type) => {
    expect(await populate(type, [])).toEqual(refusal('unknown entity type'));
  });

  it.each([null, {}, 'text', [1], [null]])('refuses %j in place of a batch', async (statistics) => {
    expect((await populate('jockeys', statistics)).status).toBe(400);
  });

  it('gives its caller no rights that the caller lacks', async () => {
    await database.query('revoke update on ra_jockeys from service_role');

    expect(await populate('jockeys', [jockeyStatistics])).toEqual({
      status: 403,
      body: expect.objectContaining({ code: '42501' }),
    });
  });

  it('is not for the publishable key', async () => {
    expect(await populate('jockeys', [jockeyStatistics], database.publishableKey)).toEqual({
      status: 401,
      body: expect.objectContaining({ code: '42501' }),
    });
  });
});
