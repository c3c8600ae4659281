import { describe, expect, it } from 'vitest';
import { ResultsError } from '../src/errors.js';
import { readCompleteResults } from '../src/gather.js';
import type { ResultsPage, ResultsQuery } from '../src/racing-api.js';
import type { Race } from '../src/statistics.js';

const query: ResultsQuery = { path: '/results', startDate: '2026-06-01', endDate: '2026-06-28' };

function races(count: number, prefix = 'rac'): Race[] {
  return Array.from({ length: count }, (_, index) => ({
    race_id: `${prefix}_${index}`,
    date: '2026-06-15',
    region: 'GB',
    runners: [],
  }));
}

/** A source of pages that asks, for each request, which races there are at that moment. */
class Pages {
  readonly skips: number[] = [];
  private readonly racesAt: (request: number) => Race[];

  constructor(racesAt: (request: number) => Race[]) {
    this.racesAt = racesAt;
  }

  async resultsPage(asked: ResultsQuery, skip: number): Promise<ResultsPage> {
    expect(asked).toBe(query);
    const all = this.racesAt(this.skips.length);
    this.skips.push(skip);
    return { races: all.slice(skip, skip + 100), total: all.length };
  }
}

/** The ids in the order in which they were counted. */
class CountedIds {
  readonly ids: string[] = [];
  count(race: Race): void {
    this.ids.push(race.race_id);
  }
}

const read = (pages: Pages, accept?: (ids: Set<string>) => boolean) =>
  readCompleteResults(pages, query, () => new CountedIds(), accept ? { accept } : {});

describe('complete results', () => {
  it.each([
    [0, [0]],
    [1, [0]],
    [100, [0]],
    [101, [0, 100]],
    [250, [0, 100, 200]],
  ])('of %i races are read in the pages %j', async (count, skips) => {
    const pages = new Pages(() => races(count));
    const { ids } = await read(pages);
    expect(ids.sort()).toEqual(
      races(count)
        .map((race) => race.race_id)
        .sort(),
    );
    expect(pages.skips).toEqual(skips);
  });

  const before = races(250);
  it.each([
    ['a race that appears', [...races(1, 'new'), ...before]],
    ['a race that vanishes', before.slice(1)],
    ['a race that moves to another page', [...before.slice(150), ...before.slice(0, 150)]],
    ['a race that another one replaces', [...races(1, 'new'), ...before.slice(0, 249)]],
  ])('are read again after %s between pages, and counted anew', async (_, after) => {
    const pages = new Pages((request) => (request === 0 ? before : after));
    const { ids } = await read(pages);
    expect(pages.skips.slice(0, 3)).toEqual([0, 100, 200]);
    expect(pages.skips.slice(3)).toEqual([0, 100, 200]);
    expect(ids.toSorted()).toEqual(after.map((race) => race.race_id).sort());
  });

  it('are read three times at most', async () => {
    const pages = new Pages((request) => races(101 + request));
    const failure = await read(pages).catch((error) => error);
    expect(failure).toBeInstanceOf(ResultsError);
    expect(failure).toMatchObject({ kind: 'unusable' });
    expect(pages.skips).toEqual([0, 100, 0, 100, 0, 100]);
  });

  it('are those of the third reading if it is the first that adds up', async () => {
    const pages = new Pages((request) => races(request < 4 ? 101 + request : 120));
    expect((await read(pages)).ids).toHaveLength(120);
    expect(pages.skips).toHaveLength(6);
  });

  it('do not add up when one race is given twice and another not at all', async () => {
    const twice = [...races(2), ...races(1)];
    await expect(read(new Pages(() => twice))).rejects.toThrow(ResultsError);
  });

  it('count a race once that stands on two pages', async () => {
    const all = races(101);
    const overlapping = {
      resultsPage: async (_: ResultsQuery, skip: number): Promise<ResultsPage> => ({
        races: skip === 0 ? all.slice(0, 100) : all.slice(99),
        total: 101,
      }),
    };
    const { ids } = await readCompleteResults(overlapping, query, () => new CountedIds());
    expect(ids).toEqual(all.map((race) => race.race_id));
  });

  it('may be refused by the ids of their races', async () => {
    const seen: number[] = [];
    const pages = new Pages((request) => races(3 + request));
    const { ids } = await read(pages, (raceIds) => seen.push(raceIds.size) === 2);
    expect(seen).toEqual([3, 4]);
    expect(ids).toHaveLength(4);
    await expect(read(new Pages(() => races(3)), () => false)).rejects.toThrow(ResultsError);
  });

  it('are not asked for again when a page cannot be had at all', async () => {
    const gone = new ResultsError('not-found', 'the API does not know it (404)');
    let requests = 0;
    const api = {
      async resultsPage(): Promise<ResultsPage> {
        requests += 1;
        throw gone;
      },
    };
    await expect(readCompleteResults(api, query, () => new CountedIds())).rejects.toBe(gone);
    expect(requests).toBe(1);
  });
});
