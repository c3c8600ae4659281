import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../src/config.js';
import { exitCodes, FatalError } from '../src/errors.js';

const complete = {
  RACING_API_USERNAME: 'canary-user',
  RACING_API_PASSWORD: 'canary-password',
  SUPABASE_URL: 'https://project.supabase.co',
  SUPABASE_SERVICE_KEY: 'sb_secret_canary',
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'config-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const writeEnv = (name: string, text: string) => writeFileSync(join(folder, name), text);

/** The message of the usage error that these variables give; `complete` supplies the others. It tells no secret. */
function problem(variables: Record<string, string | undefined>): string {
  try {
    loadConfig(folder, { ...complete, ...variables });
  } catch (error) {
    if (!(error instanceof FatalError)) throw error;
    expect(error.exitCode).toBe(exitCodes.usage);
    expect(error.message).not.toContain('canary');
    return error.message;
  }
  throw new Error('There was no error');
}

it('has the documented default for the base URL, also for a blank one', () => {
  for (const blank of [{}, { RACING_API_BASE_URL: ' ' }]) {
    expect(loadConfig(folder, { ...complete, ...blank })).toMatchObject({
      racingApi: {
        baseUrl: 'https://api.theracingapi.com/v1',
        username: 'canary-user',
        password: 'canary-password',
      },
      supabase: { url: 'https://project.supabase.co', serviceKey: 'sb_secret_canary' },
    });
  }
});

it('tells every problem at once, and the files it looked for', () => {
  const wrong = {
    RACING_API_USERNAME: undefined,
    RACING_API_PASSWORD: '',
    RACING_API_BASE_URL: 'nonsense',
    SUPABASE_URL: 'http://project.supabase.co',
    SUPABASE_SERVICE_KEY: 'sb_publishable_x',
  };
  const message = problem(wrong);
  for (const name of Object.keys(wrong)) expect(message).toContain(`  ${name} `);
  expect(message).toContain(`.env.local and .env in ${folder}.`);
});

describe('an .env file', () => {
  it('comes after the real variables, .env.local before .env', () => {
    writeEnv('.env', 'RACING_API_USERNAME=shared\nRACING_API_PASSWORD=shared\nSUPABASE_URL=https://shared.test\n');
    writeEnv('.env.local', 'RACING_API_USERNAME=local\nRACING_API_PASSWORD=local\n');
    expect(loadConfig(folder, { RACING_API_USERNAME: 'real', SUPABASE_SERVICE_KEY: 'real' })).toMatchObject({
      racingApi: { username: 'real', password: 'local' },
      supabase: { url: 'https://shared.test', serviceKey: 'real' },
    });
  });

  it('does not help a blank real variable: it is missing', () => {
    writeEnv('.env', 'RACING_API_PASSWORD=shared\n');
    expect(problem({ RACING_API_PASSWORD: '  ' })).toContain('RACING_API_PASSWORD is missing');
  });

  it('with a byte-order mark, Windows line ends, quotes, export and comments is read', () => {
    const lines = [
      "\ufeffRACING_API_USERNAME='quoted user'",
      '# the account of The Racing API',
      'export RACING_API_PASSWORD="pass#word" # not this',
      '',
      '   SUPABASE_URL = https://project.supabase.co/   ',
      'SUPABASE_SERVICE_KEY=sb_secret_plain # nor this',
      '# RACING_API_BASE_URL=https://elsewhere.test',
    ];
    writeEnv('.env', lines.join('\r\n'));
    expect(loadConfig(folder, {})).toMatchObject({
      racingApi: { baseUrl: 'https://api.theracingapi.com/v1', username: 'quoted user', password: 'pass#word' },
      supabase: { url: 'https://project.supabase.co', serviceKey: 'sb_secret_plain' },
    });
  });

  it.each(['.env', '.env.local'])('%s that cannot be read is named', (name) => {
    mkdirSync(join(folder, name));
    expect(problem({})).toContain(join(folder, name));
  });
});

describe.each(['SUPABASE_URL', 'RACING_API_BASE_URL'])('%s', (name) => {
  it.each([
    [
      'is not a URL',
      ['canary is no url', 'project.supabase.co', 'https://', 'ftp://canary.test', 'file:///etc/passwd'],
    ],
    ['may not hold credentials', ['https://canary-user:canary-password@host.test', 'https://canary-user@host.test']],
    ['may not hold a query or a fragment', ['https://host.test/?key=canary-password', 'https://host.test/#part']],
    ['uses plain http', ['http://host.test', 'http://10.0.0.1', 'http://[::2]', 'http://0.0.0.0']],
    ['uses plain http', ['http://localhost.evil.test', 'http://127.0.0.1.evil.test']],
  ])('that %s is refused: %j', (reason, urls) => {
    for (const url of urls) expect(problem({ [name]: url }), url).toContain(`  ${name} ${reason}`);
  });

  it.each([
    ['http://127.0.0.1:54321', 'http://127.0.0.1:54321'],
    ['http://127.9.9.9', 'http://127.9.9.9'],
    ['http://localhost:3000/v1', 'http://localhost:3000/v1'],
    ['http://[::1]:8000', 'http://[::1]:8000'],
    ['https://host.test/v1//', 'https://host.test/v1'],
    ['  https://host.test  ', 'https://host.test'],
  ])('%s is taken, without a trailing slash', (url, taken) => {
    const { racingApi, supabase } = loadConfig(folder, { ...complete, [name]: url });
    expect(name === 'SUPABASE_URL' ? supabase.url : racingApi.baseUrl).toBe(taken);
  });
});

it.each(['https://project.supabase.co/rest/v1', 'https://project.supabase.co/rest/v1/'])(
  'SUPABASE_URL may not be that of the Data API: %s',
  (url) => expect(problem({ SUPABASE_URL: url })).toContain('SUPABASE_URL is the URL of the Data API'),
);

const jwt = (claims: unknown) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2lnbmF0dXJl`;

it.each([
  ['a publishable key', 'sb_publishable_canary'],
  ['a publishable key with blanks around it', ' sb_publishable_canary\n'],
  ['a legacy anon key', jwt({ role: 'anon', iss: 'supabase' })],
  ["a signed-in user's token", jwt({ role: 'authenticated' })],
])('%s is refused as service key', (_, key) => {
  const message = problem({ SUPABASE_SERVICE_KEY: key });
  expect(message).toContain('SUPABASE_SERVICE_KEY is a publishable (anon) key');
  expect(message).not.toContain(key.trim());
});

it.each([
  ['a secret key', 'sb_secret_canary'],
  ['a legacy service_role key', jwt({ role: 'service_role' })],
  ['a token without claims', 'a.bm90IGpzb24.c'],
  ['a token with null for claims', jwt(null)],
  ['any other text', 'local-development-key'],
])('%s is accepted as service key', (_, key) => {
  expect(loadConfig(folder, { ...complete, SUPABASE_SERVICE_KEY: key }).supabase.serviceKey).toBe(key);
});

it.each(['RACING_API_USERNAME', 'RACING_API_PASSWORD', 'SUPABASE_SERVICE_KEY'])(
  '%s with a line break or a control character inside is refused',
  (name) => {
    for (const value of ['canary\nX-Header: 1', 'canary\r\nend', 'canary\u0000end']) {
      expect(problem({ [name]: value })).toContain(`${name} contains a line break`);
    }
  },
);

it('a username may not hold a colon, but a password may', () => {
  expect(problem({ RACING_API_USERNAME: 'canary:user' })).toContain('RACING_API_USERNAME contains a colon');
  expect(loadConfig(folder, { ...complete, RACING_API_PASSWORD: 'a:b' }).racingApi.password).toBe('a:b');
});
