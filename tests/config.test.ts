import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../src/config.js';
import { exitCodes, FatalError } from '../src/errors.js';
import { ownFolder } from './watching.js';

type Variables = Record<string, string | undefined>;

const complete = {
  RACING_API_USERNAME: 'canary-user',
  RACING_API_PASSWORD: 'canary:password',
  SUPABASE_URL: 'https://project.supabase.co',
  SUPABASE_SERVICE_KEY: 'sb_secret_canary',
};
const mail = { NOTIFY_EMAIL_TO: 'canary@stable.test', SMTP_URL: 'smtps://canary:canary@mail.test:465' };
const jwt = (claims: unknown) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.canary`;

const folder = ownFolder();
const writeEnv = (name: string, text: string) => writeFileSync(folder(name), text);
const load = (variables: Variables) => loadConfig(folder(), { ...complete, ...variables }, 2);

/** The message of the usage error that these variables give. It tells no secret. */
function problem(variables: Variables): string {
  try {
    load(variables);
  } catch (error) {
    if (!(error instanceof FatalError)) throw error;
    expect(error.exitCode).toBe(exitCodes.usage);
    expect(error.message).not.toContain('canary');
    return error.message;
  }
  throw new Error('There was no error');
}

it('has the documented defaults, also for what is blank', () => {
  const blank = { RACING_API_BASE_URL: ' ', NOTIFY_EMAIL_TO: '', SMTP_URL: ' ', NOTIFY_ON: '', HEARTBEAT_URL: '' };
  for (const variables of [{}, blank]) {
    expect(load(variables)).toEqual({
      racingApi: { baseUrl: 'https://api.theracingapi.com/v1', username: 'canary-user', password: 'canary:password' },
      supabase: { url: 'https://project.supabase.co', serviceKey: 'sb_secret_canary' },
      notifications: { on: 'failure', email: null, webhookUrl: null, heartbeatUrl: null },
    });
  }
});

it('tells every problem at once, and which files it has read', () => {
  const names = [...Object.keys(complete), 'RACING_API_BASE_URL', 'SMTP_URL', 'HEARTBEAT_URL', 'NOTIFY_WEBHOOK_URL'];
  const message = problem(Object.fromEntries(names.map((name) => [name, 'canary\nX-Header: 1'])));
  for (const name of names) expect(message).toContain(`  ${name} contains a line break`);
  expect(message).toMatch(/^The configuration cannot be used:/);
  expect(message).toContain(`Read: the environment (no .env.local, no .env) in ${folder()}.`);
  expect(message).toContain('make a file .env there');
  writeEnv('.env.example', '');
  expect(problem({ SUPABASE_URL: undefined })).toContain('copy .env.example to .env');
  writeEnv('.env', '');
  const missing = problem({ SUPABASE_URL: undefined, RACING_API_PASSWORD: '' });
  expect(missing).toMatch(
    /^The configuration is not complete:\n {2}RACING_API_PASSWORD is missing\n {2}SUPABASE_URL is/,
  );
  expect(missing).toContain(`Read: the environment, .env (no .env.local) in ${folder()}.`);
  expect(missing).toContain('Set them in the environment, or in .env, with a line NAME=value for each.');
});

describe('a variable by another name that people know', () => {
  const none = { SUPABASE_URL: '', SUPABASE_SERVICE_KEY: undefined };
  const others = {
    NEXT_PUBLIC_SUPABASE_URL: 'https://other.supabase.co',
    SUPABASE_SERVICE_ROLE_KEY: 'sb_secret_other',
  };

  it('is taken where ours is not set', () => {
    const other = { url: 'https://other.supabase.co', serviceKey: 'sb_secret_other' };
    expect(load({ ...none, ...others }).supabase).toEqual(other);
    const more = {
      SUPABASE_KEY: 'sb_publishable_1',
      VITE_SUPABASE_URL: 'https://vite.supabase.co',
      RACING_API_USER: 'a',
    };
    expect(load({ ...none, ...more, ...others }).supabase).toEqual(other);
    expect(load({ ...none, ...more, SUPABASE_SECRET_KEY: 'sb_secret_2' }).supabase).toEqual({
      url: 'https://vite.supabase.co',
      serviceKey: 'sb_secret_2',
    });
    expect(load({ ...more, RACING_API_USERNAME: '' }).racingApi.username).toBe('a');
    expect(load(others).supabase).toEqual({ url: complete.SUPABASE_URL, serviceKey: complete.SUPABASE_SERVICE_KEY });
  });

  it('is the one that an error names', () => {
    const told = problem({ ...none, ...others, SUPABASE_SERVICE_ROLE_KEY: 'sb_publishable_canary' });
    expect(told).toContain('  SUPABASE_SERVICE_ROLE_KEY is a publishable');
  });
});

describe('an .env file', () => {
  it('in every notation is read, but .env.local comes before .env, and the real variables before both', () => {
    const lines = [
      "\ufeffRACING_API_USERNAME='quoted user'",
      'export RACING_API_PASSWORD="pass#word" # not this',
      '   SUPABASE_URL = https://project.supabase.co/   ',
      'SUPABASE_SERVICE_KEY=sb_secret_plain # nor this',
      '# RACING_API_BASE_URL=https://elsewhere.test',
    ];
    writeEnv('.env', lines.join('\r\n'));
    const baseUrl = 'https://api.theracingapi.com/v1';
    expect(loadConfig(folder(), {}, 2)).toMatchObject({
      racingApi: { baseUrl, username: 'quoted user', password: 'pass#word' },
      supabase: { url: 'https://project.supabase.co', serviceKey: 'sb_secret_plain' },
    });
    writeEnv('.env.local', 'RACING_API_USERNAME=local\nRACING_API_PASSWORD=local\n');
    const { racingApi } = loadConfig(folder(), { RACING_API_USERNAME: 'real' }, 2);
    expect(racingApi).toEqual({ baseUrl, username: 'real', password: 'local' });
  });

  it('does not help a blank real variable: it is missing', () => {
    writeEnv('.env', 'RACING_API_PASSWORD=shared\n');
    expect(problem({ RACING_API_PASSWORD: '  ' })).toContain('RACING_API_PASSWORD is missing');
  });

  it('with a wrong value is named', () => {
    writeEnv('.env.local', 'RACING_API_BASE_URL=canary\n');
    writeEnv('.env', 'SUPABASE_URL=canary\nRACING_API_BASE_URL=canary\nHEARTBEAT_URL=canary\n');
    const message = problem({ SUPABASE_URL: 'canary' });
    expect(message).toContain('  RACING_API_BASE_URL of .env.local is not a URL');
    expect(message).toContain('  HEARTBEAT_URL of .env is not a URL');
    expect(message).toContain('  SUPABASE_URL is not a URL');
    expect(message).toContain('\nCorrect them in the environment');
  });

  it('that cannot be read is named', () => {
    mkdirSync(folder('.env.local'));
    expect(problem({})).toContain(folder('.env.local'));
  });
});

describe.each(['SUPABASE_URL', 'RACING_API_BASE_URL'])('%s', (name) => {
  it.each([
    ['is not a URL', ['canary is no url', 'project.supabase.co', 'https://', 'ftp://canary.test']],
    ['may not hold credentials', ['https://canary-user:canary-password@host.test', 'https://canary-user@host.test']],
    ['may not hold a query or a fragment', ['https://host.test/?key=canary-password', 'https://host.test/#part']],
    ['uses plain http', ['http://host.test', 'http://10.0.0.1', 'http://[::2]', 'http://127.0.0.1.evil.test']],
  ])('that %s is refused: %j', (reason, urls) => {
    for (const url of urls) expect(problem({ [name]: url }), url).toContain(`  ${name} ${reason}`);
  });

  it.each([
    ['http://127.9.9.9:54321', 'http://127.9.9.9:54321'],
    ['http://localhost:3000/v1', 'http://localhost:3000/v1'],
    ['http://[::1]:8000', 'http://[::1]:8000'],
    ['  https://host.test/v1//  ', 'https://host.test/v1'],
  ])('%s is taken, without a trailing slash', (url, taken) => {
    const { racingApi, supabase } = load({ [name]: url });
    expect(name === 'SUPABASE_URL' ? supabase.url : racingApi.baseUrl).toBe(taken);
  });
});

it.each<[string, Variables]>([
  ['RACING_API_USERNAME contains a colon', { RACING_API_USERNAME: 'canary:user' }],
  ['RACING_API_PASSWORD contains a line break', { RACING_API_PASSWORD: 'canary\u0000end' }],
  ['SUPABASE_URL is the URL of the Data API', { SUPABASE_URL: 'https://project.supabase.co/rest/v1/' }],
  ['SUPABASE_SERVICE_KEY is a publishable', { SUPABASE_SERVICE_KEY: ' sb_publishable_canary\n' }],
  ['SUPABASE_SERVICE_KEY is a publishable', { SUPABASE_SERVICE_KEY: jwt({ role: 'anon', iss: 'supabase' }) }],
  ['SUPABASE_SERVICE_KEY is a publishable', { SUPABASE_SERVICE_KEY: jwt({ role: 'authenticated' }) }],
  ['NOTIFY_EMAIL_TO and SMTP_URL go together', { NOTIFY_EMAIL_TO: mail.NOTIFY_EMAIL_TO }],
  ['NOTIFY_EMAIL_TO and SMTP_URL go together', { SMTP_URL: mail.SMTP_URL }],
  ['NOTIFY_EMAIL_TO contains a line break', { ...mail, NOTIFY_EMAIL_TO: 'canary\nBcc: all@stable.test' }],
  ['SMTP_URL is not a URL', { ...mail, SMTP_URL: 'canary.mail.test:25' }],
  ['SMTP_URL is not a URL', { ...mail, SMTP_URL: 'smtp://' }],
  ['NOTIFY_ON is neither failure nor always', { ...mail, NOTIFY_ON: 'canary' }],
  ['HEARTBEAT_URL is not a URL', { HEARTBEAT_URL: 'ftp://hc.test/canary' }],
  ['HEARTBEAT_URL uses plain http', { HEARTBEAT_URL: 'http://hc.test/canary' }],
])('%s: so %j is refused', (reason, variables) => {
  expect(problem(variables)).toContain(`  ${reason}`);
});

it.each([
  ['a legacy service_role key', jwt({ role: 'service_role' })],
  ['a token without claims', 'a.bm90IGpzb24.c'],
  ['a token with null for claims', jwt(null)],
])('%s is accepted as service key', (_, key) => {
  expect(load({ SUPABASE_SERVICE_KEY: key }).supabase.serviceKey).toBe(key);
});

const email = { to: mail.NOTIFY_EMAIL_TO, smtpUrl: mail.SMTP_URL };
it.each<[Variables, object]>([
  [mail, { email }],
  [{ ...mail, NOTIFY_ON: 'failure' }, { email }],
  [
    { ...mail, NOTIFY_ON: 'always' },
    { email, on: 'always' },
  ],
  [{ NOTIFY_WEBHOOK_URL: 'https://chat.test/hooks/1' }, { webhookUrl: 'https://chat.test/hooks/1' }],
  [{ HEARTBEAT_URL: 'https://hc.test/ping/1?create=1' }, { heartbeatUrl: 'https://hc.test/ping/1?create=1' }],
  [{ HEARTBEAT_URL: 'http://127.0.0.1:8000/ping' }, { heartbeatUrl: 'http://127.0.0.1:8000/ping' }],
])('with %j notifications go to %j alone', (variables, expected) => {
  const none = { on: 'failure', email: null, webhookUrl: null, heartbeatUrl: null };
  expect(load(variables).notifications).toEqual({ ...none, ...expected });
});
