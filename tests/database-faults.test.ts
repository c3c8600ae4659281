import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  checkpointIds,
  figures,
  idsInOrder,
  type StoredStatistics,
  startTinyWorld,
  storeEarlierStatistics,
  typeNamed,
  wholeRows,
  wholeTables,
} from './faults.js';
import type { World } from './world.js';

const jockeys = typeNamed('jockeys');
const walk = { entities: [jockeys], strategy: 'walk' } as const;
const sweep = { entities: [jockeys], strategy: 'sweep' } as const;
const migration = '20251101000000_entity_statistics.sql';

let world: World;
let stored: StoredStatistics;
let right: Map<string, unknown>;
let ids: string[];

beforeAll(async () => {
  world = await startTinyWorld();
  stored = await storeEarlierStatistics(world);
  await world.runHere(sweep);
  right = await figures(world, jockeys);
  ids = await idsInOrder(world, jockeys);
});
beforeEach(() => stored.restore());
afterAll(() => world.close());

const sql = (...statements: string[]) =>
  statements.reduce(
    (before, statement) => before.then(() => world.database.query(statement)),
    Promise.resolve<unknown>(0),
  );
const reloadSchema = `notify pgrst, 'reload schema'`;
const always = () => true;
const isWrite = ({ method }: IncomingMessage) => method !== 'GET';

/** Answers the requests that `hits` chooses in the database's place. */
function injectAnswer(
  fault: (response: ServerResponse) => unknown,
  hits: (request: IncomingMessage, number: number) => boolean,
): void {
  let number = 0;
  world.database.intercept = (request, response, next) => {
    number += 1;
    return hits(request, number) ? void fault(response) : next();
  };
}

const answer = (status: number, body: object | string) => (response: ServerResponse) =>
  response
    .writeHead(status, { 'content-type': 'application/json' })
    .end(typeof body === 'string' ? body : JSON.stringify(body));

const timeout = {
  code: '57014',
  message: 'canceling statement due to statement timeout',
  details: null,
  hint: null,
};
const passing = [
  { name: 'a statement timeout', fault: answer(500, timeout) },
  { name: '503', fault: answer(503, { message: 'upstream connect error' }) },
  { name: '502 as an HTML page', fault: answer(502, '<html>Bad Gateway</html>') },
  { name: 'a reset', fault: (response: ServerResponse) => response.socket?.resetAndDestroy() },
  {
    name: 'a lost connection pool',
    fault: answer(504, { code: 'PGRST003', message: 'Timed out acquiring connection' }),
  },
];

describe('a fault that passes', () => {
  it.each(passing)('$name: every request succeeds at the third try', async ({ fault }) => {
    const tries = new Map<string, number>();
    world.database.intercept = (request, response, next) => {
      const key = `${request.method} ${request.url}`;
      tries.set(key, (tries.get(key) ?? 0) + 1);
      return (tries.get(key) ?? 0) <= 2 ? void fault(response) : next();
    };
    expect(await world.runHere(sweep)).toMatchObject({ exit_code: 0, failures: [] });
    expect(await figures(world, jockeys)).toEqual(right);
  });

  it('an answer that never comes is given up and asked for again', async () => {
    const timer = AbortSignal.timeout.bind(AbortSignal);
    const spy = vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => timer(ms / 60));
    try {
      let hung = 0;
      injectAnswer(
        () => {
          hung += 1;
        },
        (request) => isWrite(request) && hung === 0,
      );
      expect(await world.runHere(sweep)).toMatchObject({ exit_code: 0, failures: [] });
      expect(hung).toBe(1);
      expect(spy).toHaveBeenCalledWith(30_000);
      expect(await figures(world, jockeys)).toEqual(right);
    } finally {
      spy.mockRestore();
    }
  });
});

describe('a fault that lasts', () => {
  it.each(passing)('$name while selecting: nothing is asked of the API', async ({ fault }) => {
    injectAnswer(fault, always);
    const report = await world.runHere(walk);
    expect(report).toMatchObject({ exit_code: 6, requests: 0, failures: [] });
    expect(report.stopped_by).toMatch(
      /^The database cannot be reached or does not answer\. Check SUPABASE_URL/,
    );
    expect(world.api.calls).toEqual([]);
  });

  it.each([walk, sweep])(
    '503 while writing a $strategy: no row, no id in the checkpoint',
    async (options) => {
      injectAnswer(answer(503, {}), isWrite);
      const before = await wholeTables(world);
      expect(await world.runHere(options)).toMatchObject({ exit_code: 6, failures: [] });
      expect(await wholeTables(world)).toEqual(before);
      expect(checkpointIds(world, jockeys)).toEqual([]);
    },
  );

  it.each([
    { name: 'a wrong key', fault: answer(401, { message: 'Invalid API key' }), told: 'SUPABASE_SERVICE_KEY' },
    {
      name: 'no privilege',
      fault: answer(403, { code: '42501', message: 'permission denied' }),
      told: 'SUPABASE_SERVICE_KEY',
    },
    {
      name: 'an expired JWT',
      fault: answer(401, { code: 'PGRST301', message: 'JWT expired' }),
      told: 'SUPABASE_SERVICE_KEY',
    },
    {
      name: 'another error',
      fault: answer(400, { code: 'PGRST100', message: 'parse error' }),
      told: 'PGRST100',
    },
    { name: 'a body of another shape', fault: answer(200, { hello: 'world' }), told: 'SUPABASE_URL' },
  ])('$name ends the run at once', async ({ fault, told }) => {
    let asked = 0;
    injectAnswer(fault, () => {
      asked += 1;
      return true;
    });
    const report = await world.runHere(walk);
    expect(report).toMatchObject({ exit_code: 6, requests: 0 });
    expect(report.stopped_by).toContain(told);
    expect(asked).toBeLessThanOrEqual(2);
  });

  it('the wrong key of this project is refused', async () => {
    const serviceKey = `${world.database.serviceKey.slice(0, -4)}AAAA`;
    const report = await world.runHere(walk, { serviceKey });
    expect(report).toMatchObject({ exit_code: 6, requests: 0 });
    expect(report.stopped_by).toContain('SUPABASE_SERVICE_KEY');
  });
});

