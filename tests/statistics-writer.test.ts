import type { IncomingMessage, ServerResponse } from 'node:http';
import { expect, it, onTestFinished, vi } from 'vitest';
import { describeOnEachEngine, supabaseLite } from './engines.js';
import { changesOf, isWrite, jockeys, sharedStoredWorld, sweep, typeNamed, wholeRows } from './faults.js';
import { checkpointIds, timelessRows } from './watching.js';

describeOnEachEngine((engine) => {
  const { world, right, ids } = sharedStoredWorld({ engine, maxRows: 7 });

  const { sql, change, dropFunction } = changesOf(world);

  it('a type of which no row can be written ends the run, though others were written', async () => {
    const owners = typeNamed('owners');
    const added = `select 'own_z' || n, 'added' from generate_series(1, 100) as n`;
    await change(
      [
        `insert into ra_owners (id, name) ${added}`,
        'alter table ra_owners add constraint no_news check (false) not valid',
      ],
      ['alter table ra_owners drop constraint no_news', `delete from ra_owners where name = 'added'`],
    );
    const report = await world.runHere({ ...sweep, entities: [jockeys, owners] });
    const told = expect.stringMatching(/^The database writes none of 110 rows of ra_owners, .*"no_news" \(23514\)/);
    expect(report).toMatchObject({ exit_code: 6, stopped_by: told, overall: { total_successful: ids.length } });
    expect(report.failures).toHaveLength(110);
    expect(await timelessRows(world, [jockeys])).toEqual(right);
  });

  it('a column that is dropped during a run ends it, and no row is told as written without it', async () => {
    onTestFinished(() => sql('alter table ra_jockeys add column if not exists recent_14d_wins integer'));
    const instants = () => world.database.query('select id, stats_updated_at from ra_jockeys order by id');
    world.database.intercept = async (request, _, next) => {
      if (isWrite(request)) await sql('alter table ra_jockeys drop column if exists recent_14d_wins');
      await next();
    };
    const before = await instants();
    const report = await world.runHere(sweep);
    const told = expect.stringMatching(/^The table ra_jockeys or a column .*lacks recent_14d_wins \(42703\)/);
    expect(report).toMatchObject({ exit_code: 6, stopped_by: told, failures: [], overall: { total_successful: 0 } });
    expect(await instants()).toEqual(before);
  });

  it.each([
    ['returns the old row', 'return old', '1999-01-01', [3, 3]],
    ['returns the old row, whose figures are the same', 'return old', null, [3, 3]],
    ['sets the instant', 'new.stats_updated_at = now(); return new', null, [0, 0]],
    // Row by row the types of the columns are not known.
    ['changes a figure', 'new.recent_30d_wins = 999; return new', null, [3, 0]],
  ])('a row whose trigger %s is written where it holds what it should', async (_, body, date, codes) => {
    const [ofTrigger = ''] = ids;
    expect((await world.runHere(sweep)).exit_code).toBe(0);
    await sql(`update ra_jockeys set stats_updated_at = stats_updated_at - interval '1 h'`);
    if (date) await sql(`update ra_jockeys set last_win_date = '${date}'`);
    await change(
      [
        `create function public.meddle() returns trigger language plpgsql as $$ begin ${body}; end $$`,
        `create trigger meddle before update on ra_jockeys for each row when (new.id = '${ofTrigger}') execute function meddle()`,
      ],
      ['drop function meddle cascade'],
    );
    const unreached = [{ id: ofTrigger, reason: expect.stringMatching(/^no update reaches its row/) }];
    for (const [index, exit_code] of codes.entries()) {
      if (index === 1) await dropFunction();
      const failures = exit_code === 0 ? [] : unreached;
      expect(await world.runHere(sweep)).toMatchObject({ exit_code, stopped_by: null, failures });
      expect(checkpointIds(world, jockeys).includes(ofTrigger)).toBe(exit_code === 0);
    }
  });

  it('a type of which no row of a batch can be written ends the run, and few rows do not', async () => {
    await change(
      [
        `create function public.keep() returns trigger language plpgsql as 'begin return null; end'`,
        'create trigger keep before update on ra_jockeys for each row execute function keep()',
      ],
      ['drop function keep cascade'],
    );
    for (const prepare of [async () => {}, dropFunction]) {
      await prepare();
      const told = expect.stringMatching(/^The database writes none of 14 rows of ra_jockeys/);
      expect(await world.runHere(sweep)).toMatchObject({ exit_code: 6, stopped_by: told });
      expect(await world.runHere({ ...sweep, limit: 9 })).toMatchObject({ exit_code: 3, stopped_by: null });
    }
  });

  it('a row at which a trigger breaks is its own failure', async () => {
    const [broken = ''] = ids;
    await change(
      [
        `create function public.fail() returns trigger language plpgsql as
          'begin raise internal_error using message = ''broken''; end'`,
        `create trigger fail before update on ra_jockeys for each row when (new.id = '${broken}') execute function fail()`,
      ],
      ['drop function fail cascade'],
    );
    const failures = [{ id: broken, reason: 'the database refuses its values: broken (XX000)' }];
    expect(await world.runHere(sweep)).toMatchObject({ exit_code: 3, stopped_by: null, failures });
    // Supabase Lite tells another code.
    if (engine === supabaseLite) return;
    await dropFunction();
    expect(await world.runHere(sweep)).toMatchObject({ exit_code: 3, stopped_by: null, failures });
  });

  it('an id that is a word of JavaScript is refused like every other', async () => {
    await change(
      [
        `insert into ra_jockeys (id, name) values ('__proto__', 'P'), ('constructor', 'C')`,
        `alter table ra_jockeys add constraint no_news check (id not in ('__proto__', 'constructor')) not valid`,
      ],
      [
        'alter table ra_jockeys drop constraint no_news',
        `delete from ra_jockeys where id in ('__proto__', 'constructor')`,
      ],
    );
    const report = await world.runHere(sweep);
    expect(report).toMatchObject({ exit_code: 3, stopped_by: null, overall: { total_successful: ids.length } });
    expect(report.failures.map(({ id }) => id).sort()).toEqual(['__proto__', 'constructor']);
  });

  if (engine !== supabaseLite) {
    // Supabase Lite tells a timeout as no other engine does.
    /** A trigger that gives up on rows as a statement timeout does, until the test ends. */
    async function slowTrigger(table: string, when: string): Promise<void> {
      const body = `begin raise query_canceled using message = 'canceling statement due to statement timeout'; end`;
      await change(
        [
          `create function public.dawdle() returns trigger language plpgsql as '${body.replaceAll("'", "''")}'`,
          `create trigger dawdle before update on ${table} for each row when (${when}) execute function dawdle()`,
        ],
        ['drop function dawdle cascade'],
      );
    }

    it('a row that takes too long by itself is its own failure, with the function and without', async () => {
      const [, slow = ''] = ids;
      await slowTrigger('ra_jockeys', `new.id = '${slow}'`);
      const told = /takes too long to write it, or somebody holds it locked: .*statement timeout \(57014\)/;
      const failures = [{ id: slow, reason: expect.stringMatching(told) }];
      const others = ids.filter((id) => id !== slow).sort();
      for (const prepare of [async () => {}, dropFunction]) {
        await prepare();
        expect(await world.runHere(sweep)).toMatchObject({ exit_code: 3, stopped_by: null, failures });
        const written = await timelessRows(world, [jockeys]);
        for (const id of others) expect(written.get(id)).toEqual(right.get(id));
        expect(checkpointIds(world, jockeys).sort()).toEqual(others);
      }
    });

    it('many rows that take too long, among others, are their own failures', async () => {
      const slow = ids.filter((_, index) => index % 2 === 1);
      expect(slow.length).toBeGreaterThan(5);
      await slowTrigger('ra_jockeys', `new.id in ('${slow.join(`','`)}')`);
      for (const prepare of [async () => {}, dropFunction]) {
        await prepare();
        const report = await world.runHere(sweep);
        expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
        expect(report.failures.map(({ id }) => id).sort()).toEqual(slow.toSorted());
      }
    });

    it('a table on which every row takes too long ends the run, after a few rows', async () => {
      await slowTrigger('ra_jockeys', 'true');
      const asked = vi.fn();
      world.database.intercept = (request, _, next) => {
        if (isWrite(request)) asked();
        return next();
      };
      const before = await wholeRows(world, jockeys);
      const report = await world.runHere(sweep);
      const told = expect.stringMatching(
        /^The database gave up on ra_jockeys: .* another session holds its rows locked/,
      );
      expect(report).toMatchObject({ exit_code: 6, stopped_by: told, overall: { total_successful: 0 } });
      expect(report.failures).toHaveLength(5);
      expect(asked.mock.calls.length).toBeLessThan(40);
      expect(await wholeRows(world, jockeys)).toEqual(before);
    });

    it.each([
      [
        'revoke update on ra_jockeys from service_role',
        'grant update on ra_jockeys to service_role',
        /grant .* \(42501\)/,
      ],
      [
        'alter table ra_jockeys drop column recent_14d_wins',
        'alter table ra_jockeys add column recent_14d_wins integer',
        /column of it is missing.*recent_14d_wins/,
      ],
    ])('row by row what all rows lack ends the run: %s', async (statement, back, told) => {
      await dropFunction();
      onTestFinished(() => sql(back));
      let isDone = false;
      world.database.intercept = async ({ method }, _, next) => {
        if (method === 'PATCH' && !isDone) {
          isDone = true;
          await sql(statement);
        }
        await next();
      };
      const report = await world.runHere(sweep);
      expect(report).toMatchObject({ exit_code: 6, stopped_by: expect.stringMatching(told), failures: [] });
    });

    it('a column that Postgres computes is told with the migration where the function is missing', async () => {
      await change(
        [
          'alter table ra_jockeys drop column days_since_last_win',
          'alter table ra_jockeys add column days_since_last_win integer generated always as (0) stored',
        ],
        [
          'alter table ra_jockeys drop column days_since_last_win',
          'alter table ra_jockeys add column days_since_last_win integer',
        ],
      );
      await dropFunction();
      const report = await world.runHere(sweep);
      const told = expect.stringMatching(/apply supabase\/migrations.*days_since_last_win.* \(428C9\)/);
      expect(report).toMatchObject({ exit_code: 6, stopped_by: told, failures: [] });
    });
    return;
  }

  /** Answers writes in turn, those for which there is an answer. */
  function answerWrites(answers: ([status: number, code: string] | 'as usual')[]): void {
    world.database.intercept = (request: IncomingMessage, response: ServerResponse, next) => {
      const answer = isWrite(request) ? (answers.shift() ?? 'as usual') : 'as usual';
      if (answer === 'as usual') return next();
      const [status, code] = answer;
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ code, message: 'no' }));
    };
  }

  it('after a row that takes too long, another that did so for a moment is written', async () => {
    const slow = (times: number) => Array.from({ length: times }, () => [500, '57014'] as [number, string]);
    // 14, 7, 4 and 2 rows, the first one six times, the second one twice.
    answerWrites([...slow(4 + 6 + 2)]);
    const failures = [{ id: ids[0], reason: expect.stringContaining('takes too long') }];
    const report = await world.runHere(sweep);
    expect(report).toMatchObject({ exit_code: 3, failures, overall: { total_successful: ids.length - 1 } });
    expect(report.failures).toHaveLength(1);
  });

  it.each([
    { how: 'in halves', answers: [[500, '57014'], 'as usual', [500, '57014'], 'as usual', [401, 'PGRST301']] },
    { how: 'row by row', answers: [...Array.from({ length: 9 }, () => 'as usual'), [401, 'PGRST301']] },
  ] as const)('of a batch that is written $how, what was written before the end is told and noted', async (one) => {
    if (one.how === 'row by row') await dropFunction();
    const before = await wholeRows(world, jockeys);
    answerWrites([...one.answers] as Parameters<typeof answerWrites>[0]);
    const report = await world.runHere(sweep);
    const after = await wholeRows(world, jockeys);
    const written = ids.filter((id) => before.get(id) !== after.get(id));
    expect(written.length).toBeGreaterThan(8);
    expect(written.length).toBeLessThan(ids.length);
    expect(report).toMatchObject({ exit_code: 6, failures: [], overall: { total_successful: written.length } });
    expect(checkpointIds(world, jockeys).sort()).toEqual(written.sort());
  });
});
