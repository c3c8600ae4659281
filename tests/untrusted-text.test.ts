import { afterAll, beforeAll, expect, it } from 'vitest';
import { callsOf, inject, lastReport, runCommand, startTinyWorld, status } from './faults.js';
import type { World } from './world.js';

let world: World;

/** Characters that steer a terminal, end a line or turn the direction of the text. */
const forbidden = [
  ...['\u001b', '\u009b', '\u0007', '\b', '\r', '\n', '\t', '\u007f', '\u0085', '\u2028', '\u2029'],
  ...['\u061c', '\u200e', '\u200f', '\u202a', '\u202b', '\u202c', '\u202d', '\u202e'],
  ...['\u2066', '\u2067', '\u2068', '\u2069'],
];
const name = `Eve${forbidden.join('x')}[31m]0;title 2026-01-01T00:00:00Z done`;
const id = `jky_${forbidden.join('y')}`;

beforeAll(async () => {
  world = await startTinyWorld();
  await world.database.query('delete from ra_jockeys');
  await world.database.query('insert into ra_jockeys (id, name) values ($1, $2)', [id, name]);
});
afterAll(() => world.close());

/** Runs the command; neither of its outputs may have any of those. */
async function run(...args: string[]) {
  const parts = { cwd: world.folder, environment: world.environment };
  const ended = await runCommand([...args, '--entities', 'jockeys', '--rate', '1000'], parts);
  const text = (ended.stdout + ended.stderr).replaceAll('\n', '');
  const found = forbidden.filter((character) => text.includes(character));
  expect(found.map((character) => character.codePointAt(0)?.toString(16))).toEqual([]);
  return ended;
}

it('in a dry run', async () => {
  expect(await run('--dry-run')).toMatchObject({ code: 0, stdout: expect.stringContaining('Eve x') });
});

it('in a failure, on one line', async () => {
  inject(world, status(404), callsOf(encodeURIComponent(id)));
  const { code, stdout } = await run('--strategy', 'walk');
  expect(code).toBe(3);
  expect(world.api.calls.map(({ path }) => path)).toEqual([`/v1/jockeys/${encodeURIComponent(id)}/results`]);
  expect(stdout.split('\n').filter((line) => line.includes('Eve'))).toHaveLength(1);
  expect(lastReport(world).failures).toMatchObject([{ name: expect.stringContaining('Eve') }]);
});

it('in verify', async () => {
  await world.database.query(`update ra_jockeys set stats_updated_at = now()`);
  expect(await run('verify')).toMatchObject({ code: 3, stdout: expect.stringContaining('Eve x') });
});

it('in an error of the database', async () => {
  await world.database.query(`update ra_jockeys set stats_updated_at = null`);
  world.database.intercept = (request, response, next) =>
    request.method === 'POST' ? void response.end(JSON.stringify([id])) : next();
  world.api.options.intercept = (_, response) => void response.end('{"results": null, "total": 0}');
  const { code, stderr } = await run('--strategy', 'walk');
  expect(code).toBe(6);
  expect(stderr).toContain('row-level security');
});
