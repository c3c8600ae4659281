import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { SMTPServer, type SMTPServerOptions, type SMTPServerSession } from 'smtp-server';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { NotificationConfig } from '../src/config.js';
import { type ExitCode, exitCodes } from '../src/errors.js';
import type { EndedRun, Report } from '../src/files/report.js';
import type { SavedReport } from '../src/files/saved-reports.js';
import { createNotifications } from '../src/show/notifications.js';
import { summaryTable } from '../src/show/summary.js';
import { failures, reportWith } from './sample-report.js';

/** Secrets that occur nowhere else, so that a leak can be found. */
const token = 'canary-token-5d1e';
const password = 'canary/password:8b40';
const spellings = [password, encodeURIComponent(password), Buffer.from(password).toString('base64'), token];

async function listen(server: Server, close: () => unknown): Promise<number> {
  onTestFinished(() => void close());
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return (server.address() as AddressInfo).port;
}

/** A port of loopback at which nobody listens; fetch would refuse to ask better known ones. */
const closedPort = 2;

/** A cron monitor that notes the requests it gets. */
async function startMonitor(answer: RequestListener = (_, response) => response.end('OK')) {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    answer(request, response);
  });
  const origin = `http://127.0.0.1:${await listen(server, () => server.close().closeAllConnections())}`;
  return { requests, origin, heartbeatUrl: `${origin}/${token}` };
}

/** An SMTP server that keeps the mails it takes. Its certificate is self-signed. */
async function startMailServer(options: SMTPServerOptions) {
  const mails: Awaited<ReturnType<typeof received>>[] = [];
  const server = new SMTPServer({
    logger: false,
    authOptional: true,
    onAuth: ({ username, password: given }, _, done) =>
      given === password ? done(null, { user: username }) : done(new Error(`${username}:${given}`)),
    onData: async (stream, session, done) => {
      mails.push(await received(stream, session));
      done();
    },
    ...options,
  });
  server.on('error', () => {});
  return { mails, port: await listen(server.server, () => server.close()) };
}

async function received(stream: Readable, { envelope, user, secure }: SMTPServerSession) {
  const [headers = '', ...parts] = (await text(stream)).split('\r\n\r\n');
  const body = decodedQuotedPrintable(parts.join('\r\n\r\n'));
  const from = envelope.mailFrom ? envelope.mailFrom.address : '';
  const to = envelope.rcptTo.map(({ address }) => address);
  return { from, to, user, secure, headers, subject: subjectIn(headers), body };
}

function decodedQuotedPrintable(encoded: string): string {
  const unfolded = encoded.replaceAll('=\r\n', '').replaceAll('\r\n', '\n').replaceAll('%', '%25');
  return decodeURIComponent(unfolded.replaceAll(/=([0-9A-F]{2})/g, '%$1'));
}

/** RFC 2047, of the two encodings the one that is used here. */
function subjectIn(headers: string): string {
  const [, subject = ''] = /^Subject: (.*)$/m.exec(headers.replaceAll(/\r\n[ \t]/g, ' ')) ?? [];
  const words = subject.replaceAll(/\?= =\?UTF-8\?Q\?|=\?UTF-8\?Q\?|\?=/g, '');
  return decodedQuotedPrintable(words.replaceAll('_', ' '));
}

const recipient = 'ops@example.com';

function smtp(port: number, { scheme = 'smtp', user = 'robot@example.com', trusting = true } = {}) {
  const credentials = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
  return `${scheme}://${credentials}@127.0.0.1:${port}${trusting ? '/?tls.rejectUnauthorized=false' : ''}`;
}

/** Notifies of one run; returns the warnings after a search for secrets and for more than one line. */
async function notify(
  config: Partial<NotificationConfig>,
  ended = outcome(),
  timeoutMs = 30_000,
  before?: SavedReport,
) {
  const warned: string[] = [];
  const whole: NotificationConfig = { on: 'failure', email: null, webhookUrl: null, heartbeatUrl: null, ...config };
  const notifications = createNotifications(whole, (line) => warned.push(line), timeoutMs);
  // Nothing is waited for.
  expect(notifications.started()).toBeUndefined();
  await notifications.ended(ended, before);
  for (const secret of ['\n', ...spellings]) expect(warned.join(' ')).not.toContain(secret);
  return warned;
}

