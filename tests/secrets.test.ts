import { readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { beforeAll, expect, it } from 'vitest';
import { callsOf, type Fault, inject, jockeys, runWith, startTinyWorld } from './faults.js';
import { password, sharedWorld, username } from './world.js';

const world = sharedWorld(startTinyWorld);
/** What nobody may see, in every form in which it goes over the wire. */
let secrets: string[];

beforeAll(() => {
  const plain = [username, password, `${username}:${password}`, world.database.serviceKey];
  secrets = [...plain, ...plain.map((text) => Buffer.from(text).toString('base64').replace(/=+$/, ''))];
});

/** Looks through everything that a run leaves: what it printed, threw or returned, and every file. */
function expectNoSecret(...outputs: unknown[]): void {
  const files = readdirSync(world.folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'));
  const shown = outputs.map((output) => inspect(output, { depth: 20, showHidden: true, maxStringLength: null }));
  for (const text of [...files, ...shown]) {
    for (const secret of secrets) expect(text).not.toContain(secret);
  }
}

const asText: Fault = (response, _, { headers }) => response.end(`${headers.authorization} ${username}:${password}`);

/** An answer that repeats the credentials wherever it can. */
const asJson =
  (code: number): Fault =>
  (response, _, { headers: { authorization = '' } }) => {
    const decoded = Buffer.from(authorization.replace('Basic ', ''), 'base64').toString();
    const body = { detail: `${authorization} ${decoded}`, error: decoded, [decoded]: [authorization] };
    response
      .writeHead(code, { location: `/${decoded}`, 'x-echo': authorization, 'content-type': 'application/json' })
      .end(JSON.stringify(body));
  };

it.each<[string | number, Fault]>([
  ['a text', asText],
  ...[200, 302, 401, 404, 422, 500].map((code): [number, Fault] => [code, asJson(code)]),
])('an API that echoes the credentials with %s, to one entity or to all', async (_, fault) => {
  const { id = '' } = world.season.jockeys[3] ?? {};
  for (const [strategy, hits] of [
    ['walk', callsOf(id)],
    ['walk', () => true],
    ['sweep', () => true],
  ] as const) {
    inject(world, fault, hits);
    const report = await runWith(world, { entities: [jockeys], strategy });
    expect(report.exit_code).toBeGreaterThan(0);
    expectNoSecret(report);
  }
});

const always = () => true;
const inWriting = ({ method }: IncomingMessage) => method !== 'GET';

function answerWithKey(request: IncomingMessage, response: ServerResponse, status: number, code: string): void {
  const { apikey = '', authorization = '' } = request.headers;
  const message = `${apikey} ${authorization} ${Buffer.from(String(apikey)).toString('base64')}`;
  const body = { code: code === 'key' ? apikey : code, message, details: message, hint: message };
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

it.each([
  ['answers with it', 200, '', always],
  ['refuses it', 401, '', always],
  ['refuses the role', 403, '42501', always],
  ['is unavailable', 503, '', always],
  ['has another error', 400, 'PGRST100', always],
  ['has it for a code', 400, 'key', always],
  ['lacks a column', 400, '42703', always],
  ['fails in writing', 500, 'XX000', inWriting],
  ['refuses values', 400, '23514', inWriting],
])('a database that echoes the key and %s', async (_, status, code, when) => {
  world.database.intercept = (request, response, next) =>
    when(request) ? answerWithKey(request, response, status, code) : next();
  const report = await runWith(world, { entities: [jockeys], strategy: 'walk', limit: 3 });
  expect(report.exit_code).toBeGreaterThan(0);
  expectNoSecret(report);
});

it.each([
  ['a run that goes well', 0, ['--all', '--strategy', 'sweep', '--rate', '1000', '--html'], {}],
  ['a dry run', 0, ['--all', '--dry-run'], {}],
  ['verify', 0, ['verify', '--entities', 'jockeys', '--sample', '3', '--rate', '1000'], {}],
  ['the password in place of a URL', 2, ['--all'], { SUPABASE_URL: password }],
])('the command: %s ends with %i', async (_, code, args, environment) => {
  // Rows for verify.
  await world.runHere({ entities: [jockeys] });
  const ended = await world.run(args, environment);
  expect(ended.code, ended.stderr).toBe(code);
  expectNoSecret(ended);
});
