import { afterEach, describe, expect, it } from 'vitest';
import { makeSeason, newestFirst, type SeasonRace } from '../demo/season.js';
import {
  makeRateLimit,
  type SimulatedRacingApi,
  type SimulatedRacingApiOptions,
  startSimulatedRacingApi,
} from '../demo/simulator.js';

/** ResultsStandardPage, as far as it is read here. */
interface ResultsPage {
  results: { race_id: string; date: string; off_dt: string; runners: Record<string, string>[] }[] | null;
  total: number;
}

const today = '2026-07-01';
const season = makeSeason({ today, jockeys: 40, trainers: 30, owners: 120, races: 300 });
const login = { username: 'user', password: 'pass:word' };
const RACE_FIELDS = (
  'race_id date region course course_id off off_dt race_name type class pattern rating_band age_band sex_rest dist ' +
  'dist_y dist_m dist_f going surface jumps winning_time_detail comments non_runners tote_win tote_pl tote_ex ' +
  'tote_csf tote_tricast tote_trifecta'
).split(' ');
const RUNNER_FIELDS = (
  'horse_id horse sp sp_dec bsp number position draw btn ovr_btn age sex weight weight_lbs headgear time or rpr tsr ' +
  'prize jockey jockey_claim_lbs jockey_id trainer trainer_id owner owner_id sire sire_id dam dam_id damsire ' +
  'damsire_id comment silk_url'
).split(' ');

let open: SimulatedRacingApi | undefined;
afterEach(() => open?.close());

async function start(options: Partial<SimulatedRacingApiOptions> = {}): Promise<SimulatedRacingApi> {
  const unlimited = { season, ...login, requestsPerSecond: Number.POSITIVE_INFINITY };
  open = await startSimulatedRacingApi({ ...unlimited, ...options });
  return open;
}

function ask(api: SimulatedRacingApi, path: string, { method = 'GET', password = login.password } = {}) {
  const authorization = `Basic ${Buffer.from(`${login.username}:${password}`).toString('base64')}`;
  return fetch(`${api.url}${path}`, { method, headers: { authorization } });
}

async function page(api: SimulatedRacingApi, path: string): Promise<ResultsPage> {
  const response = await ask(api, path);
  expect(response.status).toBe(200);
  return (await response.json()) as ResultsPage;
}

async function allRaces(api: SimulatedRacingApi, path: string) {
  const { total } = await page(api, path);
  const races = [];
  for (let skip = 0; skip < total; skip += 100) {
    const { results } = await page(api, `${path}${path.includes('?') ? '&' : '?'}limit=100&skip=${skip}`);
    races.push(...(results ?? []));
  }
  expect(races).toHaveLength(total);
  return races;
}

const idsOf = (races: readonly { race_id: string }[]) => races.map((race) => race.race_id);
const inWindow = (race: SeasonRace) => race.date >= '2025-07-01';
const rides = (id: string) => (race: SeasonRace) => race.runners.some((runner) => runner.jockey_id === id);
const jockeyOf = (race: SeasonRace | undefined) => race?.runners[0]?.jockey_id ?? '';
const newest = season.races[0];
const jockeyId = jockeyOf(newest);

describe('a page of results', () => {
  it('has every field of ResultStandard and RunnerStandard as a string', async () => {
    const { results } = await page(await start(), '/results?limit=100');
    expect(results).toHaveLength(100);
    for (const race of results ?? []) {
      const { runners, ...fields } = race;
      expect(Object.keys(fields).sort()).toEqual([...RACE_FIELDS].sort());
      expect(Object.values(fields).filter((value) => typeof value !== 'string')).toEqual([]);
      for (const runner of runners) {
        expect(Object.keys(runner).sort()).toEqual([...RUNNER_FIELDS].sort());
        expect(Object.values(runner).filter((value) => typeof value !== 'string')).toEqual([]);
      }
    }
  });

  it('takes about 1 KB a runner, is compressed, and is always the same', async () => {
    const api = await start();
    const response = await ask(api, '/results?limit=100');
    expect(response.headers.get('content-type')).toBe('application/json');
    expect(response.headers.get('content-encoding')).toBe('gzip');
    const text = await response.text();
    const runnerCount = season.races.slice(0, 100).flatMap((race) => race.runners).length;
    expect(Buffer.byteLength(text) / runnerCount).toBeGreaterThan(850);
    expect(Buffer.byteLength(text) / runnerCount).toBeLessThan(1150);
    expect(await (await ask(api, '/results?limit=100')).text()).toBe(text);
    expect(api.answer(new URL(`${api.url}/results?limit=100`))).toEqual({
      status: 200,
      body: JSON.parse(text),
    });
  });

  it('tells what was asked and how much there is', async () => {
    const api = await start();
    const { results, ...rest } = await page(api, '/results?region=gb&region=ire&limit=7&skip=2');
    expect(results).toHaveLength(7);
    const query = [
      ['region', 'gb'],
      ['region', 'ire'],
      ['limit', '7'],
      ['skip', '2'],
    ];
    expect(rest).toEqual({ total: 300, limit: 7, skip: 2, query });
    expect(await page(api, '/results')).toMatchObject({ limit: 50, skip: 0, query: [] });
  });

  it('is empty beyond the last race and null when there is none at all', async () => {
    const api = await start();
    expect(await page(api, '/results?skip=20000&region=gb&region=ire')).toMatchObject({
      results: [],
      total: 300,
    });
    const idle = season.jockeys.find(({ id }) => !season.races.some(rides(id)));
    const query = [['region', 'gb']];
    const empty = { results: null, total: 0, limit: 50, skip: 0, query };
    expect(await page(api, `/jockeys/${idle?.id}/results?region=gb`)).toEqual(empty);
  });
});