type Email = NonNullable<NotificationConfig['email']>;
type Mailing = Partial<Email> & {
  on?: NotificationConfig['on'];
  server?: SMTPServerOptions;
  url?: typeof smtp;
  timeoutMs?: number;
};

/** Tells a mail server of its own of one run. */
async function mailed(ended: EndedRun, { on = 'always', server = {}, url = smtp, timeoutMs, ...who }: Mailing = {}) {
  const { mails, port } = await startMailServer(server);
  const email: Email = { to: recipient, smtpUrl: url(port), ...who };
  return { warned: await notify({ on, email }, ended, timeoutMs), mails, mail: mails[0] };
}

const warningsOf = (what: string, reason: string) => [`${what} failed: ${reason}. The run is not affected.`];

const reportPath = 'logs/statistics_population_report_20260701_050000.json';

/** By default everything was written. */
function outcome(changes: Partial<Report> = {}, written = 54_429): EndedRun {
  const failed = changes.failures?.length ?? 0;
  const totals = { total_entities: 54_429, total_processed: written + failed, total_successful: written };
  const overall = { ...totals, total_failed: failed, duration: 71 };
  return { report: reportWith({ overall, ...changes }), reportPath };
}

const summary = summaryTable(outcome().report, 100);
const someFailed = outcome({ exit_code: exitCodes.someFailed, failures: failures(3) }, 54_426);

describe('the heartbeat', () => {
  const isStart = (url = '') => url.endsWith('/start');

  it.each([
    ['/ping?key=a%20b', '/ping/start?key=a%20b', '/ping/fail?key=a%20b&exit_code=3'],
    ['/ping/?key', '/ping/start?key', '/ping/fail?key&exit_code=3'],
    ['', '/start', '/fail?exit_code=3'],
  ])('to %s tells the start, a failure, and the success at the path as it is', async (path, start, fail) => {
    const { requests, origin } = await startMonitor();
    const heartbeatUrl = `${origin}${path}`;
    for (const ended of [someFailed, outcome()]) expect(await notify({ heartbeatUrl }, ended)).toEqual([]);
    expect(requests).toEqual([start, fail, start, path || '/'].map((told) => `GET ${told}`));
  });

  it('of the end waits for that of the start', async () => {
    const events: string[] = [];
    const { heartbeatUrl } = await startMonitor(async ({ url }, response) => {
      events.push(`${url} arrives`);
      if (isStart(url)) await sleep(100);
      events.push(`${url} is answered`);
      response.end();
    });
    await notify({ heartbeatUrl });
    const told = [`/${token}/start`, `/${token}`];
    expect(events).toEqual(told.flatMap((url) => [`${url} arrives`, `${url} is answered`]));
  });

  const isMoved: RequestListener = ({ url }, response) =>
    url === '/elsewhere' ? response.end() : response.writeHead(302, { location: '/elsewhere' }).end();
  const isRefused: RequestListener = (_, response) => response.writeHead(500).end('broken');
  const hasNoEnd: RequestListener = (_, response) => response.write('OK');
  const forgetsStart: RequestListener = ({ url }, response) => !isStart(url) && response.end();
  const forgetsEnd: RequestListener = ({ url }, response) => isStart(url) && response.end();
  const refused = 'the server answered 500';
  const late = 'no answer within 1.0s';
  it.each([
    [isMoved, exitCodes.allWritten, 30_000, []],
    [isRefused, exitCodes.allWritten, 30_000, [refused, refused]],
    [hasNoEnd, exitCodes.allWritten, 30_000, []],
    [forgetsStart, exitCodes.allWritten, 1_000, [late]],
    [forgetsEnd, exitCodes.interrupted, 30_000, [late]],
    [forgetsEnd, exitCodes.terminated, 30_000, [late]],
  ])(
    'to a monitor that %o, at exit code %i, in %i ms, fails with %j',
    async (answer, exit_code, timeoutMs, reasons) => {
      const { requests, heartbeatUrl } = await startMonitor(answer);
      const warned = await notify({ heartbeatUrl }, outcome({ exit_code }), timeoutMs);
      expect(warned).toEqual(reasons.flatMap((reason) => warningsOf('The heartbeat to 127.0.0.1', reason)));
      expect(requests.length).toBeGreaterThanOrEqual(2);
    },
  );

  it.each([
    [`http://127.0.0.1:${closedPort}/${token}`, '127.0.0.1', 'no connection (ECONNREFUSED)'],
    [`http://user:${token}@127.0.0.1/`, '127.0.0.1', 'the URL or the answer is not usable'],
    [token, 'a host that its URL does not name', 'no connection (ERR_INVALID_URL)'],
  ])('to %s is a warning', async (heartbeatUrl, host, reason) => {
    const expected = warningsOf(`The heartbeat to ${host}`, reason);
    expect(await notify({ heartbeatUrl })).toEqual([...expected, ...expected]);
  });
});

