import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { afterEach, describe, expect, it } from 'vitest';
import type { NotificationConfig } from '../src/config.js';
import { type ExitCode, exitCodes } from '../src/errors.js';
import type { Failure } from '../src/events.js';
import type { Report } from '../src/files/report.js';
import type { EndedRun } from '../src/run.js';
import { createNotifications } from '../src/show/notifications.js';
import { summaryTable } from '../src/show/summary.js';

/** Secrets that occur nowhere else, so that a leak can be found. */
const token = 'canary-token-5d1e';
const password = 'canary/password:8b40';
const spellings = [password, encodeURIComponent(password), Buffer.from(password).toString('base64'), token];

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

async function listen(server: Server): Promise<number> {
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return (server.address() as AddressInfo).port;
}

/** A TCP server that says `greeting`, or nothing, and no more. */
async function startSilentServer(greeting = ''): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    socket.write(greeting);
  });
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return await listen(server);
}

/** A port of loopback at which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createTcpServer();
  const port = await listen(server);
  await new Promise((closed) => server.close(closed));
  return port;
}

/** A cron monitor that notes the requests it gets. */
async function startMonitor(answer: RequestListener = (_, response) => response.end('OK')) {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    answer(request, response);
  });
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const origin = `http://127.0.0.1:${await listen(server)}`;
  return { requests, origin, heartbeatUrl: `${origin}/${token}` };
}

interface ReceivedMail {
  from: string;
  to: string[];
  user: string | undefined;
  secure: boolean;
  headers: string;
  subject: string;
  body: string;
}

/** An SMTP server that keeps the mails it takes. Its certificate is self-signed. */
async function startMailServer(options: SMTPServerOptions = {}) {
  const mails: ReceivedMail[] = [];
  const server = new SMTPServer({
    logger: false,
    authOptional: true,
    onAuth: ({ username, password: given }, _, done) =>
      given === password
        ? done(null, { user: username })
        : done(new Error(`Not known: ${username}:${given}`)),
    onData: async (stream, { envelope, user, secure }, done) => {
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(chunk);
      const [headers = '', ...body] = Buffer.concat(chunks).toString().split('\r\n\r\n');
      const { mailFrom, rcptTo } = envelope;
      mails.push({
        from: mailFrom ? mailFrom.address : '',
        to: rcptTo.map(({ address }) => address),
        user: typeof user === 'string' ? user : undefined,
        secure,
        headers,
        subject: decodedSubject(headers),
        body: decodedQuotedPrintable(body.join('\r\n\r\n')).replaceAll('\r\n', '\n'),
      });
      done();
    },
    ...options,
  });
  server.on('error', () => {});
  cleanups.push(() => server.close());
  return { mails, port: await listen(server.server) };
}

function decodedQuotedPrintable(text: string): string {
  const bytes = text.replaceAll('=\r\n', '').replaceAll(/=([0-9A-F]{2})/g, (_, hex) => `%${hex}`);
  return bytes.replaceAll(/(?:%[0-9A-F]{2})+/g, (escaped) => decodeURIComponent(escaped));
}

/** RFC 2047 */
function decodedSubject(headers: string): string {
  const unfolded = headers.replaceAll(/\r\n[ \t]/g, ' ');
  const subject = /^Subject: (.*)$/m.exec(unfolded)?.[1] ?? '';
  return subject
    .replaceAll(/\?= +=\?/g, '?==?')
    .replaceAll(/=\?UTF-8\?([BQ])\?(.*?)\?=/gi, (_, encoding, text) =>
      encoding.toUpperCase() === 'B'
        ? Buffer.from(text, 'base64').toString()
        : decodedQuotedPrintable(text.replaceAll('_', ' ')),
    );
}

const recipient = 'ops@example.com';

function smtp(
  port: number,
  { scheme = 'smtp', user = 'robot@example.com', pass = password, query = '' } = {},
) {
  const credentials = `${encodeURIComponent(user)}:${encodeURIComponent(pass)}`;
  return `${scheme}://${credentials}@127.0.0.1:${port}${query}`;
}

