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

/** The message of the usage error that these variables give; `complete` supplies the others. */
function problem(variables: Record<string, string | undefined>): string {
  try {
    loadConfig(folder, { ...complete, ...variables });
  } catch (error) {
    if (!(error instanceof FatalError)) throw error;
    expect(error.exitCode).toBe(exitCodes.usage);
    return error.message;
  }
  throw new Error('There was no error');
}

function jwt(claims: unknown): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}.c2lnbmF0dXJl`;
}

it('has the documented default for the base URL', () => {
  expect(loadConfig(folder, complete)).toMatchObject({
    racingApi: {
      baseUrl: 'https://api.theracingapi.com/v1',
      username: 'canary-user',
      password: 'canary-password',
    },
    supabase: { url: 'https://project.supabase.co', serviceKey: 'sb_secret_canary' },
  });
});

it('tells every problem at once, and the files it looked for', () => {
  const message = problem({
    RACING_API_USERNAME: undefined,
    RACING_API_PASSWORD: '',
    RACING_API_BASE_URL: 'nonsense',
    SUPABASE_URL: 'http://project.supabase.co',
    SUPABASE_SERVICE_KEY: 'sb_publishable_x',
  });
  for (const name of ['RACING_API_USERNAME', 'RACING_API_PASSWORD', 'RACING_API_BASE_URL', 'SUPABASE_URL'])
    expect(message).toContain(`  ${name} `);
  expect(message).toContain('  SUPABASE_SERVICE_KEY ');
  expect(message).toContain(folder);
  expect(message).toMatch(/\.env\.local and \.env /);
});

describe('precedence', () => {
  it('is real variables, .env.local, .env', () => {
    writeFileSync(
      join(folder, '.env'),
      'RACING_API_USERNAME=shared\nRACING_API_PASSWORD=shared\nSUPABASE_URL=https://shared.test\nSUPABASE_SERVICE_KEY=sb_secret_shared\n',
    );
    writeFileSync(join(folder, '.env.local'), 'RACING_API_USERNAME=local\nRACING_API_PASSWORD=local\n');
    expect(loadConfig(folder, { RACING_API_USERNAME: 'real' })).toMatchObject({
      racingApi: { username: 'real', password: 'local' },
      supabase: { url: 'https://shared.test', serviceKey: 'sb_secret_shared' },
    });
  });

  it('lets a blank real variable win too: it is missing', () => {
    writeFileSync(join(folder, '.env'), 'RACING_API_PASSWORD=shared\n');
    expect(problem({ RACING_API_PASSWORD: '  ' })).toContain('RACING_API_PASSWORD is missing');
  });

  it('takes a blank base URL for the default', () => {
    const { racingApi } = loadConfig(folder, { ...complete, RACING_API_BASE_URL: ' ' });
    expect(racingApi.baseUrl).toBe('https://api.theracingapi.com/v1');
  });
});

describe('a .env file', () => {
  const lines = [
    '# the account of The Racing API',
    "RACING_API_USERNAME='quoted user'",
    'export RACING_API_PASSWORD="pass#word" # not this',
    '',
    '   SUPABASE_URL = https://project.supabase.co/   ',
    'SUPABASE_SERVICE_KEY=sb_secret_plain # nor this',
    '# RACING_API_BASE_URL=https://elsewhere.test',
  ];

  it.each([
    ['Unix line ends', lines.join('\n')],
    ['Windows line ends', lines.join('\r\n')],
    ['old Mac line ends', lines.join('\r')],
    ['a byte-order mark and Windows line ends', `\ufeff${lines.slice(1).join('\r\n')}\r\n`],
  ])('with %s, quotes, export and comments is read', (_, text) => {
    writeFileSync(join(folder, '.env'), text);
    expect(loadConfig(folder, {})).toMatchObject({
      racingApi: {
        baseUrl: 'https://api.theracingapi.com/v1',
        username: 'quoted user',
        password: 'pass#word',
      },
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
    ['canary is no url', 'is not a URL'],
    ['project.supabase.co', 'is not a URL'],
    ['https://', 'is not a URL'],
    ['ftp://canary.test', 'is not a URL'],
    ['file:///etc/passwd', 'is not a URL'],
    ['https://canary-user:canary-password@host.test', 'may not hold credentials'],
    ['https://canary-user@host.test', 'may not hold credentials'],
    ['https://host.test/?key=canary-password', 'a query'],
    ['https://host.test/#part', 'a fragment'],
    ['http://host.test', 'plain http'],
    ['http://10.0.0.1', 'plain http'],
    ['http://localhost.evil.test', 'plain http'],
    ['http://127.0.0.1.evil.test', 'plain http'],
    ['http://[::2]', 'plain http'],
    ['http://0.0.0.0', 'plain http'],
  ])('%s is refused', (url, reason) => {
    const message = problem({ [name]: url });
    expect(message).toContain(`  ${name} `);
    expect(message).toContain(reason);
    expect(message).not.toContain('canary');
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

describe('a credential', () => {
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
        const message = problem({ [name]: value });
        expect(message).toContain(`${name} contains a line break`);
        expect(message).not.toContain('canary');
      }
    },
  );

  it('may not be a username with a colon, but a password with one', () => {
    const message = problem({ RACING_API_USERNAME: 'canary:user' });
    expect(message).toContain('RACING_API_USERNAME contains a colon');
    expect(message).not.toContain('canary');
    expect(loadConfig(folder, { ...complete, RACING_API_PASSWORD: 'a:b' }).racingApi.password).toBe('a:b');
  });

  it('never appears in the message, whatever else is wrong', () => {
    const message = problem({ SUPABASE_URL: undefined });
    for (const secret of ['canary-user', 'canary-password', 'sb_secret_canary'])
      expect(message).not.toContain(secret);
  });
});
