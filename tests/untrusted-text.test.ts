import { afterAll, beforeAll, expect, it } from 'vitest';
import { callsOf, inject, startTinyWorld, status } from './faults.js';
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
  await world.database.query('insert into ra_jockeys (id, name, stats_updated_at) values ($1, $2, now())', [id, name]);
});
afterAll(() => world.close());

/** Runs the command; neither of its outputs may have any of those. */
async function run(...args: string[]) {
  const ended = await world.run([...args, '--entities', 'jockeys', '--rate', '1000']);
  const text = (ended.stdout + ended.stderr).replaceAll('\n', '');
  const found = forbidden.filter((character) => text.includes(character));
  expect(found.map((character) => character.codePointAt(0)?.toString(16))).toEqual([]);
  return ended;
}

it.each([
  ['a dry run', ['--dry-run'], 0],
  ['a failure', ['--strategy', 'walk'], 3],
  ['verify', ['verify'], 3],
])('in %s, on one line', async (_, args, expected) => {
  inject(world, status(404), callsOf(encodeURIComponent(id)));
  const { code, stdout } = await run(...args);
  expect(code).toBe(expected);
  expect(stdout.split('\n').filter((line) => line.includes('Eve x'))).toHaveLength(1);
});

it('in an error of the database', async () => {
  world.database.intercept = (request, response, next) =>
    request.method === 'POST' ? void response.end(JSON.stringify([id])) : next();
  world.api.options.intercept = (_, response) => void response.end('{"results": null, "total": 0}');
  const { code, stderr } = await run('--strategy', 'walk');
  expect(code).toBe(6);
  expect(stderr).toContain('row-level security');
});