/** Notifies of one run; returns the warnings after a search for secrets and for more than one line. */
async function notify(
  config: Partial<NotificationConfig>,
  ended: EndedRun = outcome(),
  timeoutMs = 30_000,
): Promise<string[]> {
  const warnings: string[] = [];
  const warn = (line: string) => warnings.push(line);
  const options = { config: { email: null, heartbeatUrl: null, ...config }, warn, timeoutMs };
  const notifications = new Notifications(options);
  notifications.started();
  await notifications.ended(ended);
  for (const warning of warnings) {
    expect(warning).not.toContain('\n');
    for (const secret of spellings) expect(warning).not.toContain(secret);
  }
  return warnings;
}

async function notifyByMail(port: number, ended = outcome(), url = smtp(port, { query: trusting })) {
  return await notify({ email: { to: recipient, smtpUrl: url, on: 'always' } }, ended);
}

const trusting = '/?tls.rejectUnauthorized=false';

interface OutcomeOptions {
  exitCode?: ExitCode;
  stoppedBy?: string | null;
  written?: number;
  failures?: Failure[];
  reportPath?: string | null;
}

/** By default everything was written. */
function outcome({
  exitCode = exitCodes.allWritten,
  stoppedBy = null,
  written = 54_429,
  failures = [],
  reportPath = 'logs/statistics_population_report_20260701_050000.json',
}: OutcomeOptions = {}): EndedRun {
  const processed = written + failures.length;
  const report: Report = {
    timestamp: '2026-07-01T05:01:11.000Z',
    started_at: '2026-07-01T05:00:00.000Z',
    entity_types: ['jockeys', 'trainers', 'owners'],
    mode: 'production',
    options: { skip_existing: false, stale_after: null, resume: false, limit: null },
    statistics: {
      jockeys: {
        total: 3_483,
        processed: 3_483,
        successful: 3_483,
        failed: 0,
        skipped: 0,
        duration: 10.2,
        rate: 341,
      },
    },
    overall: {
      total_entities: 54_429,
      total_processed: processed,
      total_successful: written,
      total_failed: failures.length,
      duration: 71,
    },
    strategy: 'sweep',
    requests: 135,
    exit_code: exitCode,
    stopped_by: stoppedBy,
    failures,
  };
  return { report, reportPath };
}

const summary = summaryTable(outcome().report, 100);

function failed(count: number): Failure[] {
  return Array.from({ length: count }, (_, index) => ({
    entity_type: 'jockeys' as const,
    id: `jky_${index + 1}`,
    name: `Jockey ${index + 1}`,
    reason: 'results vanished',
  }));
}

const someFailed = outcome({ exitCode: exitCodes.someFailed, written: 54_426, failures: failed(3) });