describe('the e-mail', () => {
  it('is sent with a login, over STARTTLS where that is offered, to all recipients', async () => {
    const to = 'ops@example.com, it@example.com';
    const from = 'robot@example.com';
    const { mail, ...sent } = await mailed(someFailed, { to, on: 'failure' });
    expect(sent).toMatchObject({ warned: [], mails: [{ from, to: to.split(', '), user: from, secure: true }] });
    const headers = [`To: ${to}`, `From: ${from}`, 'Auto-Submitted: auto-generated'];
    expect(mail?.headers.split('\r\n')).toEqual(expect.arrayContaining(headers));
    expect(mail?.subject).toContain(' FAILED (exit 3): 54,426 written, 3 failed');
    for (const secret of spellings) expect(JSON.stringify(mail)).not.toContain(secret);
  });

  const noLogin = { disabledCommands: ['AUTH', 'STARTTLS'] };
  it.each<[string, SMTPServerOptions, (port: number) => string, object]>([
    ['over smtps', { secure: true }, (port) => smtp(port, { scheme: 'smtps' }), { secure: true }],
    ['without a login', noLogin, (port) => `smtp://127.0.0.1:${port}`, { from: recipient, secure: false }],
    ['with a user that is no address', {}, (port) => smtp(port, { user: 'robot' }), { from: recipient }],
  ])('is sent %s', async (_, server, url, expected) => {
    const mails = [{ to: [recipient], ...expected }];
    expect(await mailed(someFailed, { server, url })).toMatchObject({ warned: [], mails });
  });

  it('on failure alone is not sent after a success', async () => {
    expect(await mailed(outcome(), { on: 'failure' })).toMatchObject({ mails: [], warned: [] });
  });

  it('tells what happened, the next step, the table, the failures in all languages and where the report is', async () => {
    const stopped_by = 'Interrupted by SIGINT. Run again with --resume to go on.';
    const failed = failures(25, { name: 'Zoë Ó Sé 山田 🐎', reason: 'é'.repeat(2_000) });
    const { mail } = await mailed(outcome({ exit_code: exitCodes.interrupted, stopped_by, failures: failed }, 0));
    expect(mail?.subject).toContain(' (exit 130): Interrupted by SIGINT; 0 written, 25 failed, 54,404 not done');
    const shown = failed.slice(0, 20).map(({ id, name, reason }) => `  ${id} ${name}: ${reason}\n`);
    expect(mail?.body).toBe(
      `${stopped_by}\n\n0 written, 25 failed, 54,404 not done in 1m 11s, started 2026-11-23 05:00 UTC.\n\n` +
        `Next step: run again with --resume to try what failed again.\n\n${summary}\n\n` +
        `Failed:\n${shown.join('')}  and 5 more, in the report\n\nReport: ${resolve(reportPath)} on ${hostname()}\n`,
    );
  });

  it('of a run without trouble has no next step, and says that there is no report', async () => {
    const { mail } = await mailed({ ...outcome(), reportPath: null });
    expect(mail?.body).toBe(
      `54,429 written in 1m 11s, started 2026-11-23 05:00 UTC.\n\n${summary}\n\n` +
        `There is no report. The run was on ${hostname()}.\n`,
    );
  });

  const refusal = `The Racing API refuses the account (401): wrong credentials, or ${'a lapsed account '.repeat(9)}.`;
  it.each<[string, ExitCode, string | null, number]>([
    [': 54,429 written in 1m 11s', 0, null, 54_429],
    [' FAILED (exit 5): The Racing API refuses the account (401)', 5, refusal, 0],
    [
      ' was stopped (exit 130): Interrupted by SIGINT; 12,000 written, 42,429 not done',
      130,
      'Interrupted by SIGINT. Go.',
      12e3,
    ],
    [' FAILED (exit 8): a.json cannot be written: ENOSPC', 8, 'a.json cannot be written: ENOSPC', 0],
    [` FAILED (exit 6): ${'database '.repeat(16)}database…`, 6, 'database '.repeat(50), 0],
    [' FAILED (exit 4): 0 written, 54,429 not done', 4, '', 0],
    [' FAILED (exit 7): Rows of Zoë are twice', 7, 'Rows of\u202e\u0000\tZoë are twice', 0],
  ])('has the subject "%s"', async (subject, exit_code, stopped_by, written) => {
    const { mail } = await mailed(outcome({ exit_code, stopped_by }, written));
    expect(mail?.subject).toBe(`populate-all-statistics${subject}`);
  });

  it.each([
    '\r\nBcc: evil@example.com\r\n\r\nForged',
    'Stop\nBcc: evil@example.com',
    'Stop\rBcc: evil@example.com',
    'Stop\u2028Bcc: evil@example.com\u0000',
    'Stop\r\n.\r\nMAIL FROM:<evil@example.com>',
  ])('takes no header from %j, nor from such names', async (text) => {
    const failed = failures(1, { id: text, name: text, reason: text });
    const { mail, ...sent } = await mailed(outcome({ exit_code: 7, stopped_by: text, failures: failed }));
    expect(sent).toMatchObject({ warned: [], mails: [{ from: 'robot@example.com', to: [recipient] }] });
    expect(mail?.headers.match(/^[\w-]+(?=:)/gm)).toHaveLength(9);
    expect(mail?.body.match(/^ {2}\S.*$/gm)).toHaveLength(1);
  });
});

