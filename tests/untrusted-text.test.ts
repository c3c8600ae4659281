import { beforeEach, expect, it } from 'vitest';
import { callsOf, inject, startTinyWorld, status } from './faults.js';
import { sharedWorld } from './world.js';

const world = sharedWorld(startTinyWorld);

/** Characters that steer a terminal, end a line or turn the direction of the text. */
const forbidden = [
  ...['\u001b', '\u009b', '\u0007', '\b', '\r', '\n', '\t', '\u007f', '\u0085', '\u2028', '\u2029'],
  ...['\u061c', '\u200e', '\u200f', '\u202a', '\u202b', '\u202c', '\u202d', '\u202e'],
  ...['\u2066', '\u2067', '\u2068', '\u2069'],
];
const name = `Eve${forbidden.join('x')}[31m]0;title 2026-01-01T00:00:00Z done`;
const id = `jky_${forbidden.join('y')}`;

beforeEach(async () => {
  await world.database.query('delete from ra_jockeys');
  await world.database.query('insert into ra_jockeys (id, name, stats_updated_at) values ($1, $2, now())', [id, name]);
  const error = { code: `PGRST100 ${forbidden.join('')}`, message: `Cannot write ${name}` };
  world.database.intercept = (request, response, next) =>
    request.method === 'POST' ? void response.writeHead(400).end(JSON.stringify(error)) : next();
});

const noResults = status(200, {}, '{"results": null, "total": 0}');
it.each([
  ['a dry run', ['--dry-run'], status(404), 0, 'Eve x'],
  ['a failure', ['--strategy', 'walk'], status(404), 3, 'Eve x'],
  ['verify', ['verify'], status(404), 3, 'Eve x'],
  ['an error of the database', ['--strategy', 'walk'], noResults, 6, 'Cannot write Eve x'],
])('in %s, on one line', async (_, args, answer, code, told) => {
  inject(world, answer, callsOf(encodeURIComponent(id)));
  const ended = await world.run([...args, '--entities', 'jockeys', '--rate', '1000']);
  expect(ended.code).toBe(code);
  const lines = (ended.stdout + ended.stderr).split('\n');
  expect(lines.filter((line) => line.includes(told))).toHaveLength(1);
  const found = forbidden.filter((character) => lines.join('').includes(character));
  expect(found.map((character) => character.codePointAt(0)?.toString(16))).toEqual([]);
});
