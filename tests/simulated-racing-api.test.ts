import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeSeason, newestFirst, type SeasonRace } from '../demo/season.js';
import { makeRateLimit, type SimulatedRacingApi, startSimulatedRacingApi } from '../demo/simulator.js';

/** ResultsStandardPage, as far as it is read here. */
interface ResultsPage {
  results: { race_id: string; date: string; off_dt: string; runners: Record<string, string>[] }[] | null;
  total: number;
}

const today = '2026-07-01';
const season = makeSeason({ today, jockeys: 40, trainers: 30, owners: 120, races: 300 });
const login = { username: 'user', password: 'pass:word' };
/** Of ResultStandard and RunnerStandard in the API's OpenAPI description. */
const raceFields =
  'race_id date region course course_id off off_dt race_name type class pattern rating_band age_band sex_rest dist ' +
  'dist_y dist_m dist_f going surface jumps winning_time_detail comments non_runners tote_win tote_pl tote_ex ' +
  'tote_csf tote_tricast tote_trifecta';
const runnerFields =
  'horse_id horse sp sp_dec bsp number position draw btn ovr_btn age sex weight weight_lbs headgear time or rpr tsr ' +
  'prize jockey jockey_claim_lbs jockey_id trainer trainer_id owner owner_id sire sire_id dam dam_id damsire ' +
  'damsire_id comment silk_url';

let api: SimulatedRacingApi;
beforeEach(async () => {
  api = await startSimulatedRacingApi({ season, ...login, requestsPerSecond: Number.POSITIVE_INFINITY });
});
afterEach(() => api.close());

function ask(path: string, { method = 'GET', password = login.password } = {}) {
  const authorization = `Basic ${Buffer.from(`${login.username}:${password}`).toString('base64')}`;
  return fetch(`${api.url}${path}`, { method, headers: { authorization } });
}

async function page(path: string): Promise<ResultsPage> {
  const response = await ask(path);
  expect(response.status).toBe(200);
  return (await response.json()) as ResultsPage;
}

/** All races of a query, from all its pages. */
async function allRaces(path: string) {
  const races = [];
  for (let skip = 0, total = 1; skip < total; skip += 100) {
    const read = await page(`${path}${path.includes('?') ? '&' : '?'}limit=100&skip=${skip}`);
    total = read.total;
    races.push(...(read.results ?? []));
  }
  return races;
}

const idsOf = (races: readonly { race_id: string }[]) => races.map(({ race_id }) => race_id);
const inWindow = ({ date }: SeasonRace) => date >= '2025-07-01';
const jockeyId = season.races[0]?.runners[0]?.jockey_id ?? '';

describe('a page of results', () => {
  it('has every field of a race and of a runner as a string', async () => {
    const { results } = await page('/results?limit=1');
    const { runners = [], ...race } = results?.[0] ?? {};
    const strings = (fields: string) => Object.fromEntries(fields.split(' ').map((name) => [name, expect.any(String)]));
    expect(race).toEqual(strings(raceFields));
    expect(runners).toEqual(runners.map(() => strings(runnerFields)));
  });

  it('takes about 1 KB a runner, is compressed, and is the same for a test that asks without a request', async () => {
    const response = await ask('/results?limit=100');
    expect(response.headers.get('content-type')).toBe('application/json');
    expect(response.headers.get('content-encoding')).toBe('gzip');
    const text = await response.text();
    const runners = season.races.slice(0, 100).flatMap((race) => race.runners);
    expect(Math.abs(Buffer.byteLength(text) / runners.length - 1000)).toBeLessThan(150);
    const answer = api.answer(new URL(`${api.url}/results?limit=100`));
    expect(answer).toEqual({ status: 200, body: JSON.parse(text) });
  });

  it('tells what was asked and how much there is', async () => {
    const { results, ...rest } = await page('/results?region=gb&region=ire&limit=7&skip=2');
    expect(results).toHaveLength(7);
    const query = [...new URLSearchParams('region=gb&region=ire&limit=7&skip=2')];
    expect(rest).toEqual({ total: 300, limit: 7, skip: 2, query });
    expect(await page('/results')).toMatchObject({ limit: 50, skip: 0, query: [] });
  });

  it('is empty beyond the last race and null when there is none at all', async () => {
    const beyond = await page('/results?skip=20000&region=gb&region=ire');
    expect(beyond).toMatchObject({ results: [], total: 300 });
    const active = new Set(season.races.flatMap(({ runners }) => runners.map(({ jockey_id }) => jockey_id)));
    const idle = season.jockeys.find(({ id }) => !active.has(id));
    expect(await page(`/jockeys/${idle?.id}/results`)).toMatchObject({ results: null, total: 0 });
  });
});