describe('the webhook', () => {
  const told: string[] = [];
  const hears: RequestListener = async (request, response) => {
    told.push(`${request.headers['content-type']} ${await text(request)}`);
    response.end('ok');
  };
  const webhookUrl = async (answer = hears) => (await startMonitor(answer)).heartbeatUrl;
  beforeEach(() => void told.splice(0));

  const before = (exit_code: number, successful: number, failed: number): SavedReport => ({
    timestamp: '2026-06-30T05:00:00.000Z',
    mode: 'production',
    statistics: { owners: { total: 54_429, processed: successful + failed, successful, failed, skipped: 0 } },
    exit_code,
    path: 'logs/before.json',
  });
  it.each<[string, EndedRun, SavedReport | undefined]>([
    [': 54,429 written in 1m 11s', outcome(), undefined],
    [': 54,429 written in 1m 11s (as the run before)', outcome(), before(0, 54_429, 0)],
    [' --refresh: 54,429 written in 1m 11s', outcome({ strategy: 'refresh' }), before(3, 54_426, 3)],
    [
      ': 54,429 written, some against a witness (--force) in 1m 11s (as the run before)',
      outcome({ forced: ['3 of 9 races are gone'] }),
      before(0, 54_429, 0),
    ],
    [': 54,429 written in 1m 11s (before: exit 3, 54,426 written, 3 failed)', outcome(), before(3, 54_426, 3)],
    [' FAILED (exit 3): 54,426 written, 3 failed (before: 54,428 written, 1 failed)', someFailed, before(3, 54_428, 1)],
  ])('tells in one line "%s"', async (line, ended, last) => {
    const config = { on: 'always', webhookUrl: await webhookUrl() } as const;
    expect(await notify(config, ended, 30_000, last)).toEqual([]);
    expect(told).toEqual([`application/json ${JSON.stringify({ text: `populate-all-statistics${line}` })}`]);
  });

  it('on failure alone is silent after a success', async () => {
    expect(await notify({ webhookUrl: await webhookUrl() })).toEqual([]);
    expect(told).toEqual([]);
  });

  it('that refuses is one warning', async () => {
    const refuses = await webhookUrl((_, response) => response.writeHead(404).end());
    const reason = 'the server answered 404';
    expect(await notify({ webhookUrl: refuses }, someFailed)).toEqual(warningsOf('The webhook to 127.0.0.1', reason));
  });
});