describe('the schema', () => {
  it.each([
    {
      what: 'table',
      change: 'alter table ra_owners rename to ra_owners_elsewhere',
      back: 'alter table ra_owners_elsewhere rename to ra_owners',
    },
    {
      what: 'column',
      change: 'alter table ra_owners rename column recent_30d_wins to other',
      back: 'alter table ra_owners rename column other to recent_30d_wins',
    },
  ])('a missing $what is told with its migration before any request', async ({ change, back }) => {
    await sql(change, reloadSchema);
    try {
      const report = await world.runHere();
      expect(report).toMatchObject({ exit_code: 6, requests: 0, failures: [] });
      expect(report.stopped_by).toContain(migration);
      expect(report.stopped_by).toContain('ra_owners');
      expect(world.api.calls).toEqual([]);
    } finally {
      await sql(back, reloadSchema);
    }
  });

  it.each([walk, sweep])(
    'without the function a $strategy writes the same rows one by one',
    async (options) => {
      await sql('drop function populate_statistics(text, jsonb)', reloadSchema);
      try {
        const report = await world.runHere(options);
        expect(report).toMatchObject({ exit_code: 0, failures: [] });
        expect(
          report.lines.filter((line) => line.includes('populate_statistics is not installed')),
        ).toHaveLength(1);
        expect(await figures(world, jockeys)).toEqual(right);
      } finally {
        await world.database.migrate();
      }
    },
  );
});

describe('one row', () => {
  it.each([walk, sweep])('deleted while a $strategy gathers is a failure', async (options) => {
    const [, goneId = ''] = ids;
    const [gone] = await world.database.query<object>(`select * from ra_jockeys where id = '${goneId}'`);
    world.database.intercept = async (request, _, next) => {
      if (isWrite(request)) await sql(`delete from ra_jockeys where id = '${goneId}'`);
      await next();
    };
    try {
      const report = await world.runHere(options);
      expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
      expect(report.failures).toMatchObject([{ id: goneId, reason: 'its row is no longer in ra_jockeys' }]);
      expect((await wholeRows(world, jockeys)).has(goneId)).toBe(false);
      expect(checkpointIds(world, jockeys).sort()).toEqual(ids.filter((id) => id !== goneId).sort());
    } finally {
      await sql(
        `insert into ra_jockeys select * from jsonb_populate_record(null::ra_jockeys, '${JSON.stringify(gone)}')`,
      );
    }
  });

  it('whose values a check constraint refuses is a failure, the others of its batch are written', async () => {
    const [, refusedId = ''] = ids;
    const before = await wholeRows(world, jockeys);
    // As PostgREST answers to a check constraint; Supabase Lite would call it an error of the server.
    await sql(
      `create function refuse() returns trigger language plpgsql as $$ begin
         raise sqlstate 'PGRST' using detail = '{"status": 400, "headers": {}}', message =
           '{"code": "23514", "message": "violates check constraint no_news", "details": "", "hint": ""}';
       end $$`,
      `create trigger no_news before update on ra_jockeys for each row when (new.id = '${refusedId}')
         execute function refuse()`,
    );
    try {
      const report = await world.runHere(sweep);
      expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
      expect(report.failures).toMatchObject([
        { id: refusedId, reason: expect.stringMatching(/refuses its values.*no_news.*23514/) },
      ]);
      expect((await wholeRows(world, jockeys)).get(refusedId)).toBe(before.get(refusedId));
      const after = await figures(world, jockeys);
      for (const id of ids) if (id !== refusedId) expect(after.get(id)).toEqual(right.get(id));
    } finally {
      await sql('drop function refuse cascade');
    }
  });
});

describe('row-level security that lets updates match nothing', () => {
  beforeAll(() =>
    sql(
      'create policy read_all on ra_jockeys for select to anon using (true)',
      'grant execute on function populate_statistics(text, jsonb) to anon',
    ),
  );
  afterAll(() =>
    sql(
      'drop policy read_all on ra_jockeys',
      'revoke execute on function populate_statistics(text, jsonb) from anon',
    ),
  );

  it('ends the run and says so', async () => {
    const before = await wholeTables(world);
    const report = await world.runHere(walk, { serviceKey: world.database.publishableKey });
    expect(report).toMatchObject({ exit_code: 6, failures: [] });
    expect(report.stopped_by).toMatch(/row-level security.*service_role/);
    expect(await wholeTables(world)).toEqual(before);
    expect(checkpointIds(world, jockeys)).toEqual([]);
  });
});