describe('the heartbeat', () => {
  it('is sent at the start and at success', async () => {
    const { requests, heartbeatUrl } = await startMonitor();
    expect(await notify({ heartbeatUrl })).toEqual([]);
    expect(requests).toEqual([`GET /${token}/start`, `GET /${token}`]);
  });

  it('tells a failure with its exit code', async () => {
    const { requests, heartbeatUrl } = await startMonitor();
    expect(await notify({ heartbeatUrl }, someFailed)).toEqual([]);
    expect(requests).toEqual([`GET /${token}/start`, `GET /${token}/fail?exit_code=3`]);
  });

  it.each([
    ['/ping/', '/ping/start', '/ping/fail?exit_code=3'],
    ['/ping?key=a%20b', '/ping/start?key=a%20b', '/ping/fail?key=a%20b&exit_code=3'],
    ['/ping/?key', '/ping/start?key', '/ping/fail?key&exit_code=3'],
    ['', '/start', '/fail?exit_code=3'],
  ])('appends to the path of %s', async (path, start, fail) => {
    const { requests, origin } = await startMonitor();
    await notify({ heartbeatUrl: `${origin}${path}` }, someFailed);
    expect(requests).toEqual([`GET ${start}`, `GET ${fail}`]);
  });

  it('leaves the URL at success as it is', async () => {
    const { requests, origin } = await startMonitor();
    await notify({ heartbeatUrl: `${origin}/ping/?key=a%20b` });
    expect(requests[1]).toBe('GET /ping/?key=a%20b');
  });

  it('of the end waits for that of the start', async () => {
    const events: string[] = [];
    const { heartbeatUrl } = await startMonitor(async ({ url }, response) => {
      const which = url?.endsWith('/start') ? 'start' : 'end';
      events.push(`${which} arrives`);
      if (which === 'start') await sleep(100);
      events.push(`${which} is answered`);
      response.end();
    });
    await notify({ heartbeatUrl });
    expect(events).toEqual(['start arrives', 'start is answered', 'end arrives', 'end is answered']);
  });

  it('follows a redirect', async () => {
    const { requests, heartbeatUrl } = await startMonitor(({ url }, response) =>
      url === '/elsewhere' ? response.end() : response.writeHead(302, { location: '/elsewhere' }).end(),
    );
    expect(await notify({ heartbeatUrl })).toEqual([]);
    expect(requests.filter((request) => request === 'GET /elsewhere')).toHaveLength(2);
  });

  it('that is refused is a warning', async () => {
    const { heartbeatUrl } = await startMonitor((_, response) => response.writeHead(500).end('broken'));
    const warning = 'The heartbeat to 127.0.0.1 failed: the server answered 500. The run is not affected.';
    expect(await notify({ heartbeatUrl })).toEqual([warning, warning]);
  });

  it('that nobody answers is a warning, and the end is still sent', async () => {
    const { requests, heartbeatUrl } = await startMonitor(({ url }, response) => {
      if (!url?.endsWith('/start')) response.end();
    });
    expect(await notify({ heartbeatUrl }, outcome(), 2_000)).toEqual([
      'The heartbeat to 127.0.0.1 failed: no answer within 2.0s. The run is not affected.',
    ]);
    expect(requests).toEqual([`GET /${token}/start`, `GET /${token}`]);
  });

  it('takes the status for the answer, whether or not the body ever ends', async () => {
    const { heartbeatUrl } = await startMonitor((_, response) => response.write('OK'));
    expect(await notify({ heartbeatUrl })).toEqual([]);
  });

  it('that cannot connect is a warning', async () => {
    const warning =
      'The heartbeat to 127.0.0.1 failed: no connection (ECONNREFUSED). The run is not affected.';
    const heartbeatUrl = `http://127.0.0.1:${await closedPort()}/${token}`;
    expect(await notify({ heartbeatUrl })).toEqual([warning, warning]);
  });

  it.each([`http://user:${token}@127.0.0.1/`, `ftp://127.0.0.1/${token}`, `${token}`])(
    'with the unusable URL %s is a warning',
    async (heartbeatUrl) => {
      expect(await notify({ heartbeatUrl })).toHaveLength(2);
    },
  );
});

