import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from 'vitest';
import { makeSeason } from '../demo/season.js';
import { entityTypes } from '../src/entity-types.js';
import { addDays, lastDateColumn, type StatisticsRow, statisticsWindow, Tallies } from '../src/statistics.js';
import { describeOnPostgrest, postgrest } from './engines.js';
import { answersIn, jockeys, sharedStoredWorld, sweep, typeNamed } from './faults.js';
import { type HostedDatabase, migrationFiles } from './postgrest.js';
import { timelessRows } from './watching.js';
import { openServices, today } from './world.js';

let hosted: HostedDatabase;

async function sql(...statements: string[]): Promise<void> {
  for (const statement of statements) await hosted.query(statement);
}

/** Begins a transaction in another session, which ends with the test. */
async function otherSession(statement: string, user?: string) {
  const session = await hosted.connect(user);
  onTestFinished(() => session.end());
  await session.query(`begin; ${statement}`);
  return session;
}

describeOnPostgrest(() => {
  const start = async () => {
    hosted = await postgrest.start({ maxRows: 7 });
    return hosted;
  };
  const { world, right } = sharedStoredWorld({ engine: { ...postgrest, start } });

  /** Does something to the database before its n-th write, once. */
  function beforeWrite(act: () => Promise<unknown>): void {
    let acted = false;
    world.database.intercept = async (request, _, next) => {
      if (request.method === 'POST' && !acted) {
        acted = true;
        await act();
      }
      await next();
    };
  }

  async function expectAllWritten(parts = {}) {
    const report = await world.runHere(sweep, parts);
    expect(report).toMatchObject({ exit_code: 0, failures: [] });
    expect(await timelessRows(world, [jockeys])).toEqual(right);
    return report;
  }

  const cutAll = `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'authenticator'`;

  it('cut connections cost nothing', async () => {
    beforeWrite(() => sql(cutAll));
    await expectAllWritten({ databaseFirstRetryMs: 50 });
  });

  it('a failover is waited for, in one line', async () => {
    beforeWrite(async () => {
      const recover = await hosted.fail();
      setTimeout(recover, 500);
    });
    const { lines } = await expectAllWritten({ databaseFirstRetryMs: 200 });
    expect(lines.filter((line) => line.startsWith('Waiting for the database about ra_jockeys: '))).toHaveLength(1);
  });

  const impatient = async () => {
    onTestFinished(() => sql('alter role service_role reset lock_timeout', 'notify pgrst'));
    await sql(`alter role service_role set lock_timeout = '50ms'`, 'notify pgrst');
  };
  const lockedRow = () => otherSession(`update ra_jockeys set name = name where id = '${[...right.keys()][0]}'`);

  it('rows that another session holds for a moment are written when it lets go', async () => {
    await impatient();
    const session = await lockedRow();
    const calls = vi.fn();
    world.database.intercept = async (request, _, next) => {
      if (request.method === 'POST') calls();
      if (calls.mock.calls.length === 3) await session.query('rollback');
      await next();
    };
    const { lines } = await expectAllWritten();
    // By the timeout; on a slow machine by its lateness, which comes before it.
    expect(lines).toContainEqual(expect.stringMatching(/^Waiting .*another session may hold rows locked/));
  });

  it('a row that another session holds to the end is its own failure', async () => {
    await impatient();
    await lockedRow();
    const report = await world.runHere(sweep);
    const failures = [{ id: [...right.keys()][0], reason: expect.stringMatching(/holds it locked: .*lock timeout/) }];
    expect(report).toMatchObject({ exit_code: 3, failures, overall: { total_successful: right.size - 1 } });
    expect(report.failures).toHaveLength(1);
  });

  it('rows that another session holds to the end are the likely cause that is named', async () => {
    await impatient();
    await otherSession('update ra_jockeys set name = name');
    const report = await world.runHere(sweep);
    expect(report).toMatchObject({ exit_code: 6, stopped_by: expect.stringContaining('rows locked') });
    expect(report.failures).toHaveLength(5);
  });

  it('a batch that takes longer than we wait for an answer is written in parts', async () => {
    answersIn(1_500);
    onTestFinished(() => sql('drop function slow cascade', `delete from ra_jockeys where name = 'added'`));
    await sql(
      `insert into ra_jockeys (id, name) select 'jky_z' || n, 'added' from generate_series(1, 100) as n`,
      `create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.02); return new; end'`,
      'create trigger slow before update on ra_jockeys for each row execute function slow()',
    );
    const report = await world.runHere(sweep, { databaseFirstRetryMs: 50 });
    expect(report).toMatchObject({ exit_code: 0, failures: [], overall: { total_successful: right.size + 100 } });
    expect(report.lines).toContainEqual(expect.stringContaining('no answer for 5 s'));
  });

  it('a batch that takes too long is written in parts', async () => {
    onTestFinished(() =>
      sql('alter role service_role reset statement_timeout', 'drop function slow cascade', 'notify pgrst'),
    );
    await sql(
      `create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.04); return new; end'`,
      'create trigger slow before update on ra_jockeys for each row execute function slow()',
      `alter role service_role set statement_timeout = '250ms'`,
      'notify pgrst',
    );
    const calls = vi.fn();
    world.database.intercept = async ({ method }, _, next) => {
      if (method === 'POST') calls();
      await next();
    };
    await expectAllWritten();
    // 14 and 7 rows take too long.
    expect(calls.mock.calls.length).toBeGreaterThanOrEqual(7);
    expect(calls.mock.calls.length).toBeLessThan(14);
  });

  it.each(['serviceKey', 'legacyServiceKey'] as const)('the %s may do what a run does', async (key) => {
    await expectAllWritten({ serviceKey: hosted[key] });
  });

  it.each(['publishableKey', 'legacyAnonKey'] as const)('the %s is told to be the wrong one', async (key) => {
    // A sweep has begun by then.
    world.api.options.intercept = () => {};
    const report = await world.runHere(sweep, { serviceKey: hosted[key] });
    const stopped_by = expect.stringContaining('SUPABASE_SERVICE_KEY holds the publishable (anon) key');
    expect(report).toMatchObject({ exit_code: 6, stopped_by, overall: { total_successful: 0 } });
    expect(report.requests).toBeLessThanOrEqual(4);
  });

  it.each([
    ['null', `jsonb language sql as 'select null::jsonb'`],
    ['a set', `setof jsonb language sql as 'select ''{}''::jsonb'`],
    ['nothing', `void language sql as ''`],
  ])('another function of its name that returns %s is told, and the rows are right', async (_, returns) => {
    onTestFinished(() => hosted.migrate());
    const name = 'function populate_statistics(entity_type text, statistics jsonb)';
    await sql('drop function populate_statistics', `create ${name} returns ${returns}`, 'notify pgrst');
    const { lines } = await expectAllWritten();
    expect(lines).toContainEqual(expect.stringContaining('populate_statistics is of another version: writing row by'));
  });

  it.each([
    {
      what: 'overloaded',
      statement: `create function populate_statistics(entity_type text, statistics json) returns json
        language sql as 'select null::json'`,
      back: 'drop function populate_statistics(text, json)',
    },
    {
      what: 'not granted',
      statement: 'revoke execute on function populate_statistics from service_role',
      back: 'grant execute on function populate_statistics to service_role',
    },
  ])('a function that is $what is told as such', async ({ statement, back }) => {
    onTestFinished(() => sql(back, 'notify pgrst'));
    await sql(statement, 'notify pgrst');
    const told = expect.stringMatching(/^The function populate_statistics cannot be called\. .*supabase\/migrations/);
    expect(await world.runHere(sweep)).toMatchObject({ exit_code: 6, stopped_by: told, failures: [] });
  });

  it('a view of a table with a column that Postgres computes is told as such', async () => {
    const rate = 'drop column recent_14d_win_rate, add column recent_14d_win_rate numeric(5, 2)';
    const back = ['drop view ra_jockeys', 'alter table held rename to ra_jockeys', `alter table ra_jockeys ${rate}`];
    onTestFinished(() => sql(...back, 'notify pgrst'));
    await sql(
      `alter table ra_jockeys ${rate} generated always as (1) stored`,
      'alter table ra_jockeys rename to held',
      'create view ra_jockeys with (security_invoker) as select * from held',
      'grant select, update on ra_jockeys to service_role',
      'notify pgrst',
    );
    const told = expect.stringMatching(/^Postgres computes a column of ra_jockeys .*In a view.*win_rate.*\(428C9\)/);
    expect(await world.runHere(sweep)).toMatchObject({ exit_code: 6, stopped_by: told, failures: [] });
  });

  it('tables with what users have in theirs are written like others', async () => {
    const undo = 'drop table visits; drop view best; drop domain always cascade; drop function note cascade';
    const rate = 'alter table ra_jockeys drop column recent_14d_win_rate, add column recent_14d_win_rate numeric(5, 2)';
    onTestFinished(() => sql(undo, 'alter table ra_jockeys drop column twice', rate, 'notify pgrst'));
    await sql(
      `create domain always as integer not null default 1`,
      `alter table ra_jockeys add column visits always`,
      `alter table ra_jockeys add column twice integer generated always as (2 * recent_14d_wins) stored`,
      `${rate} generated always as (round(100.0 * recent_14d_wins / nullif(recent_14d_rides, 0), 2)) stored`,
      `create table visits (id text)`,
      `create function extensions.shout(text) returns text language sql as 'select upper($1)'`,
      `create function note() returns trigger language plpgsql as $$ begin
        insert into visits values (shout(new.id)); return new; end $$`,
      `create trigger note after update on ra_jockeys for each row execute function note()`,
      `create view best as select * from ra_jockeys`,
    );
    await hosted.migrate();
    await expectAllWritten();
    const visits = await hosted.query<{ id: string }>('select distinct id from visits');
    expect(visits.map(({ id }) => id).sort()).toEqual([...right.keys()].map((id) => id.toUpperCase()).sort());
    expect(await hosted.query('select from ra_jockeys where twice = 2 * recent_14d_wins')).toHaveLength(visits.length);
  });
});