describe('an e-mail that cannot be sent is one warning', () => {
  const warnings = (reason: string) => warningsOf('The e-mail through 127.0.0.1', reason);
  const no = new Error(`no ${password}`);

  it.each<[string, number, SMTPServerOptions]>([
    ['the sender', 550, { onMailFrom: (_address, _session, done) => done(no) }],
    ['the recipients', 550, { onRcptTo: (_address, _session, done) => done(no) }],
    ['the message', 450, { onData: (stream, _, done) => stream.on('end', () => done(no)).resume() }],
    ['the connection', 554, { onConnect: (_session, done) => done(no) }],
    ['the user and password of SMTP_URL', 535, { onAuth: (_auth, _session, done) => done(no) }],
  ])('for a server that refuses %s (%i) and repeats the password', async (what, code, server) => {
    const warned = warnings(`the server refuses ${what} (${code})`);
    expect(await mailed(someFailed, { server })).toMatchObject({ warned, mails: [] });
  });

  it.each<[string, RegExp, typeof smtp]>([
    ['an untrusted certificate', /1 failed: no connection \(\w+\)\./, (port) => smtp(port, { trusting: false })],
    ['a URL that is not decodable', /the URL or the answer is not usable/, () => `smtp://%zz:${token}@127.0.0.1`],
  ])('for %s', async (_, expected, url) => {
    expect((await mailed(someFailed, { url })).warned).toEqual([expect.stringMatching(expected)]);
  });

  it('for one of two recipients refused; the other gets it', async () => {
    const onRcptTo: SMTPServerOptions['onRcptTo'] = ({ address }, _, done) => done(address === recipient ? null : no);
    const sent = await mailed(someFailed, { server: { onRcptTo }, to: `${recipient},gone@example.com` });
    const warned = warnings('the server refuses 1 of 2 recipients');
    expect(sent).toMatchObject({ warned, mails: [{ to: [recipient] }] });
  });

  it('for a server that stays silent, at whatever step', async () => {
    for (const step of ['onConnect', 'onAuth', 'onData']) {
      const { warned } = await mailed(someFailed, { server: { [step]: () => {} }, timeoutMs: 300 });
      expect(warned).toEqual(warnings('no answer within 0.3s'));
    }
  });

  it('for a port that nobody listens at, and keeps nothing from the heartbeat', async () => {
    const { requests, heartbeatUrl } = await startMonitor();
    const email: Email = { to: recipient, smtpUrl: smtp(closedPort) };
    const warned = await notify({ email, heartbeatUrl }, someFailed);
    expect(warned).toEqual(warnings('no connection (ECONNREFUSED)'));
    expect(requests).toEqual([`GET /${token}/start`, `GET /${token}/fail?exit_code=3`]);
  });
});