describe('the e-mail', () => {
  it('is sent with a login, over STARTTLS where that is offered, to all recipients', async () => {
    const { mails, port } = await startMailServer();
    const smtpUrl = smtp(port, { query: trusting });
    expect(
      await notify({ email: { to: 'ops@example.com, it@example.com', smtpUrl, on: 'failure' } }, someFailed),
    ).toEqual([]);
    expect(mails).toMatchObject([
      {
        from: 'robot@example.com',
        to: ['ops@example.com', 'it@example.com'],
        user: 'robot@example.com',
        secure: true,
        subject: 'populate-all-statistics FAILED (exit 3): 54,426 written, 3 failed',
      },
    ]);
    expect(mails[0]?.headers).toMatch(/^To: ops@example.com, it@example.com\r$/m);
    expect(mails[0]?.headers).toMatch(/^From: robot@example.com\r$/m);
    expect(mails[0]?.headers).toMatch(/^Auto-Submitted: auto-generated\r$/m);
    for (const secret of spellings) expect(JSON.stringify(mails)).not.toContain(secret);
  });

  it('goes over smtps too', async () => {
    const { mails, port } = await startMailServer({ secure: true });
    expect(await notifyByMail(port, someFailed, smtp(port, { scheme: 'smtps', query: trusting }))).toEqual(
      [],
    );
    expect(mails).toMatchObject([{ user: 'robot@example.com', secure: true }]);
  });

  it.each([
    [
      'a server without a login',
      { disabledCommands: ['AUTH', 'STARTTLS'] },
      (port: number) => `smtp://127.0.0.1:${port}`,
    ],
    ['a user that is no address', {}, (port: number) => smtp(port, { user: 'robot', query: trusting })],
  ])('comes from the first recipient with %s', async (_, options, url) => {
    const { mails, port } = await startMailServer(options);
    expect(await notifyByMail(port, someFailed, url(port))).toEqual([]);
    expect(mails).toMatchObject([{ from: recipient, to: [recipient] }]);
  });

  it.each([
    ['failure', exitCodes.allWritten, 0],
    ['failure', exitCodes.someFailed, 1],
    ['always', exitCodes.allWritten, 1],
    ['always', exitCodes.someFailed, 1],
  ] as const)('on %s after exit code %i is sent %i times', async (on, exitCode, count) => {
    const { mails, port } = await startMailServer();
    const smtpUrl = smtp(port, { query: trusting });
    expect(await notify({ email: { to: recipient, smtpUrl, on } }, outcome({ exitCode }))).toEqual([]);
    expect(mails).toHaveLength(count);
  });

  it('tells what happened, the next step, the table, the failures and where the report is', async () => {
    const { mails, port } = await startMailServer();
    const stoppedBy = 'Interrupted by SIGINT. Run again with --resume to go on.';
    const ended = outcome({
      exitCode: exitCodes.interrupted,
      stoppedBy,
      written: 1_000,
      failures: failed(25),
    });
    await notifyByMail(port, ended);
    const body = mails[0]?.body ?? '';
    const places = [
      stoppedBy,
      '1,000 written, 25 failed in 1m 11s, started 2026-07-01T05:00:00.000Z.',
      'Next step: run again with --resume to try the 25 failed ones again.',
      summary,
      '  jky_1 Jockey 1: results vanished\n',
      '  jky_20 Jockey 20: results vanished\n  and 5 more, in the report\n',
      `Report: ${resolve('logs/statistics_population_report_20260701_050000.json')} on ${hostname()}\n`,
    ].map((part) => body.indexOf(part));
    expect(places).not.toContain(-1);
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(body).not.toContain('jky_21');
  });

  it('of a run without trouble has no next step', async () => {
    const { mails, port } = await startMailServer();
    await notifyByMail(port, outcome());
    expect(mails[0]?.body).toBe(
      `54,429 written in 1m 11s, started 2026-07-01T05:00:00.000Z.\n\n${summary}\n\n` +
        `Report: ${resolve('logs/statistics_population_report_20260701_050000.json')} on ${hostname()}\n`,
    );
  });

  it('says that there is no report', async () => {
    const { mails, port } = await startMailServer();
    const stoppedBy = 'logs/x.json cannot be written: disk full.';
    await notifyByMail(port, outcome({ exitCode: exitCodes.filesUnusable, stoppedBy, reportPath: null }));
    expect(mails[0]?.body).toContain(`The report could not be written. The run was on ${hostname()}.`);
  });

  it('carries names of all languages', async () => {
    const { mails, port } = await startMailServer();
    const failure: Failure = {
      entity_type: 'owners',
      id: 'own_1',
      name: 'Zoë Ó Sé 山田 🐎',
      reason: 'é'.repeat(2_000),
    };
    await notifyByMail(
      port,
      outcome({
        exitCode: exitCodes.unsafeToWrite,
        stoppedBy: 'Zoë Ó Sé 山田 🐎 is twice.',
        written: 0,
        failures: [failure],
      }),
    );
    expect(mails[0]?.subject).toBe(
      'populate-all-statistics FAILED (exit 7): Zoë Ó Sé 山田 🐎 is twice (0 written, 1 failed)',
    );
    expect(mails[0]?.body).toContain(`  own_1 Zoë Ó Sé 山田 🐎: ${'é'.repeat(2_000)}\n`);
  });
});