describeOnPostgrest(() => {
  beforeAll(async () => {
    hosted = await postgrest.start();
  });
  afterAll(() => hosted.close());

  /** What an earlier version of the migration made, in short. */
  const earlier = [
    'create index if not exists ra_owners_without_statistics on ra_owners (id) where stats_updated_at is null',
    'drop function populate_statistics(text, jsonb)',
    `create function populate_statistics(entity_type text, statistics jsonb) returns text[]
      language sql as $$ select '{}'::text[] $$`,
    'alter table ra_owners reset (fillfactor)',
  ];

  const schema = async () => ({
    indexes: await hosted.query(`select indexdef from pg_indexes where schemaname = 'public' order by 1`),
    columns: await hosted.query(`select table_name, column_name, data_type from information_schema.columns
      where table_schema = 'public' order by 1, 2`),
    tables: await hosted.query(
      `select relname, reloptions from pg_class where relname ~ '^ra_' and relkind = 'r' order by 1`,
    ),
    functions: await hosted.query(`select proname, prosrc, proacl from pg_proc where proname ~ '^populate' order by 1`),
  });

  /** A file's statements: a semicolon at the end of a line ends one, unless it is between $$ and $$. */
  const statementsOf = (file: string) =>
    file
      .split('$$')
      .map((part, at) => (at % 2 === 1 ? part : part.replace(/;$/gm, '\u0000')))
      .join('$$')
      .split('\u0000');
  const ways: Record<string, (file: string) => Promise<unknown>> = {
    'as one text, as by the SQL editor': (file) => hosted.query(file),
    'statement by statement, as by psql': (file) => sql(...statementsOf(file)),
    'in one transaction, as by supabase db push': async (file) => {
      const session = await hosted.connect();
      await session.query('begin');
      for (const statement of statementsOf(file)) await session.query(statement);
      await session.query('commit');
      await session.end();
    },
  };
  const dropAll = async () => {
    await sql('drop table if exists ra_jockeys, ra_trainers, ra_owners');
    await sql('drop function if exists populate_statistics, populate_statistics_columns');
  };

  it.each(Object.entries(ways))(
    'the migrations may be applied %s, to nothing and to an earlier version',
    async (_, apply) => {
      const wanted = await schema();
      expect(wanted.indexes).toHaveLength(9);
      await dropAll();
      for (const file of await migrationFiles()) await apply(file);
      expect(await schema()).toEqual(wanted);
      await sql(...earlier);
      expect(await schema()).not.toEqual(wanted);
      for (const file of await migrationFiles()) await apply(file);
      expect(await schema()).toEqual(wanted);
    },
  );

  it.each(Object.entries(ways))(
    'a database of version 1.0.0 needs only the second file, applied %s',
    async (_, apply) => {
      const wanted = await schema();
      await dropAll();
      const published = readFileSync(new URL('entity_statistics_1.0.0.sql', import.meta.url), 'utf8');
      await sql(published, `insert into ra_jockeys (id, name) values ('jky_1', 'A. Jockey')`);
      const [, second = ''] = await migrationFiles();
      await apply(second);
      await sql('notify pgrst');
      expect(await schema()).toEqual(wanted);
      const { database, lines, close } = openServices({ api: { url: 'http://127.0.0.1' }, database: hosted }, 1);
      onTestFinished(close);
      const row = { ...new Tallies([jockeys], statisticsWindow(today)).row(jockeys, 'jky_1'), stats_updated_at: today };
      const outcome = await database.writeStatistics(jockeys, [row]).next();
      expect(outcome.value).toEqual({ ids: [row.id], refused: new Map(), gone: new Set() });
      expect(lines).toEqual([]);
      await sql('truncate ra_jockeys');
    },
  );

  const body = `language sql as $$ select null::jsonb $$`;
  it.each([
    ['other names', `function populate_statistics(kind text, rows jsonb) returns jsonb ${body}`],
    [
      'a set as its result',
      `function populate_statistics(entity_type text, statistics jsonb) returns setof jsonb ${body}`,
    ],
    ['no result', `procedure populate_statistics(entity_type text, statistics jsonb) language sql as ''`],
    [
      'columns of its own',
      `function populate_statistics_columns(entity_type text) returns table (name text) language sql as 'select null'`,
    ],
  ])('what has the name of ours and %s is replaced', async (_, made) => {
    const wanted = await schema();
    await sql(`drop function ${/populate\w+/.exec(made)?.[0]}`, `create ${made}`);
    for (const file of await migrationFiles()) await sql(file);
    expect(await schema()).toEqual(wanted);
  });

  it('the service role may call both functions where nobody else may, and none of the same name is called', async () => {
    onTestFinished(() => sql('drop function public.format(text, name, text), public.cardinality(text[])'));
    await sql(
      `create function public.format(text, name, text) returns text language sql as $$ select 'not this' $$`,
      `create function public.cardinality(text[]) returns integer language sql as 'select -1'`,
      'revoke execute on function populate_statistics_columns, populate_statistics from public, service_role',
    );
    await hosted.migrate();
    const session = await otherSession('set local role service_role');
    const { rows } = await session.query(`select populate_statistics('jockeys', '[]') as outcome`);
    expect(rows).toEqual([{ outcome: { written: 0, gone: [], unreached: [], refused: {} } }]);
    await session.query('rollback');
  });

  it('where nothing is missing no table is locked', async () => {
    const before = await schema();
    const holder = await otherSession('lock table ra_jockeys, ra_trainers, ra_owners in access exclusive mode');
    const session = await otherSession('commit');
    for (const file of await migrationFiles()) await session.query(file);
    await holder.query('rollback');
    expect(await schema()).toEqual(before);
  });

  it.each([
    ['a column', 'alter table ra_owners drop column recent_14d_wins'],
    ['of an earlier version', earlier[0] ?? ''],
  ])('where %s is to change and another session uses the table, it is told after 5 s', async (_, change) => {
    onTestFinished(() => hosted.migrate());
    await sql(change);
    await otherSession('lock table ra_owners in row exclusive mode');
    const [tables = '', rest = ''] = await migrationFiles();
    expect(rest.match(/'lock_timeout', '5s'/g)).toHaveLength(2);
    const impatient = rest.replaceAll(`'5s'`, `'100ms'`);
    await expect(sql(tables, impatient)).rejects.toThrow(/^Another session uses ra_owners: .*pg_stat_activity/);
  });

  it('reads every row once and in order, several pages at a time, also where rows come and go', async () => {
    const { database, stop, close } = openServices({ api: { url: 'http://127.0.0.1' }, database: hosted }, 1);
    onTestFinished(async () => {
      stop.abort();
      await close();
      hosted.intercept = undefined;
      await sql('truncate ra_owners');
    });
    await sql(`insert into ra_owners (id, name) select 'own_' || n, 'x' from generate_series(100000, 149999) n`);
    let [open, most, comings] = [0, 0, 0];
    hosted.intercept = async ({ url }, _response, next) => {
      if (!url?.includes('limit=1000')) return await next();
      open += 1;
      most = Math.max(most, open);
      if (open > 1) {
        comings += 1;
        await sql(`delete from ra_owners where id = 'own_' || 100000 + 9 * (random() * 5000)::int + 1`);
        await sql(`insert into ra_owners (id, name) values ('own_' || 100000 + 50000 * random(), 'new')`);
      }
      await next();
      open -= 1;
    };
    const ids: string[] = [];
    for await (const page of database.entities(typeNamed('owners'))) ids.push(...page.map(({ id }) => id));
    const rest = await hosted.query<{ id: string }>(`select id from ra_owners where name = 'x' order by id`);
    const read = new Set(ids);
    expect(rest.filter(({ id }) => !read.has(id))).toEqual([]);
    expect(ids).toEqual([...read].sort());
    expect(most).toBe(2);
    expect(comings).toBeGreaterThan(10);
    expect(rest.length).toBeLessThan(50_000);
  });

  it('reads every row once and in order, also where many are imported while it begins', async () => {
    const { database, close } = openServices({ api: { url: 'http://127.0.0.1' }, database: hosted }, 1);
    onTestFinished(async () => {
      await close();
      hosted.intercept = undefined;
      await sql('truncate ra_owners');
    });
    await sql(`insert into ra_owners (id, name) select 'own_' || n, 'x' from generate_series(500001, 503500) n`);
    let imported = 0;
    hosted.intercept = async ({ url }, _response, next) => {
      if (url?.includes('offset=')) {
        const [from, to] = [500_000 - imported - 1_200, 500_000 - imported - 1];
        imported += 1_200;
        await sql(`insert into ra_owners (id, name) select 'own_' || n, 'new' from generate_series(${from}, ${to}) n`);
      }
      await next();
    };
    const ids: string[] = [];
    for await (const page of database.entities(typeNamed('owners'))) ids.push(...page.map(({ id }) => id));
    expect(imported).toBe(3 * 1_200);
    expect(ids).toEqual([...new Set(ids)].sort());
    expect(ids.length).toBeGreaterThanOrEqual(3_500);
  });

  it("another role's tables are told where something is missing, and otherwise left alone", async () => {
    const admin = await hosted.connect('supabase_admin');
    onTestFinished(async () => {
      await admin.query('alter table ra_jockeys owner to postgres');
      await admin.end();
      await hosted.migrate();
    });
    const { tables } = await schema();
    await admin.query('alter table ra_jockeys owner to supabase_admin');
    await hosted.migrate();
    await admin.query('alter table ra_jockeys reset (fillfactor)');
    await admin.query('alter table ra_owners reset (fillfactor)');
    await hosted.migrate();
    expect((await schema()).tables).toEqual([{ relname: 'ra_jockeys', reloptions: null }, ...tables.slice(1)]);
    await admin.query('alter table ra_jockeys drop column recent_14d_wins');
    await expect(hosted.migrate()).rejects.toThrow(/^ra_jockeys lacks something: run this as the owner/);
  });

  it("most of a second day's updates are HOT, it logs little, and the tables grow no more", {
    timeout: 120_000,
  }, async () => {
    const season = makeSeason({ today, jockeys: 700, trainers: 560, owners: 9_600, races: 2_600 });
    await dropAll();
    await hosted.migrate();
    const session = await hosted.connect();
    onTestFinished(() => session.end());
    const first = async <Value>(text: string, values: unknown[] = []) =>
      (await session.query<{ value: Value }>(`select ${text} as value`, values)).rows[0]?.value as Value;
    for (const { name, table } of entityTypes) {
      await session.query(`insert into ${table} (id, name) select id, id from unnest($1::text[]) as id`, [
        season[name].map(({ id }) => id),
      ]);
    }
    const runDay = async (day: string) => {
      const tallies = new Tallies(entityTypes, statisticsWindow(day));
      for (const race of season.races) if (race.date <= day) tallies.count(race);
      const from = await first<string>('pg_current_wal_lsn()');
      for (const type of entityTypes) {
        const rows = season[type.name].map(({ id }) => ({
          ...tallies.row(type, id),
          stats_updated_at: `${day}T05:00Z`,
        }));
        // As a run does.
        const lastDate = (row: StatisticsRow) => String(row[lastDateColumn(type)] ?? '');
        rows.sort((a, b) => lastDate(b).localeCompare(lastDate(a)));
        for (let at = 0; at < rows.length; at += 2000) {
          const batch = rows.slice(at, at + 2000);
          const outcome = await first('populate_statistics($1, $2)', [type.name, JSON.stringify(batch)]);
          expect(outcome).toMatchObject({ written: batch.length });
        }
      }
      await session.query('select pg_stat_force_next_flush()');
      const hot = await first<number>(`(select sum(n_tup_hot_upd)::int from pg_stat_user_tables)`);
      const logged = Number(await first<string>(`pg_wal_lsn_diff(pg_current_wal_lsn(), '${from}')`));
      // As the autovacuum does before the next day.
      await session.query('vacuum ra_jockeys, ra_trainers, ra_owners');
      const size = Number(await first(`(select sum(pg_table_size(oid)) from pg_class where relname ~ '^ra_.*s$')`));
      return { hot, logged, size };
    };
    const opening = await runDay(addDays(today, -2));
    const second = await runDay(addDays(today, -1));
    const third = await runDay(today);
    const updates = 700 + 560 + 9_600;
    expect(second.hot - opening.hot).toBeGreaterThan(0.8 * updates);
    expect(third.hot - second.hot).toBeGreaterThan(0.8 * updates);
    // 10 MB for 54,429 rows.
    expect(second.logged).toBeLessThan((10_000_000 * updates) / 54_429);
    // A page here and there.
    expect(third.size).toBeLessThan(1.01 * second.size);
  });
});
