import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { listen, stop } from '../demo/loopback.js';
import { createDatabase } from '../src/database.js';
import { entityTypes } from '../src/entity-types.js';
import type { Tell } from '../src/events.js';
import type { PopulateOptions } from '../src/options.js';
import { hasOpenssl, selfSignedCertificate } from './certificate.js';
import { describeOnEachEngine, supabaseLite } from './engines.js';
import {
  answersIn,
  changesOf,
  isWrite,
  jockeys,
  sharedStoredWorld,
  sweep,
  walk,
  wholeRows,
  wholeTables,
} from './faults.js';
import { checkpointIds, expectNaiveRows, timelessRows } from './watching.js';
import { openServices } from './world.js';

describeOnEachEngine((engine) => {
  // So that every table is read in several pages.
  const { world, right, ids } = sharedStoredWorld({ engine, maxRows: 7 });

  const { sql, change, dropFunction } = changesOf(world);

  /** Changes the database until the test ends, where the Data API has to know it. */
  async function changeSchema(statements: string[], back: string[]): Promise<void> {
    const reload = `notify pgrst, 'reload schema'`;
    await change([...statements, reload], [...back, reload]);
  }

  /** Adds some without a race, until the test ends. */
  async function addJockeys(count: number): Promise<void> {
    onTestFinished(() => sql(`delete from ra_jockeys where name = 'added'`));
    await sql(`insert into ra_jockeys (id, name) select 'jky_z' || n, 'added' from generate_series(1, ${count}) as n`);
  }

  /** Answers the requests that `hits` chooses in the database's place. */
  function injectAnswer(
    fault: (response: ServerResponse) => unknown,
    hits: (request: IncomingMessage) => boolean,
  ): void {
    world.database.intercept = (request, response, next) => (hits(request) ? void fault(response) : next());
  }

  const answer = (status: number, body: object) => (response: ServerResponse) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

  /** Begins to answer with rows, as JSON, and ends early. */
  const cutOff = (end: (response: ServerResponse) => unknown) => (response: ServerResponse) => {
    response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' });
    response.write('[{"id":"secret_row","na', () => end(response));
  };

  const aboutKey = /^Supabase refuses the key: (?!.*grant).*SUPABASE_SERVICE_KEY\./;

  async function expectAllWritten(options: Partial<PopulateOptions>): Promise<string[]> {
    const report = await world.runHere(options);
    expect(report).toMatchObject({ exit_code: 0, failures: [] });
    expect(await timelessRows(world, [jockeys])).toEqual(right);
    return report.lines;
  }

  /** Ends with 6 and, in `stopped_by`, what `told` matches; no row was written. */
  async function expectStopped(options: Partial<PopulateOptions>, told: RegExp, serviceKey?: string): Promise<void> {
    const before = await wholeTables(world);
    const report = await world.runHere(options, serviceKey === undefined ? {} : { serviceKey });
    expect(report).toMatchObject({ exit_code: 6, stopped_by: expect.stringMatching(told), failures: [] });
    expect(await wholeTables(world)).toEqual(before);
    expect(checkpointIds(world, jockeys)).toEqual([]);
  }

  it.each(['sweep', 'walk'] as const)('a %s writes the naive rows over whatever was there', async (strategy) => {
    const startedAt = new Date();
    const report = await world.runHere({ strategy }, { startedAt });
    expect(report).toMatchObject({ exit_code: 0, strategy, failures: [], overall: { total_successful: 30 } });
    await expectNaiveRows(world);
    const rows = await Promise.all(entityTypes.map((type) => world.rows(type)));
    const updated = rows.flatMap((ofType) => Array.from(ofType.values(), ({ stats_updated_at }) => stats_updated_at));
    expect(new Set(updated.map((at) => Date.parse(`${at}`)))).toEqual(new Set([startedAt.getTime()]));
  });

  it('the wrong key of this project is told, and nothing of grants', async () => {
    await expectStopped(walk, aboutKey, `${world.database.serviceKey.slice(0, -4)}AAAA`);
    expect(world.api.calls).toEqual([]);
  });

  describe('the schema', () => {
    it('an earlier version of the function is told, and the rows are right', async () => {
      onTestFinished(() => world.database.migrate());
      await sql(
        'drop function populate_statistics(text, jsonb)',
        `create function populate_statistics(entity_type text, statistics jsonb) returns text[]
          language sql as $$ select '{}'::text[] $$`,
        'grant execute on function populate_statistics to service_role',
        `notify pgrst, 'reload schema'`,
      );
      const lines = await expectAllWritten(sweep);
      const told = lines.filter((line) => line.includes('populate_statistics is of another version'));
      expect(told).toEqual([expect.stringContaining('supabase/migrations')]);
    });

    it.each([
      ['table', 'rename to elsewhere', 'alter table elsewhere rename to ra_owners'],
      ['column', 'rename recent_30d_wins to other', 'alter table ra_owners rename other to recent_30d_wins'],
    ])('a missing %s is told with its migration before any request', async (_, rename, back) => {
      await changeSchema([`alter table ra_owners ${rename}`], [back]);
      const report = await world.runHere();
      expect(report).toMatchObject({ exit_code: 6, requests: 0, failures: [] });
      expect(report.stopped_by).toMatch(/ra_owners.*SUPABASE_URL is the right project's.*supabase\/migrations/);
      expect(world.api.calls).toEqual([]);
    });

    it('a table without rows is told before any request, and that the key may be the wrong one', async () => {
      const rows = 'create table put_aside as select * from ra_trainers';
      await change(
        [rows, 'truncate ra_trainers'],
        ['insert into ra_trainers select * from put_aside', 'drop table put_aside'],
      );
      const report = await world.runHere({ ...walk, entities: entityTypes });
      expect(report).toMatchObject({ exit_code: 6, requests: 0, failures: [] });
      expect(report.stopped_by).toMatch(/^ra_trainers is empty, or hidden from the key\. Check that SUPABASE_URL/);
      await expectStopped(
        walk,
        /^ra_jockeys is empty.* holds the publishable \(anon\) key/,
        world.database.publishableKey,
      );
    });

    it('without the function the same rows are written one by one', async () => {
      await dropFunction();
      const lines = await expectAllWritten({ ...sweep, entities: entityTypes });
      expect(lines.filter((line) => line.includes('populate_statistics is not installed'))).toHaveLength(1);
    });
  });

  describe('one row', () => {
    it.each([
      { ...walk, how: 'at once' },
      { ...sweep, how: 'one by one' },
    ])('deleted while a $strategy gathers that writes $how is a failure', async ({ how, ...options }) => {
      const [, goneId = ''] = ids;
      if (how === 'one by one') await dropFunction();
      onTestFinished(() => sql(`insert into ra_jockeys select * from kept_ra_jockeys where id = '${goneId}'`));
      world.database.intercept = async (request, _, next) => {
        if (isWrite(request)) await sql(`delete from ra_jockeys where id = '${goneId}'`);
        await next();
      };
      const failures = [{ id: goneId, reason: 'its row is no longer in ra_jockeys' }];
      expect(await world.runHere(options)).toMatchObject({ exit_code: 3, stopped_by: null, failures });
      expect((await wholeRows(world, jockeys)).has(goneId)).toBe(false);
      expect(checkpointIds(world, jockeys).sort()).toEqual(ids.filter((id) => id !== goneId).sort());
    });

    const [deferred, instead] = [
      `create constraint trigger no_news after update on ra_jockeys deferrable initially deferred for each row`,
      'create trigger no_news before update on ra_jockeys for each row',
    ];
    const function_ = (body: string) =>
      `create function public.refuse() returns trigger language plpgsql as $$ begin ${body} end $$`;
    /** What a trigger lacks, or finds wrong, and not we. */
    const inTrigger = [
      ['lacks a function', 'perform no_such_function();', /function no_such_function\(\) does not exist \(42883\)/],
      ['lacks a table', 'insert into no_such_table values (1);', /relation "no_such_table" does not exist \(42P01\)/],
      ['lacks a column', 'perform new.no_such_column;', /has no field "no_such_column" \(42703\)/],
      [
        'lacks a right',
        `raise insufficient_privilege using message = 'denied for table ra_jockeys_audit';`,
        /denied for table ra_jockeys_audit \(42501\)/,
      ],
      ['asserts', `assert false, 'never';`, /never \(P0004\)/],
      ['comes too early', `raise object_not_in_prerequisite_state using message = 'early';`, /early \(55000\)/],
    ] as const;
    const kinds = [
      ...inTrigger.map(([what, body, reason]) => ({
        what: `a trigger refuses that ${what}`,
        how: (id: string) => [function_(body), `${instead} when (new.id = '${id}') execute function refuse()`],
        reason: new RegExp(`refuses its values: .*${reason.source}`),
        back: undefined,
      })),
      {
        what: 'a check constraint refuses',
        how: (id: string) => [`alter table ra_jockeys add constraint no_news check (id <> '${id}') not valid`],
        back: ['alter table ra_jockeys drop constraint no_news'],
        reason: /refuses its values: .*violates check constraint "no_news" \(23514\)/,
      },
      {
        what: 'a trigger refuses in words of its own',
        how: (id: string) => [
          function_(`raise 'not now';`),
          `${instead} when (new.id = '${id}') execute function refuse()`,
        ],
        reason: /refuses its values: not now \(P0001\)/,
      },
      {
        what: 'a trigger refuses at the end of the transaction',
        how: (id: string) => [
          function_(`raise 'too late';`),
          `${deferred} when (new.id = '${id}') execute function refuse()`,
        ],
        reason: /refuses its values: too late \(P0001\)/,
      },
      {
        what: 'a trigger passes over',
        how: (id: string) => [
          function_('return null;'),
          `${instead} when (new.id = '${id}') execute function refuse()`,
        ],
        reason: /^no update reaches its row in ra_jockeys: a trigger or row-level security/,
      },
    ];

    it.each(kinds)('that $what is a failure, and the others of its batch are written', async (kind) => {
      const [, lostId = ''] = ids;
      const before = await wholeRows(world, jockeys);
      await change(kind.how(lostId), kind.back ?? ['drop function refuse cascade']);
      const failures = [{ id: lostId, reason: expect.stringMatching(kind.reason) }];
      for (const options of [sweep, { ...walk, resume: true }]) {
        const report = await world.runHere(options);
        expect(report).toMatchObject({ exit_code: 3, stopped_by: null, failures });
        expect(report.lines.join()).not.toContain('row by row');
        expect((await wholeRows(world, jockeys)).get(lostId)).toBe(before.get(lostId));
      }
      const written = await timelessRows(world, [jockeys]);
      const others = ids.filter((id) => id !== lostId);
      for (const id of others) expect(written.get(id)).toEqual(right.get(id));
      expect(checkpointIds(world, jockeys).sort()).toEqual(others.sort());
    });

    it('and a few others that are refused for good are failures each time they are tried again', async () => {
      const lost = ids.slice(3, 8);
      await change(
        [`alter table ra_jockeys add constraint no_news check (id not in (${lost.map((id) => `'${id}'`)})) not valid`],
        ['alter table ra_jockeys drop constraint no_news'],
      );
      for (const options of [sweep, { ...walk, resume: true }]) {
        const report = await world.runHere(options);
        expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
        expect(report.failures.map(({ id }) => id).sort()).toEqual(lost.sort());
        for (const { reason } of report.failures) expect(reason).toContain('"no_news"');
      }
    });

    it.each(['PATCH', 'GET'])('that another row answers for is neither written nor gone, at a %s', async (method) => {
      await dropFunction();
      const [mine = '', other = ''] = ids;
      if (method === 'GET') {
        const trigger = `${instead} when (new.id = '${mine}') execute function refuse()`;
        await change([function_('return null;'), trigger], ['drop function refuse cascade']);
      }
      world.database.intercept = (request, _, next) => {
        if (request.method === method) request.url = request.url?.replace(`id=eq.${mine}`, `id=eq.${other}`);
        return next();
      };
      const report = await world.runHere(sweep);
      const told = expect.stringMatching(/^What answers for ra_jockeys is not Supabase's Data API/);
      expect(report).toMatchObject({ exit_code: 6, stopped_by: told, failures: [] });
      expect(checkpointIds(world, jockeys)).not.toContain(mine);
    });

    // Supabase Lite tells errors of a row as errors of the server.
    if (engine !== supabaseLite) {
      it('that the database refuses is a failure without the function too', async () => {
        const [, lostId = ''] = ids;
        await dropFunction();
        const policy = {
          how: (id: string) => [
            'alter role service_role nobypassrls',
            `create policy no_news on ra_jockeys using (true) with check (id <> '${id}')`,
          ],
          reason: /refuses its values: new row violates row-level security policy for table "ra_jockeys" \(42501\)/,
          back: ['alter role service_role bypassrls', 'drop policy no_news on ra_jockeys'],
        };
        const objections = [
          [
            `raise insufficient_privilege using message = 'permission denied for table ra_jockeys';`,
            /ra_jockeys \(42501\)/,
          ],
          [`raise undefined_column using message = 'no such column of ra_jockeys';`, /of ra_jockeys \(42703\)/],
          [`raise sqlstate '28000' using message = 'not you';`, /not you \(28000\)/],
          [`raise sqlstate '0LP01' using message = 'not yours';`, /not yours \(0LP01\)/],
          [`raise sqlstate 'PT302' using message = 'elsewhere';`, /elsewhere \(PT302\)/],
          [
            `raise sqlstate 'PGRST' using message = '{"code":"NEVER","message":"never"}', detail = '{"status":418,"headers":{}}';`,
            /never \(NEVER\)/,
          ],
          [`raise sqlstate 'PGRST' using message = 'no JSON';`, /PGRST121/],
        ] as const;
        const inWords = objections.map(([body, reason]) => ({
          how: (id: string) => [function_(body), `${instead} when (new.id = '${id}') execute function refuse()`],
          reason: new RegExp(`^the database refuses its values: .*${reason.source}`),
          back: undefined,
        }));
        for (const { how, back, reason } of [...kinds, ...inWords, policy]) {
          await sql(...how(lostId));
          const failures = [{ id: lostId, reason: expect.stringMatching(reason) }];
          const asked = vi.fn();
          world.database.intercept = ({ method }, _, next) => {
            if (method === 'PATCH') asked();
            return next();
          };
          expect(await world.runHere(sweep)).toMatchObject({ exit_code: 3, stopped_by: null, failures });
          // And of no row, to see whether it is this one.
          expect(asked.mock.calls.length).toBeLessThanOrEqual(ids.length + 1);
          await sql(...(back ?? ['drop function refuse cascade']));
        }
      });
      return;
    }

    // The same function tells so on either.
    it.each(kinds)('and 113 others that $what: the database has failed, and each is told', async (kind) => {
      const { how, back, reason } = kind;
      await addJockeys(100);
      const all = how('').map((statement) =>
        statement.replace(/\(id <> ''\)/, '(false)').replace(/when .* execute/, 'execute'),
      );
      await change(all, back ?? ['drop function refuse cascade']);
      const before = await wholeTables(world);
      const report = await world.runHere(sweep);
      const told = new RegExp(
        `^The database writes none of 114 rows of ra_jockeys, .* because .*${reason.source.replace('^', '')}`,
      );
      expect(report).toMatchObject({ exit_code: 6, stopped_by: expect.stringMatching(told) });
      expect(report.failures).toHaveLength(114);
      expect(report.failures[0]?.reason).toMatch(reason);
      expect(await wholeTables(world)).toEqual(before);
      expect(checkpointIds(world, jockeys)).toEqual([]);
    });
  });

  it('what is stored of ids is told of each, also where an answer holds fewer rows', async () => {
    const { database, close } = openServices(world, 1000);
    onTestFinished(close);
    const stored = await database.stored(jockeys, [...ids, 'jky_nobody']);
    expect(stored.map(({ id }) => id).sort()).toEqual([...ids].sort());
  });

  it('rows that do not exist are explained, however many they are and however their ids are spelled', async () => {
    const { database, close } = openServices(world, 1000);
    onTestFinished(close);
    const [row = {}] = right.values();
    const unknown = Array.from({ length: 201 }, (_, number) => `jky_"${number}\\",(*)`);
    const rows = unknown.map((id) => ({ ...row, id, stats_updated_at: null }));
    const present = { ...row, id: ids[0] ?? '', stats_updated_at: null };
    const found: string[] = [];
    for await (const { gone, refused } of database.writeStatistics(jockeys, [present, ...rows])) {
      found.push(...gone);
      expect(refused.size).toBe(0);
    }
    expect(found.sort()).toEqual(unknown.sort());
  });

  it('row-level security that lets updates match nothing ends the run and says so', async () => {
    const grant = (verb: string) => `${verb} execute on function populate_statistics(text, jsonb)`;
    await change(
      ['create policy read_all on ra_jockeys for select to anon using (true)', `${grant('grant')} to anon`],
      ['drop policy read_all on ra_jockeys', `${grant('revoke')} from anon`],
    );
    await addJockeys(100);
    const report = await world.runHere(sweep, { serviceKey: world.database.publishableKey });
    expect(report).toMatchObject({
      exit_code: 6,
      stopped_by: expect.stringMatching(/row-level security.*service_role/),
    });
  });

  // What is answered in the database's place is the same whichever it is.
  if (engine !== supabaseLite) return;

  const passing = [
    { name: 'a statement timeout', fault: answer(500, { code: '57014', message: 'canceling statement', hint: null }) },
    { name: '503', fault: answer(503, { message: 'upstream connect error' }) },
    {
      name: '502 as an HTML page',
      fault: (response: ServerResponse) => response.writeHead(502).end('<html>Bad</html>'),
    },
    { name: 'a reset', fault: (response: ServerResponse) => response.socket?.resetAndDestroy() },
    { name: 'a lost connection pool', fault: answer(504, { code: 'PGRST003', message: 'Timed out' }) },
    {
      name: 'a schema cache that is not there yet',
      fault: answer(503, { code: 'PGRST002', message: 'Could not query' }),
    },
    { name: 'an empty 400, as of a cut connection', fault: answer(400, { code: '', details: null, message: '' }) },
    { name: 'an answer that is cut off', fault: cutOff((response) => response.end()) },
    {
      name: 'an answer that is cut to nothing',
      fault: (response: ServerResponse) => response.writeHead(200, { 'content-type': 'application/json' }).end(),
    },
    { name: 'an answer that breaks off', fault: cutOff((response) => response.socket?.destroy()) },
    // Only their codes tell that they pass.
    { name: 'a failover to a copy', fault: answer(405, { code: '25006', message: 'read-only transaction' }) },
    { name: 'a serialization failure', fault: answer(400, { code: '40001', message: 'could not serialize' }) },
    { name: 'too many connections', fault: answer(400, { code: '53300', message: 'too many connections' }) },
    { name: 'a deadlock', fault: answer(400, { code: '40P01', message: 'deadlock detected' }) },
  ];

  describe('a fault that passes', () => {
    it.each(passing)('$name: every request succeeds at the third try', async ({ fault }) => {
      const tries = new Map<string, number>();
      injectAnswer(fault, ({ method, url }) => {
        const made = (tries.get(`${method} ${url}`) ?? 0) + 1;
        tries.set(`${method} ${url}`, made);
        return made <= 2;
      });
      const lines = await expectAllWritten(sweep);
      const told = lines.filter((line) => line.startsWith('Waiting for the database about ra_jockeys: '));
      expect(told).toHaveLength(1);
      expect(told[0]).not.toContain('secret_row');
    });

    it('a row that comes in two pages is taken once', async () => {
      world.database.intercept = (request, _, next) => {
        request.url = request.url?.replace('id=gt.', 'id=gte.');
        return next();
      };
      await expectAllWritten(sweep);
    });

    it.each([0, 2])(
      'a function that the schema cache misses for a moment is asked for again, after %d others',
      async (others) => {
        const unknown = answer(404, {
          code: 'PGRST202',
          message: 'Could not find the function public.populate_statistics',
        });
        const faults = [...Array.from({ length: others }, () => answer(503, {})), unknown];
        injectAnswer(
          (response) => faults.shift()?.(response),
          (request) => isWrite(request) && faults.length > 0,
        );
        expect((await expectAllWritten(sweep)).join()).not.toContain('is not installed');
        expect(faults).toEqual([]);
      },
    );

    it('an answer that never comes is given up and asked for again', async () => {
      answersIn(500);
      const hang = vi.fn();
      injectAnswer(hang, (request) => isWrite(request) && hang.mock.calls.length === 0);
      const lines = (await expectAllWritten(sweep)).filter((line) => line.startsWith('Waiting for the database'));
      expect(lines).toEqual([expect.stringMatching(/about ra_jockeys: no answer for 5 s; it may be overloaded/)]);
      expect(hang).toHaveBeenCalledTimes(1);
    });
  });

  describe('a fault that lasts', () => {
    it('an API that answers no write: many rows are asked for once, then fewer as often as all else', async () => {
      answersIn(50);
      await addJockeys(100);
      const hang = vi.fn();
      injectAnswer(hang, isWrite);
      await expectStopped(sweep, unreachable);
      expect(hang).toHaveBeenCalledTimes(1 + 6);
    });

    const unreachable = /^The database cannot be reached or does not answer\. Check SUPABASE_URL/;

    it('while selecting is asked about six times, and nothing is asked of the API', async () => {
      const fault = vi.fn(answer(503, {}));
      injectAnswer(fault, ({ method }) => method === 'HEAD' || method === 'GET');
      await expectStopped(walk, unreachable);
      expect(fault).toHaveBeenCalledTimes(6);
      expect(world.api.calls).toEqual([]);
    });

    it.each([walk, sweep])('while writing a $strategy: no row, no id in the checkpoint', async (options) => {
      injectAnswer(answer(503, {}), isWrite);
      await expectStopped(options, unreachable);
    });

    it.each([
      {
        name: 'no privilege',
        status: 400,
        body: { code: '42501', message: 'denied' },
        told: /SUPABASE_SERVICE_KEY.*grant .* on ra_jockeys/,
      },
      { name: 'an expired JWT', status: 400, body: { code: 'PGRST301', message: '' }, told: aboutKey },
      { name: 'another error', status: 400, body: { code: 'PGRST100', message: 'parse error' }, told: /PGRST100/ },
      {
        name: 'an error that tells itself otherwise',
        status: 400,
        body: { code: 404, message: { text: 'not here' } },
        told: /not here/,
      },
      { name: 'a body of another shape', status: 200, body: { hello: 'world' }, told: /SUPABASE_URL/ },
    ])('$name ends the run at once', async ({ status, body, told }) => {
      const fault = vi.fn(answer(status, body));
      injectAnswer(fault, () => true);
      await expectStopped(walk, told);
      expect(fault.mock.calls.length).toBeLessThanOrEqual(2);
      expect(world.api.calls).toEqual([]);
    });

    it.each(['22P02', '23514', '44000', 'P0001'])("%s on a read is the database's failure and no bug", async (code) => {
      injectAnswer(answer(400, { code, message: 'it says so' }), () => true);
      await expectStopped(walk, new RegExp(`it says so \\(${code}\\)`));
    });

    it.each(['53100', '25006', '40P01'])(
      '%s to the end is told as what the database says, not as its absence',
      async (code) => {
        injectAnswer(answer(503, { code, message: 'it says so' }), () => true);
        await expectStopped(
          walk,
          new RegExp(`^The database cannot do what it is asked .* \\(it says so \\(${code}\\)\\)$`),
        );
      },
    );

    it('a paused project is told', async () => {
      injectAnswer(answer(540, { message: 'Project paused' }), () => true);
      await expectStopped(walk, /^The project is paused: restore it/);
    });

    it('a redirect is not followed with the key', async () => {
      const asked = vi.fn();
      const elsewhere = createServer((request, response) => {
        asked(request.headers);
        response.end('[]');
      });
      const url = await listen(elsewhere);
      onTestFinished(() => stop(elsewhere));
      injectAnswer(
        (response) => response.writeHead(307, { location: `${url}/rest/v1/` }).end(),
        () => true,
      );
      await expectStopped(walk, new RegExp(`SUPABASE_URL.*redirects to ${new URL(url).host}`));
      expect(asked).not.toHaveBeenCalled();
    });

    it.each([walk, sweep, { ...sweep, limit: 2 }])(
      'another host that answers [] from the first write on has written nothing: %j',
      async (options) => {
        let isAnother = false;
        injectAnswer(answer(200, []), (request) => {
          isAnother ||= isWrite(request);
          return isAnother;
        });
        await expectStopped(options, /^What answers for ra_jockeys is not Supabase's Data API\. Check SUPABASE_URL/);
      },
    );

    it.each([
      { written: 13, gone: ['jky_nobody'], unreached: [], refused: {} },
      { written: 13, gone: [], unreached: [], refused: {} },
      { written: 12, gone: ['first'], unreached: [], refused: { first: 'no' } },
      { written: 12, gone: ['first'], unreached: ['first'], refused: {} },
      { written: 13, gone: ['first', 'first'], unreached: [], refused: {} },
      { written: 13, gone: [], unreached: ['first'], refused: { first: 'no' } },
    ])('an answer that does not account for each row is no success: %j', async (outcome) => {
      const body = JSON.parse(JSON.stringify(outcome).replaceAll('first', ids[0] ?? ''));
      injectAnswer(answer(200, body), isWrite);
      await expectStopped(sweep, /does not account for the 14 rows of ra_jockeys/);
    });

    it('a page that is wrongly empty is noticed', async () => {
      injectAnswer(
        (response) => response.writeHead(200, { 'content-range': '*/*' }).end('[]'),
        ({ url }) => url?.includes('id=gt.') ?? false,
      );
      await expectStopped(walk, /^The database has 17 rows of ra_jockeys and answered with 7 of them\. Run again/);
    });

    it('what is said of rows shows no key and steers no terminal', async () => {
      await addJockeys(100);
      const { serviceKey } = world.database;
      const rows = await world.database.query<{ id: string }>(`select id from ra_jockeys where id like 'jky%'`);
      const refused = Object.fromEntries(rows.map(({ id }) => [id, `\u001b[2J ${serviceKey}`]));
      injectAnswer(answer(200, { written: 0, gone: [], unreached: [], refused }), isWrite);
      const report = await world.runHere(sweep);
      expect(report).toMatchObject({ exit_code: 6, stopped_by: expect.stringContaining('[2J [key]') });
      expect(JSON.stringify(report)).not.toContain(serviceKey);
      expect(report.stopped_by).not.toContain('\u001b');
    });
  });
});

it('trouble is told anew when its kind changes, and some time after a success', async () => {
  const answers = ['503', 'ok', '503', 'ok', 'later', '503', '57014', 'ok'];
  let offsetMs = 0;
  const now = performance.now.bind(performance);
  const spy = vi.spyOn(performance, 'now').mockImplementation(() => now() + offsetMs);
  const server = createServer((_, response) => {
    if (answers[0] === 'later') {
      answers.shift();
      offsetMs += 6_000;
    }
    const answer = answers.shift();
    if (answer === 'ok') response.writeHead(200, { 'content-range': '0-0/1' }).end('[{"id":"jky_1"}]');
    else response.writeHead(503).end(JSON.stringify({ code: answer === '503' ? '' : answer, message: `no ${answer}` }));
  });
  const url = await listen(server);
  onTestFinished(async () => {
    spy.mockRestore();
    await stop(server);
  });
  const { database, lines } = openQuickly(url);
  for (const _ of ['at once', 'soon again', 'later']) expect(await database.checkTable(jockeys)).toBe(1);
  const told = (what: string) => expect.stringContaining(`Waiting for the database about ra_jockeys: no ${what}`);
  expect(lines).toEqual([told('503'), told('503'), told('57014; it may be overloaded')]);
});

/** Opens the Data API of a host, with short waits; `lines` takes what is told. */
function openQuickly(url: string) {
  const lines: string[] = [];
  const tell: Tell = (event) => event.kind === 'line' && lines.push(event.line);
  const { signal } = new AbortController();
  return { lines, database: createDatabase({ url, serviceKey: 'sb_secret_1', tell, signal, firstRetryMs: 1 }) };
}

describe('a host that cannot be reached is told with its name and the cause', () => {
  const closedPort = async () => {
    const server = createServer();
    const url = await listen(server);
    await stop(server);
    return url;
  };

  it.each([
    { where: closedPort, told: /does not answer\. Check SUPABASE_URL.*127\.0\.0\.1:\d+: connect ECONNREFUSED/ },
    { where: async () => 'http://project.invalid', told: /host name is not known\. A project that is paused.*invalid/ },
  ])('$told, after six tries', async ({ where, told }) => {
    const url = await where();
    const asked = vi.spyOn(globalThis, 'fetch');
    onTestFinished(() => asked.mockRestore());
    const waiting = `Waiting for the database about ra_jockeys: ${new URL(url).host}: `;
    expect(await expectUnreachable(url, told)).toEqual([expect.stringContaining(waiting)]);
    expect(asked).toHaveBeenCalledTimes(6);
  });

  it.runIf(hasOpenssl)('a certificate that nobody vouches for, at once', async () => {
    const server = createSecureServer(selfSignedCertificate());
    const url = (await listen(server)).replace('http:', 'https:');
    onTestFinished(() => stop(server));
    expect(await expectUnreachable(url, /certificate.*not to be trusted.*127\.0\.0\.1:\d+: self.signed/)).toEqual([]);
  });

  /** Returns the lines that were told meanwhile. */
  async function expectUnreachable(url: string, told: RegExp): Promise<string[]> {
    const { database, lines } = openQuickly(url);
    const failed = { exitCode: 6, message: expect.stringMatching(told) };
    await expect(database.checkTable(jockeys)).rejects.toMatchObject(failed);
    return lines;
  }
});