describe('the subject', () => {
  const refused =
    'The Racing API refuses the account (401): wrong credentials, a lapsed account, or an endpoint outside the plan. ' +
    'Check RACING_API_USERNAME and RACING_API_PASSWORD.';

  it.each([
    ['populate-all-statistics: 54,429 written in 1m 11s', {}],
    [
      'populate-all-statistics FAILED (exit 3): 54,426 written, 3 failed',
      { exitCode: exitCodes.someFailed, written: 54_426, failures: failed(3) },
    ],
    [
      'populate-all-statistics FAILED (exit 5): The Racing API refuses the account (401)',
      { exitCode: exitCodes.apiRefused, stoppedBy: refused, written: 0 },
    ],
    [
      'populate-all-statistics FAILED (exit 130): Interrupted by SIGINT (12,000 written)',
      { exitCode: exitCodes.interrupted, stoppedBy: 'Interrupted by SIGINT. Run again.', written: 12_000 },
    ],
    [
      'populate-all-statistics FAILED (exit 8): logs/checkpoint_owners.json cannot be written: ENOSPC',
      {
        exitCode: exitCodes.filesUnusable,
        stoppedBy: 'logs/checkpoint_owners.json cannot be written: ENOSPC',
        written: 0,
      },
    ],
    [
      `populate-all-statistics FAILED (exit 6): ${'database '.repeat(7)}database…`,
      { exitCode: exitCodes.databaseFailed, stoppedBy: 'database '.repeat(50), written: 0 },
    ],
    [
      'populate-all-statistics FAILED (exit 4): 0 written',
      { exitCode: exitCodes.apiUnavailable, stoppedBy: '', written: 0 },
    ],
    [
      'populate-all-statistics FAILED (exit 7): Rows of Zoë are twice',
      { exitCode: exitCodes.unsafeToWrite, stoppedBy: 'Rows of\u202e\u0000\tZoë are twice', written: 0 },
    ],
  ] as [string, OutcomeOptions][])('is "%s"', async (subject, options) => {
    const { mails, port } = await startMailServer();
    await notifyByMail(port, outcome(options));
    expect(mails).toMatchObject([{ subject }]);
  });

  it.each([
    '\r\nBcc: evil@example.com\r\n\r\nForged',
    'Stop\r\nBcc: evil@example.com\r\n\r\nForged',
    'Stop\nBcc: evil@example.com',
    'Stop\rBcc: evil@example.com',
    'Stop\u2028Bcc: evil@example.com\u0000',
    'Stop\r\n.\r\nMAIL FROM:<evil@example.com>',
  ])('and the headers take nothing from %j or such names', async (text) => {
    const { mails, port } = await startMailServer();
    const failures: Failure[] = [{ entity_type: 'owners', id: text, name: text, reason: text }];
    const ended = outcome({ exitCode: exitCodes.unsafeToWrite, stoppedBy: text, failures });
    expect(await notifyByMail(port, ended)).toEqual([]);
    expect(mails).toMatchObject([{ from: 'robot@example.com', to: [recipient] }]);
    const [mail] = mails;
    expect(mail?.headers).not.toMatch(/^Bcc/im);
    const names = mail?.headers
      .match(/^[\w-]+(?=:)/gm)
      ?.map((name) => name.toLowerCase())
      .sort();
    expect(names).toEqual([
      'auto-submitted',
      'content-transfer-encoding',
      'content-type',
      'date',
      'from',
      'message-id',
      'mime-version',
      'subject',
      'to',
    ]);
    expect(mail?.body.match(/^ {2}\S.*$/gm)).toHaveLength(1);
  });
});

