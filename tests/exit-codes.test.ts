import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { startWorld, type World } from './world.js';

/** The exit codes that no other file shows of the whole command: 1 and 7. */
let world: World;

beforeAll(async () => {
  world = await startWorld();
});
beforeEach(() => world.reset());
afterAll(() => world.close());

const jockeys = ['--entities', 'jockeys', '--rate', '500'];

it('a bug of ours ends with 1, says so, and leaves no lock behind', async () => {
  const broken =
    "Object.defineProperty(Intl.NumberFormat.prototype, 'format', { get() { throw new Error('broken') } })";
  const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(broken)}`;
  const ended = await world.run(jockeys, { NODE_OPTIONS });
  expect(ended.code).toBe(1);
  expect(ended.stderr).toContain('This is a bug of populate-all-statistics');
  expect(ended.stderr).toContain('broken');
  expect(existsSync(join(world.folder, 'logs', 'run_jockeys.lock'))).toBe(false);
});

it('a year without races ends a sweep with 7 before anything is written, unless --force is given', async () => {
  const nothing = JSON.stringify({ results: null, total: 0, limit: 100, skip: 0, query: [] });
  world.api.options.intercept = (_, response) =>
    void response.writeHead(200, { 'content-type': 'application/json' }).end(nothing);
  const braked = await world.run([...jockeys, '--strategy', 'sweep']);
  expect(braked.code).toBe(7);
  expect(braked.stderr).toContain('Nothing was written');
  expect(braked.stderr).toContain('--force');
  const written = 'select id from ra_jockeys where stats_updated_at is not null';
  expect(await world.database.query(written)).toEqual([]);
  expect((await world.run([...jockeys, '--strategy', 'sweep', '--force'])).code).toBe(0);
  expect(await world.database.query(written)).toHaveLength(40);
});