describe('which races are found', () => {
  it('by default those of the last 365 days, newest first', async () => {
    const races = await allRaces('/results');
    expect(idsOf(races)).toEqual(idsOf(season.races.filter(inWindow)));
    expect(races.at(-1)?.date).toBe('2025-07-01');
    const times = races.map(({ off_dt }) => off_dt.slice(0, 16));
    expect(times).toEqual(times.toSorted().reverse());
  });

  it('those of the regions and dates asked for', async () => {
    const found = await allRaces('/results?region=fr&region=ire&start_date=2026-01-01&end_date=2026-03-31');
    const expected = season.races.filter(
      ({ region, date }) => ['FR', 'IRE'].includes(region) && date >= '2026-01-01' && date <= '2026-03-31',
    );
    expect(expected.length).toBeGreaterThan(0);
    expect(idsOf(found)).toEqual(idsOf(expected));
  });

  it.each([
    ['jockeys', 'jockey_id'],
    ['trainers', 'trainer_id'],
    ['owners', 'owner_id'],
  ] as const)("an entity's own among %s, each once and also before the last 365 days", async (type, field) => {
    const id = season.races[0]?.runners[0]?.[field] ?? '';
    const own = season.races.filter(({ runners }) => runners.some((runner) => runner[field] === id));
    expect(idsOf(await allRaces(`/${type}/${id}/results`))).toEqual(idsOf(own.filter(inWindow)));
    const earlier = own.filter(({ date }) => date >= '2024-07-01' && date <= '2025-06-30');
    const found = await allRaces(`/${type}/${id}/results?start_date=2024-07-01&end_date=2025-06-30`);
    expect(idsOf(found)).toEqual(idsOf(earlier));
  });
});

describe('what is refused', () => {
  it.each([
    ['limit', '/results?limit=0'],
    ['limit', '/results?limit=101'],
    ['skip', '/results?skip=-1'],
    ['skip', '/results?skip=20001'],
    ['start_date', '/results?start_date=2026-02-30'],
    ['end_date', '/results?end_date=2026-7-1'],
    ['start_date', '/results?start_date=2026-06-02&end_date=2026-06-01'],
    ['start_date', '/results?start_date=2025-06-30&end_date=2025-07-30'],
    ['end_date', `/jockeys/${jockeyId}/results?start_date=2024-06-30&end_date=2025-07-01`],
  ])('422 names %s: %s', async (parameter, path) => {
    const response = await ask(path);
    expect(response.status).toBe(422);
    const detail = { loc: ['query', parameter], msg: expect.any(String), type: expect.any(String) };
    expect(await response.json()).toEqual({ detail: [expect.objectContaining(detail)] });
  });

  it.each([
    [404, '/results/today', {}],
    [404, '/horses/hrs_1/results', {}],
    [404, `/trainers/${jockeyId}/results`, {}],
    [405, '/results', { method: 'POST' }],
    [401, '/results', { password: 'wrong' }],
  ])('%i for %s', async (status, path, how) => {
    const response = await ask(path, how);
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({ detail: expect.any(String) });
  });

  it.each([
    ['pro', 200, 200],
    ['standard', 200, 401],
    ['pro-without-results', 401, 200],
  ] as const)('401 outside the plan %s', async (plan, ofAll, ofOne) => {
    api.options.plan = plan;
    expect((await ask('/results')).status).toBe(ofAll);
    expect((await ask(`/jockeys/${jockeyId}/results`)).status).toBe(ofOne);
  });

  it('429 over the rate, until the rate is raised', async () => {
    // One call in 20 seconds, so that no machine is too slow for the second call to come too early.
    api.options.requestsPerSecond = 0.05;
    const [first, second] = [await ask('/results?limit=1'), await ask('/results?limit=1')];
    expect([first.status, second.status, api.rejected]).toEqual([200, 429, 1]);
    expect(second.headers.get('retry-after')).toBe('1');
    api.options.requestsPerSecond = Number.POSITIVE_INFINITY;
    expect((await ask('/results?limit=1')).status).toBe(200);
  });

  it('what exceeds the rate in any rolling second, less the tolerance', () => {
    const admits = makeRateLimit(25);
    const arrivals = [0, 400, 974, 975, 1370, 1380, 1960];
    expect(arrivals.filter((at) => admits(at, 2))).toEqual([0, 400, 975, 1380, 1960]);
  });
});

it('who is in a new race is known, and stays so when the race is gone', async () => {
  const runners = [{ position: '1', jockey_id: jockeyId, trainer_id: 'trn_new', owner_id: 'own_new' }];
  api.publish({ race_id: 'rac_late', date: today, region: 'GB', runners });
  expect(idsOf(await allRaces('/owners/own_new/results'))).toEqual(['rac_late']);
  expect(api.races).toEqual([...api.races].sort(newestFirst));
  api.amend('rac_late', (race) => ({ ...race, region: 'FR' }));
  expect(await page('/trainers/trn_new/results?region=fr')).toMatchObject({ total: 1 });
  api.withdraw('rac_late');
  expect(api.races).toEqual(season.races);
  expect(await page('/owners/own_new/results')).toMatchObject({ results: null, total: 0 });
});

it('moves on to another day, and tells what it would answer with other races', async () => {
  const path = '/results?start_date=2025-07-01&end_date=2026-06-30';
  expect(idsOf((await page(path)).results ?? [])).toHaveLength(50);
  api.options.today = '2026-07-02';
  expect((await ask(path)).status).toBe(422);
  expect((await page('/results?limit=1')).results?.[0]?.date).toBe(today);
  expect(api.answer(new URL(`${api.url}/results`), season.races.slice(0, 3)).body).toMatchObject({ total: 3 });
});

it('records the calls and lets a test answer in its place', async () => {
  api.options.intercept = (call, response, next) => (call.number === 1 ? void response.writeHead(503).end() : next());
  expect((await ask('/results?limit=1')).status).toBe(503);
  expect((await ask('/results?limit=2')).status).toBe(200);
  expect(api.calls.map(({ number, path, url }) => [number, path, url.search])).toEqual([
    [1, '/v1/results', '?limit=1'],
    [2, '/v1/results', '?limit=2'],
  ]);
});