describe('an e-mail that cannot be sent is one warning', () => {
  const warning = (reason: string) => [
    `The e-mail through 127.0.0.1 failed: ${reason}. The run is not affected.`,
  ];

  it('for a wrong password, which the server repeats', async () => {
    const { mails, port } = await startMailServer();
    const wrong = smtp(port, { pass: `${password}-wrong`, query: trusting });
    expect(await notifyByMail(port, someFailed, wrong)).toEqual(
      warning('the server refuses the user and password of SMTP_URL (535)'),
    );
    expect(mails).toEqual([]);
  });

  it.each([
    ['the sender', { onMailFrom: (_address, _session, done) => done(new Error(`no ${password}`)) }],
    ['the recipients', { onRcptTo: (_address, _session, done) => done(new Error(`no ${password}`)) }],
    [
      'the message',
      {
        onData: (stream, _session, done) =>
          stream.on('end', () => done(new Error(`no ${password}`))).resume(),
      },
    ],
    ['the connection', { onConnect: (_session, done) => done(new Error(`no ${password}`)) }],
  ] as [string, SMTPServerOptions][])('for a server that refuses %s', async (what, options) => {
    const { mails, port } = await startMailServer(options);
    const [line, ...more] = await notifyByMail(port, someFailed);
    expect(line).toMatch(new RegExp(`the server refuses ${what} \\(\\d{3}\\)`));
    expect(more).toEqual([]);
    expect(mails).toEqual([]);
  });

  it('for one of two recipients refused; the other gets it', async () => {
    const { mails, port } = await startMailServer({
      onRcptTo: ({ address }, _, done) => done(address === recipient ? null : new Error('no such user')),
    });
    const email = {
      to: `${recipient},gone@example.com`,
      smtpUrl: smtp(port, { query: trusting }),
      on: 'always',
    } as const;
    expect(await notify({ email })).toEqual(warning('the server refuses 1 of 2 recipients'));
    expect(mails).toMatchObject([{ to: [recipient] }]);
  });

  it('for a certificate that nobody vouches for', async () => {
    const { mails, port } = await startMailServer();
    expect(await notifyByMail(port, someFailed, smtp(port))).toMatchObject([
      expect.stringMatching(/no connection \(\w+\)/),
    ]);
    expect(mails).toEqual([]);
  });

  it.each(['', '220 hello\r\n'])('for a server that says %j and no more', async (greeting) => {
    const smtpUrl = smtp(await startSilentServer(greeting));
    const email = { to: recipient, smtpUrl, on: 'always' } as const;
    expect(await notify({ email }, someFailed, 300)).toEqual(warning('no answer within 0.3s'));
  });

  it('for a port that nobody listens at', async () => {
    expect(await notifyByMail(0, someFailed, smtp(await closedPort()))).toEqual(
      warning('no connection (ECONNREFUSED)'),
    );
  });

  it.each([`smtp://%zz:${token}@127.0.0.1`, `${token}`])('for the unusable URL %s', async (smtpUrl) => {
    expect(await notifyByMail(0, someFailed, smtpUrl)).toHaveLength(1);
  });

  it('and keeps nothing from the heartbeat', async () => {
    const { requests, heartbeatUrl } = await startMonitor();
    const email = { to: recipient, smtpUrl: smtp(await closedPort()), on: 'always' } as const;
    expect(await notify({ email, heartbeatUrl }, someFailed)).toHaveLength(1);
    expect(requests).toEqual([`GET /${token}/start`, `GET /${token}/fail?exit_code=3`]);
  });
});

it('sends nothing when both are off', async () => {
  const monitor = await startMonitor();
  const { mails } = await startMailServer();
  expect(await notify({ email: null, heartbeatUrl: null }, someFailed)).toEqual([]);
  expect([...monitor.requests, ...mails]).toEqual([]);
});

it('comes back from the start at once', async () => {
  const warnings: string[] = [];
  const heartbeatUrl = `http://127.0.0.1:${await startSilentServer()}/${token}`;
  const notifications = createNotifications(
    { email: null, heartbeatUrl },
    (line) => warnings.push(line),
    200,
  );
  expect(notifications.started()).toBeUndefined();
  expect(warnings).toEqual([]);
  await notifications.ended(outcome());
  expect(warnings).toHaveLength(2);
});