describe('which races are found', () => {
  it('by default those of the last 365 days, newest first', async () => {
    const races = await allRaces(await start(), '/results');
    expect(idsOf(races)).toEqual(idsOf(season.races.filter(inWindow)));
    expect(new Set(races.map((race) => race.date))).toContain('2025-07-01');
    expect(races.map((race) => race.off_dt.slice(0, 16))).toEqual(
      races.map((race) => race.off_dt.slice(0, 16)).sort((a, b) => (a > b ? -1 : 1)),
    );
  });

  it('those of the regions and dates asked for', async () => {
    const races = await allRaces(
      await start(),
      '/results?region=fr&region=ire&start_date=2026-01-01&end_date=2026-03-31',
    );
    const expected = season.races.filter(
      ({ region, date }) => ['FR', 'IRE'].includes(region) && date >= '2026-01-01' && date <= '2026-03-31',
    );
    expect(expected.length).toBeGreaterThan(0);
    expect(idsOf(races)).toEqual(idsOf(expected));
  });

  it.each([
    ['jockeys', 'jockey_id'],
    ['trainers', 'trainer_id'],
    ['owners', 'owner_id'],
  ] as const)("an entity's own among %s, each once and also before the last 365 days", async (type, field) => {
    const api = await start();
    const id = newest?.runners[0]?.[field] ?? '';
    const own = season.races.filter((race) => race.runners.some((runner) => runner[field] === id));
    expect(idsOf(await allRaces(api, `/${type}/${id}/results`))).toEqual(idsOf(own.filter(inWindow)));
    const earlier = await allRaces(api, `/${type}/${id}/results?start_date=2024-07-01&end_date=2025-06-30`);
    expect(idsOf(earlier)).toEqual(idsOf(own.filter((race) => race.date >= '2024-07-01' && race.date <= '2025-06-30')));
  });
});

describe('what is refused', () => {
  it.each([
    ['limit', '/results?limit=0'],
    ['limit', '/results?limit=101'],
    ['limit', '/results?limit=ten'],
    ['limit', '/results?limit='],
    ['skip', '/results?skip=-1'],
    ['skip', '/results?skip=20001'],
    ['start_date', '/results?start_date=1.7.2026'],
    ['start_date', '/results?start_date=2026-02-30'],
    ['end_date', '/results?end_date=2026-7-1'],
    ['start_date', '/results?start_date=2026-06-02&end_date=2026-06-01'],
    ['start_date', '/results?start_date=2025-06-30&end_date=2025-07-30'],
    ['end_date', `/jockeys/${jockeyId}/results?start_date=2024-06-30&end_date=2025-07-01`],
  ])('422 names %s: %s', async (parameter, path) => {
    const response = await ask(await start(), path);
    expect(response.status).toBe(422);
    const { detail } = (await response.json()) as { detail: unknown };
    expect(detail).toEqual([
      expect.objectContaining({
        loc: ['query', parameter],
        msg: expect.any(String),
        type: expect.any(String),
      }),
    ]);
  });

  it.each([
    [404, '/results/today', 'GET'],
    [404, '/horses/hrs_1/results', 'GET'],
    [404, '/jockeys/jky_1/results', 'GET'],
    [404, `/trainers/${jockeyId}/results`, 'GET'],
    [405, '/results', 'POST'],
  ])('%i for %s', async (status, path, method) => {
    const response = await ask(await start(), path, { method });
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({ detail: status === 404 ? 'Not Found' : 'Method Not Allowed' });
  });

  it('401 without the right password', async () => {
    const api = await start();
    const refused = [await fetch(`${api.url}/results`), await ask(api, '/results', { password: 'wrong' })];
    for (const response of refused) {
      expect(response.status).toBe(401);
      expect(response.headers.get('www-authenticate')).toMatch(/^Basic/);
      expect(await response.json()).toEqual({ detail: 'Unauthorized' });
    }
  });

  it('401 outside the plan', async () => {
    const api = await start({ plan: 'standard' });
    const statuses = async () => [
      (await ask(api, '/results')).status,
      (await ask(api, `/jockeys/${jockeyId}/results`)).status,
    ];
    expect(await statuses()).toEqual([200, 401]);
    api.options.plan = 'pro-without-results';
    expect(await statuses()).toEqual([401, 200]);
  });

  it('429 over the rate, until the rate is raised', async () => {
    // One call in 20 seconds, so that no machine is too slow for the second call to come too early.
    const api = await start({ requestsPerSecond: 0.05 });
    const first = await ask(api, '/results?limit=1');
    const second = await ask(api, '/results?limit=1');
    expect([first.status, second.status, api.rejected]).toEqual([200, 429, 1]);
    expect(second.headers.get('retry-after')).toBe('1');
    expect(await second.json()).toEqual({ detail: 'Too Many Requests' });
    api.options.requestsPerSecond = Number.POSITIVE_INFINITY;
    expect((await ask(api, '/results?limit=1')).status).toBe(200);
  });

  it('counts the calls of any rolling second, less the tolerance', () => {
    const admits = makeRateLimit(25);
    const arrivals = [0, 400, 974, 975, 1370, 1380, 1960];
    expect(arrivals.filter((at) => admits(at, 2))).toEqual([0, 400, 975, 1380, 1960]);
  });
});

