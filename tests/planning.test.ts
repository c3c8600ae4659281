import { expect, it } from 'vitest';
import { jockeys, startTinyWorld } from './faults.js';
import { expectNaiveRows, until } from './watching.js';
import { sharedWorld } from './world.js';

const world = sharedWorld(startTinyWorld);

const isPageOfIds = (url = '') => url.includes('/ra_') && url.includes('order=id');

it('a sweep begins while the ids are still being read, and waits for them to write', async () => {
  const held: (() => Promise<void>)[] = [];
  world.database.intercept = (request, _response, next) => (isPageOfIds(request.url) ? void held.push(next) : next());
  // Everything, and more than a sweep takes requests: known before any id.
  await world.database.query(
    `insert into ra_owners select 'own_retired_' || n, 'Retired' from generate_series(1, 140) n`,
  );
  try {
    const running = world.runHere();
    await until('all pages of the sweep', () => world.api.calls.length >= 5);
    expect(held.length).toBeGreaterThanOrEqual(1);
    world.database.intercept = undefined;
    for (const next of held) void next();
    expect(await running).toMatchObject({ exit_code: 0, strategy: 'sweep', failures: [] });
  } finally {
    await world.database.query(`delete from ra_owners where id like 'own_retired_%'`);
  }
  await expectNaiveRows(world);
});

it('ids that cannot be read end a sweep that has begun', async () => {
  await world.database.query(
    `insert into ra_owners select 'own_retired_' || n, 'Retired' from generate_series(1, 140) n`,
  );
  world.database.intercept = (request, response, next) =>
    isPageOfIds(request.url) ? void response.writeHead(403).end('{}') : next();
  // No page after the first ones is answered.
  world.api.options.intercept = (call, _response, next) => (call.number <= 2 ? next() : undefined);
  try {
    expect(await world.runHere()).toMatchObject({ exit_code: 6, strategy: 'sweep', overall: { total_successful: 0 } });
  } finally {
    await world.database.query(`delete from ra_owners where id like 'own_retired_%'`);
  }
});

it.each([{ strategy: 'sweep' } as const, {}])(
  'a sweep that is sure to come begins before anything is known of the tables: %o',
  async (options) => {
    if (!('strategy' in options)) {
      await world.runHere({ strategy: 'sweep' });
      world.api.calls.length = 0;
    }
    const held: (() => Promise<void>)[] = [];
    world.database.intercept = (_request, _response, next) => void held.push(next);
    const running = world.runHere(options);
    await until('all pages of the sweep', () => world.api.calls.length >= 5);
    world.database.intercept = undefined;
    for (const next of held) void next();
    const { lines, ...report } = await running;
    expect(report).toMatchObject({ exit_code: 0, strategy: 'sweep', overall: { total_successful: 30 } });
    expect(lines.join('\n')).toMatch(/^Everything: sweeping about \d+ pages, about \S+ at 500 requests\/s$/m);
    await expectNaiveRows(world);
  },
);

it('auto takes what was the cheaper way by the last sweep', async () => {
  const chosen = async (limit: number) => (await world.runHere({ entities: [jockeys], limit })).strategy;
  expect(await chosen(10)).toBe('walk');
  const { requests } = await world.runHere({ entities: [jockeys], strategy: 'sweep' });
  expect(requests).toBeLessThan(10);
  // A page each, that is.
  await world.database.query('update ra_jockeys set recent_30d_rides = 0');
  expect(await chosen(requests)).toBe('walk');
  expect(await chosen(requests + 1)).toBe('sweep');
});

it('auto counts several pages for those who have raced much of late', async () => {
  await world.database.query(`update ra_jockeys set recent_30d_rides = 75`);
  const lines = async (limit: number) =>
    (await world.runHere({ entities: [jockeys], limit, dryRun: true })).lines.join('\n');
  // 75 in thirty days are 913 in a year: ten pages.
  expect(await lines(13)).toContain('13 entities: walking, about 130 requests');
  expect(await lines(14)).toContain(
    '14 entities: sweeping about 132 pages, about 0.3s at 500 requests/s (walking: about',
  );
});
