import { readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { callsOf, type Fault, inject, runCommand, runWith, startTinyWorld, typeNamed } from './faults.js';
import { password, username, type World } from './world.js';

const jockeys = typeNamed('jockeys');
let world: World;
/** What nobody may see, in every form in which it goes over the wire. */
let secrets: string[];

beforeAll(async () => {
  world = await startTinyWorld();
  const plain = [username, password, `${username}:${password}`, world.database.serviceKey];
  secrets = [...plain, ...plain.map((text) => Buffer.from(text).toString('base64').replace(/=+$/, ''))];
});
beforeEach(() => world.reset());
afterAll(() => world.close());

/** Everything that a run leaves: what it printed, threw or returned, and every file. */
function expectNoSecret(...outputs: unknown[]): void {
  const files = readdirSync(world.folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'));
  const shown = outputs.map((output) =>
    typeof output === 'string'
      ? output
      : inspect(output, { depth: 20, showHidden: true, maxStringLength: null }),
  );
  for (const text of [...files, ...shown]) {
    for (const secret of secrets) expect(text).not.toContain(secret);
  }
}

/** An answer that repeats the credentials wherever it can. */
const echo =
  (code: number): Fault =>
  (response, _, { headers }) => {
    const { authorization = '' } = headers;
    const decoded = Buffer.from(authorization.replace('Basic ', ''), 'base64').toString();
    response
      .writeHead(code, {
        location: `/${decoded}`,
        'x-echo': authorization,
        'content-type': 'application/json',
      })
      .end(
        JSON.stringify({ detail: `${authorization} ${decoded}`, error: decoded, [decoded]: [authorization] }),
      );
  };

describe('an API that echoes the credentials', () => {
  it.each([200, 302, 400, 401, 403, 404, 422, 500, 503])('with %d', async (code) => {
    inject(world, echo(code), () => true);
    for (const strategy of ['walk', 'sweep'] as const) {
      const report = await runWith(world, { entities: [jockeys], strategy });
      expect(report.exit_code).toBeGreaterThan(0);
      expectNoSecret(report, report.lines.join('\n'), report.stopped_by);
    }
  });

  it.each([200, 500])('with %d, for one entity', async (code) => {
    const { id = '' } = world.season.jockeys[3] ?? {};
    inject(world, echo(code), callsOf(id));
    const report = await runWith(world, { entities: [jockeys], strategy: 'walk' });
    expect(report).toMatchObject({ exit_code: 3, failures: [{ id }] });
    expectNoSecret(report, report.lines.join('\n'));
  });

  it('as a text that is not JSON', async () => {
    inject(
      world,
      (response, _, { headers }) => response.end(`${headers.authorization} ${username}:${password}`),
      () => true,
    );
    const report = await runWith(world, { entities: [jockeys], strategy: 'walk' });
    expect(report.exit_code).toBe(7);
    expectNoSecret(report, report.lines.join('\n'));
  });
});

describe('a database that echoes the key', () => {
  const faults: [name: string, status: number, code: string, when: (request: IncomingMessage) => boolean][] =
    [
      ['refuses it', 401, '', () => true],
      ['refuses the role', 403, '42501', () => true],
      ['is unavailable', 503, '', () => true],
      ['has another error', 400, 'PGRST100', () => true],
      ['lacks a column', 400, '42703', () => true],
      ['fails in writing', 500, 'XX000', ({ method }) => method !== 'GET'],
      ['refuses values', 400, '23514', ({ method }) => method !== 'GET'],
    ];
  const answerWithKey = (
    request: IncomingMessage,
    response: ServerResponse,
    status: number,
    code: string,
  ) => {
    const { apikey = '', authorization = '' } = request.headers;
    const base64 = Buffer.from(String(apikey)).toString('base64');
    const message = `${apikey} ${authorization} ${base64}`;
    response
      .writeHead(status, { 'content-type': 'application/json' })
      .end(JSON.stringify({ code, message, details: message, hint: message }));
  };

  it.each(faults)('and %s', async (_, status, code, when) => {
    world.database.intercept = (request, response, next) =>
      when(request) ? answerWithKey(request, response, status, code) : next();
    const report = await runWith(world, { entities: [jockeys], strategy: 'walk', limit: 3 });
    expect(report.exit_code).toBeGreaterThan(0);
    expectNoSecret(report, report.lines.join('\n'), report.stopped_by);
  });

  it('and answers with something else: seen in a terminal', async () => {
    world.database.intercept = (request, response) => answerWithKey(request, response, 200, '');
    const ended = await world.run(['--entities', 'jockeys', '--limit', '1']);
    expect(ended.code).toBeGreaterThan(0);
    expectNoSecret(ended.stdout, ended.stderr);
  });
});

describe('the command', () => {
  it.each([
    ['a run that goes well', ['--all', '--strategy', 'sweep', '--rate', '1000'], {}],
    ['a dry run', ['--all', '--dry-run'], {}],
    ['verify', ['verify', '--sample', '3', '--rate', '1000'], {}],
    ['a wrong option', ['--all', '--limit', '0'], {}],
    ['a colon in the username', ['--all'], { RACING_API_USERNAME: `${username}:` }],
    ['a line break in the password', ['--all'], { RACING_API_PASSWORD: `${password}\n${password}` }],
    [
      'credentials in a URL',
      ['--all'],
      { RACING_API_BASE_URL: `https://${username}:${password}@127.0.0.1/v1` },
    ],
    [
      'credentials in the database URL',
      ['--all'],
      { SUPABASE_URL: `http://${username}:${password}@127.0.0.1` },
    ],
    ['the password in place of a URL', ['--all'], { SUPABASE_URL: password }],
    ['the key in place of a URL', ['--all'], 'key'],
  ])('%s', async (_, args, more) => {
    const changed = more === 'key' ? { SUPABASE_URL: world.database.serviceKey } : more;
    const ended = await runCommand(args as string[], {
      cwd: world.folder,
      environment: { ...world.environment, ...(changed as Record<string, string>) },
    });
    expectNoSecret(ended.stdout, ended.stderr);
  });
});