describe('results that change', () => {
  const late: SeasonRace = {
    race_id: 'rac_late',
    date: today,
    region: 'GB',
    runners: [{ position: '1', jockey_id: jockeyId, trainer_id: 'trn_new', owner_id: 'own_new' }],
  };

  it('come, are corrected and go, for everybody in the race', async () => {
    const api = await start();
    const before = await allRaces(api, `/jockeys/${jockeyId}/results`);
    api.publish(late);
    expect(idsOf(await allRaces(api, `/jockeys/${jockeyId}/results`)).sort()).toEqual(
      [...idsOf(before), 'rac_late'].sort(),
    );
    expect(idsOf(await allRaces(api, '/owners/own_new/results'))).toEqual(['rac_late']);
    expect(idsOf(api.races)).toEqual(idsOf([...season.races, late].sort(newestFirst)));

    const other = season.jockeys.find(({ id }) => id !== jockeyId)?.id ?? '';
    api.amend('rac_late', (race) => ({
      ...race,
      runners: race.runners.map((runner) => ({ ...runner, jockey_id: other, position: '2' })),
    }));
    expect(idsOf(await allRaces(api, `/jockeys/${jockeyId}/results`))).toEqual(idsOf(before));
    const corrected = (await page(api, `/jockeys/${other}/results?start_date=${today}`)).results ?? [];
    expect(corrected.find((race) => race.race_id === 'rac_late')?.runners).toMatchObject([
      { position: '2', jockey_id: other },
    ]);

    api.withdraw('rac_late');
    expect(api.races).toEqual(season.races);
    expect(await page(api, '/owners/own_new/results')).toMatchObject({ results: null, total: 0 });
  });

  it('are not confused with each other', async () => {
    const api = await start();
    api.publish(late);
    expect(() => api.publish(late)).toThrow(/amend/);
    expect(() => api.withdraw('rac_none')).toThrow(/rac_none/);
  });
});

describe('what tests can arrange', () => {
  it('records the calls and lets a test answer in its place', async () => {
    const api = await start();
    api.options.intercept = (call, response, next) => {
      if (call.number === 1) response.writeHead(503).end();
      else return next();
    };
    expect((await ask(api, '/results?limit=1')).status).toBe(503);
    expect((await ask(api, '/results?limit=2')).status).toBe(200);
    expect(api.calls.map(({ number, method, path, url }) => [number, method, path, url.search])).toEqual([
      [1, 'GET', '/v1/results', '?limit=1'],
      [2, 'GET', '/v1/results', '?limit=2'],
    ]);
  });

  it("tells a mistake in a test's intercept", async () => {
    const api = await start({ intercept: () => Promise.reject(new Error('mistake')) });
    const response = await ask(api, '/results');
    expect(response.status).toBe(500);
    expect(await response.text()).toContain('mistake');
  });

  it('asks for the latency of each answer', async () => {
    const waits: number[] = [];
    const api = await start({ latencyMs: () => waits.push(1) });
    await page(api, '/results?limit=1');
    await page(api, '/results?limit=1');
    expect(waits).toHaveLength(2);
  });

  it('closes while an answer is on its way', async () => {
    const api = await start({ intercept: () => {} });
    const lost = expect(ask(api, '/results')).rejects.toThrow();
    while (api.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await api.close();
    await lost;
  });
});
