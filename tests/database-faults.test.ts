import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import type { PopulateOptions } from '../src/options.js';
import { describeOnEachEngine } from './engines.js';
import { checkpointIds, type StoredWorld, startStoredWorld, typeNamed, wholeRows, wholeTables } from './faults.js';
import { expectNaiveRows, timelessRows } from './watching.js';
import { openServices, type World } from './world.js';

const jockeys = typeNamed('jockeys');
const walk = { entities: [jockeys], strategy: 'walk' } as const;
const sweep = { entities: [jockeys], strategy: 'sweep' } as const;

describeOnEachEngine((engine) => {
  let world: World;
  let stored: StoredWorld;
  let right: StoredWorld['right'];
  let ids: string[];

  beforeAll(async () => {
    // So that every table is read in several pages.
    stored = await startStoredWorld({ engine, maxRows: 7 });
    ({ world, right, ids } = stored);
  });
  beforeEach(() => stored.restore());
  afterAll(() => world.close());

  async function sql(...statements: string[]): Promise<void> {
    for (const statement of statements) await world.database.query(statement);
  }

  /** Changes the database until the test ends. */
  async function change(statements: string[], back: string[]): Promise<void> {
    const reload = `notify pgrst, 'reload schema'`;
    onTestFinished(() => sql(...back, reload));
    await sql(...statements, reload);
  }

  async function dropFunction(): Promise<void> {
    onTestFinished(() => world.database.migrate());
    await sql('drop function populate_statistics(text, jsonb)', `notify pgrst, 'reload schema'`);
  }

  const isWrite = ({ method }: IncomingMessage) => method !== 'GET';

  /** Answers the requests that `hits` chooses in the database's place. */
  function injectAnswer(
    fault: (response: ServerResponse) => unknown,
    hits: (request: IncomingMessage) => boolean,
  ): void {
    world.database.intercept = (request, response, next) => (hits(request) ? void fault(response) : next());
  }

  const answer = (status: number, body: object) => (response: ServerResponse) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

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

  const passing = [
    { name: 'a statement timeout', fault: answer(500, { code: '57014', message: 'canceling statement', hint: null }) },
    { name: '503', fault: answer(503, { message: 'upstream connect error' }) },
    {
      name: '502 as an HTML page',
      fault: (response: ServerResponse) => response.writeHead(502).end('<html>Bad</html>'),
    },
    { name: 'a reset', fault: (response: ServerResponse) => response.socket?.resetAndDestroy() },
    { name: 'a lost connection pool', fault: answer(504, { code: 'PGRST003', message: 'Timed out' }) },
    // Only its code tells that it passes.
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
      await expectAllWritten(sweep);
    });

    it('an answer that never comes is given up and asked for again', async () => {
      const timer = AbortSignal.timeout.bind(AbortSignal);
      const spy = vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => timer(ms / 150));
      onTestFinished(() => spy.mockRestore());
      const hang = vi.fn();
      injectAnswer(hang, (request) => isWrite(request) && hang.mock.calls.length === 0);
      await expectAllWritten(sweep);
      expect(hang).toHaveBeenCalledTimes(1);
      expect(spy).toHaveBeenCalledWith(30_000);
    });
  });

  describe('a fault that lasts', () => {
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
      { name: 'no privilege', status: 400, body: { code: '42501', message: 'denied' }, told: /SUPABASE_SERVICE_KEY/ },
      { name: 'an expired JWT', status: 400, body: { code: 'PGRST301', message: '' }, told: /SUPABASE_SERVICE_KEY/ },
      { name: 'another error', status: 400, body: { code: 'PGRST100', message: 'parse error' }, told: /PGRST100/ },
      { name: 'a body of another shape', status: 200, body: { hello: 'world' }, told: /SUPABASE_URL/ },
    ])('$name ends the run at once', async ({ status, body, told }) => {
      const fault = vi.fn(answer(status, body));
      injectAnswer(fault, () => true);
      await expectStopped(walk, told);
      expect(fault.mock.calls.length).toBeLessThanOrEqual(2);
      expect(world.api.calls).toEqual([]);
    });

    it('the wrong key of this project is refused', async () => {
      await expectStopped(walk, /SUPABASE_SERVICE_KEY/, `${world.database.serviceKey.slice(0, -4)}AAAA`);
      expect(world.api.calls).toEqual([]);
    });
  });

  describe('the schema', () => {
    it.each([
      ['table', 'rename to elsewhere', 'alter table elsewhere rename to ra_owners'],
      ['column', 'rename recent_30d_wins to other', 'alter table ra_owners rename other to recent_30d_wins'],
    ])('a missing %s is told with its migration before any request', async (_, rename, back) => {
      await change([`alter table ra_owners ${rename}`], [back]);
      const report = await world.runHere();
      expect(report).toMatchObject({ exit_code: 6, requests: 0, failures: [] });
      expect(report.stopped_by).toMatch(/ra_owners.*20251101000000_entity_statistics\.sql/);
      expect(world.api.calls).toEqual([]);
    });

    it.each([walk, sweep])('without the function a $strategy writes the same rows one by one', async (options) => {
      await dropFunction();
      const lines = await expectAllWritten({ ...options, entities: entityTypes });
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

    it('whose values a check constraint refuses is a failure, the others of its batch are written', async () => {
      const [, refusedId = ''] = ids;
      const before = await wholeRows(world, jockeys);
      // As PostgREST answers to a check constraint; Supabase Lite would call it an error of the server.
      const refuse = `create function refuse() returns trigger language plpgsql as $$ begin
      raise sqlstate 'PGRST' using detail = '{"status": 400, "headers": {}}', message =
        '{"code": "23514", "message": "violates check constraint no_news", "details": "", "hint": ""}';
      end $$`;
      const trigger = `create trigger no_news before update on ra_jockeys for each row when (new.id = '${refusedId}')
      execute function refuse()`;
      await change([refuse, trigger], ['drop function refuse cascade']);
      const failures = [{ id: refusedId, reason: expect.stringMatching(/refuses its values.*no_news.*23514/) }];
      expect(await world.runHere(sweep)).toMatchObject({ exit_code: 3, stopped_by: null, failures });
      expect((await wholeRows(world, jockeys)).get(refusedId)).toBe(before.get(refusedId));
      const written = await timelessRows(world, [jockeys]);
      for (const id of ids.filter((one) => one !== refusedId)) expect(written.get(id)).toEqual(right.get(id));
    });
  });

  it('rows that do not exist are explained, however many they are and however their ids are spelled', async () => {
    const { api, database } = openServices(world, 1000);
    onTestFinished(() => api.close());
    const [row = {}] = right.values();
    const unknown = Array.from({ length: 201 }, (_, number) => `jky_"${number}\\",(*)`);
    const rows = unknown.map((id) => ({ ...row, id, stats_updated_at: null }));
    const reasons = await database.writeStatistics(jockeys, rows);
    expect([...reasons.keys()].sort()).toEqual(unknown.sort());
    expect(new Set(reasons.values())).toEqual(new Set(['its row is no longer in ra_jockeys']));
    // Among so many, one that is there after all.
    const hidden = 'jky_"\\",(*)';
    await change(
      [`insert into ra_jockeys values ('${hidden}', 'Hidden')`],
      [`delete from ra_jockeys where name = 'Hidden'`],
    );
    injectAnswer(answer(200, [...unknown.slice(0, 150), hidden]), isWrite);
    await expect(database.writeStatistics(jockeys, [])).rejects.toThrow('row-level security');
  });

  it('row-level security that lets updates match nothing ends the run and says so', async () => {
    const grant = (verb: string) => `${verb} execute on function populate_statistics(text, jsonb)`;
    await change(
      ['create policy read_all on ra_jockeys for select to anon using (true)', `${grant('grant')} to anon`],
      ['drop policy read_all on ra_jockeys', `${grant('revoke')} from anon`],
    );
    await expectStopped(walk, /row-level security.*service_role/, world.database.publishableKey);
  });
});
