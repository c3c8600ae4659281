import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { type Config, loadConfig } from '../src/config.js';

const mail = { NOTIFY_EMAIL_TO: 'me@stable.test', SMTP_URL: 'smtps://canary:canary@mail.test:465' };
const email = { to: mail.NOTIFY_EMAIL_TO, smtpUrl: mail.SMTP_URL };

function notifications(variables: Record<string, string>): Config['notifications'] {
  const racingApi = { RACING_API_USERNAME: 'user', RACING_API_PASSWORD: 'password' };
  const supabase = { SUPABASE_URL: 'https://project.supabase.co', SUPABASE_SERVICE_KEY: 'sb_secret_key' };
  const folder = `${tmpdir()}/without-env-files`;
  return loadConfig(folder, { ...racingApi, ...supabase, ...variables }).notifications;
}

describe('the notifications', () => {
  it.each<[Record<string, string>, Config['notifications']['email']]>([
    [{}, null],
    [{ NOTIFY_EMAIL_TO: '', SMTP_URL: ' ', NOTIFY_ON: '', HEARTBEAT_URL: '' }, null],
    [{ NOTIFY_ON: 'always' }, null],
    [mail, { ...email, on: 'failure' }],
    [
      { ...mail, NOTIFY_ON: 'failure' },
      { ...email, on: 'failure' },
    ],
    [
      { ...mail, NOTIFY_ON: 'always' },
      { ...email, on: 'always' },
    ],
  ])('with %j are sent by e-mail as %j', (variables, expected) => {
    expect(notifications(variables)).toEqual({ email: expected, heartbeatUrl: null });
  });

  it.each(['https://hc.test/ping/1?create=1', 'http://127.0.0.1:8000/ping'])('may be sent to %s', (url) => {
    expect(notifications({ HEARTBEAT_URL: url })).toEqual({ email: null, heartbeatUrl: url });
  });

  it.each([
    [{ NOTIFY_EMAIL_TO: 'me@stable.test' }, 'NOTIFY_EMAIL_TO and SMTP_URL go together'],
    [{ SMTP_URL: mail.SMTP_URL }, 'NOTIFY_EMAIL_TO and SMTP_URL go together'],
    [{ ...mail, SMTP_URL: 'canary.mail.test:25' }, 'SMTP_URL is not a URL'],
    [{ ...mail, SMTP_URL: 'smtp://' }, 'SMTP_URL is not a URL'],
    [{ ...mail, NOTIFY_EMAIL_TO: 'canary\nBcc: all@stable.test' }, 'NOTIFY_EMAIL_TO contains a line break'],
    [{ ...mail, NOTIFY_ON: 'canary' }, 'NOTIFY_ON is neither failure nor always'],
    [{ HEARTBEAT_URL: 'canary' }, 'HEARTBEAT_URL is not a URL'],
    [{ HEARTBEAT_URL: 'ftp://hc.test/canary' }, 'HEARTBEAT_URL is not a URL'],
  ])('with %j are refused, without a value in the message', (variables, problem) => {
    expect(() => notifications(variables)).toThrow(problem);
    expect(() => notifications(variables)).not.toThrow('canary');
  });
});
