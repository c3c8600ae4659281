import { fetch } from 'undici';
import { isLoopback, type NotificationConfig } from '../config.js';
import { type ExitCode, exitCodes } from '../errors.js';
import type { EndedRun } from '../files/report.js';
import { formatDuration } from '../format.js';
import { bodyOf, subjectOf } from './notification-text.js';

const program = 'populate-all-statistics';

/** Tells people and monitors of a run. That it cannot is a warning and changes nothing else. */
export interface Notifications {
  /** Sends the start's heartbeat without waiting for it. */
  started(): void;
  /** Resolves when everything was sent or has failed; never rejects. */
  ended(run: EndedRun): Promise<void>;
}

/**
 * `warn` takes one line for each notification that could not be sent; it names the host and no secret. `timeoutMs`
 * is for one whole notification, from the look-up of the host to the last answer.
 */
export function createNotifications(
  { email, heartbeatUrl }: NotificationConfig,
  warn: (line: string) => void,
  timeoutMs = 10_000,
): Notifications {
  let startSent: Promise<void> = Promise.resolve();

  async function attempt(what: string, allowedMs: number, send: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const signal = AbortSignal.timeout(allowedMs);
    try {
      await send(signal);
    } catch (error) {
      const late = `no answer within ${formatDuration(allowedMs / 1000)}`;
      warn(`${what} failed: ${signal.aborted ? late : reasonOf(error)}. The run is not affected.`);
    }
  }

  async function sendHeartbeat(urlOf: (heartbeatUrl: string) => string, allowedMs: number): Promise<void> {
    if (heartbeatUrl === null) return;
    const what = `The heartbeat to ${hostOf(heartbeatUrl)}`;
    await attempt(what, allowedMs, (signal) => ping(urlOf(heartbeatUrl), signal));
  }

  async function sendEmail(run: EndedRun, allowedMs: number): Promise<void> {
    const failed = run.report.exit_code !== exitCodes.allWritten;
    if (email === null || (email.on === 'failure' && !failed)) return;
    const content = { ...email, subject: subjectOf(run.report), text: bodyOf(run) };
    const what = `The e-mail through ${hostOf(email.smtpUrl)}`;
    await attempt(what, allowedMs, (signal) => mail(content, signal, allowedMs));
  }

  return {
    started: () => {
      startSent = sendHeartbeat(startUrl, timeoutMs);
    },
    ended: async (run) => {
      const { exit_code: exitCode } = run.report;
      // A stopped run has ten seconds in all, most of them for its last writes.
      const interrupted = exitCode === exitCodes.interrupted || exitCode === exitCodes.terminated;
      const allowedMs = interrupted ? Math.min(timeoutMs, 1_000) : timeoutMs;
      const urlOf = (url: string) => (exitCode === exitCodes.allWritten ? url : failUrl(url, exitCode));
      // A monitor that heard the start last would take the run for one that still runs.
      const heartbeat = startSent.then(() => sendHeartbeat(urlOf, allowedMs));
      await Promise.all([heartbeat, sendEmail(run, allowedMs)]);
    },
  };
}

/** The other side answered, and the answer is no. Its message holds no secret. */
class Refusal extends Error {
  override name = 'Refusal';
}

function hostOf(url: string): string {
  return (URL.canParse(url) && new URL(url).hostname) || 'a host that its URL does not name';
}

/** The paths of https://healthchecks.io/docs/http_api/, which other cron monitors share. */
function startUrl(heartbeatUrl: string): string {
  return withPath(heartbeatUrl, '/start').href;
}

function failUrl(heartbeatUrl: string, exitCode: ExitCode): string {
  const url = withPath(heartbeatUrl, '/fail');
  // Appended as text: searchParams would write the rest of the query anew, in another spelling.
  url.search += `${url.search === '' ? '?' : '&'}exit_code=${exitCode}`;
  return url.href;
}

function withPath(heartbeatUrl: string, path: string): URL {
  const url = new URL(heartbeatUrl);
  url.pathname = url.pathname.replace(/\/+$/, '') + path;
  return url;
}

async function ping(url: string, signal: AbortSignal): Promise<void> {
  const response = await fetch(url, { headers: { 'user-agent': program }, signal });
  // The status is the whole answer; a body that is left unread would keep the connection.
  await response.body?.cancel();
  if (!response.ok) throw new Refusal(`the server answered ${response.status}`);
}

interface Mail {
  to: string;
  smtpUrl: string;
  subject: string;
  text: string;
}

async function mail({ to, smtpUrl, subject, text }: Mail, signal: AbortSignal, timeoutMs: number): Promise<void> {
  const recipients = to.split(',').flatMap((address) => address.trim() || []);
  // Loaded only here: most runs send no mail.
  const { createTransport } = await import('nodemailer');
  // The signal ends the whole conversation in time; the other two are what would outlive it.
  const transport = createTransport({
    url: smtpUrl,
    // Otherwise a server, or somebody before it, that offers no encryption would get the password.
    requireTLS: !isLoopback(new URL(smtpUrl).hostname),
    dnsTimeout: timeoutMs,
    socketCloseTimeout: 0,
  });
  try {
    const { rejected } = await transport.sendMail({
      from: addressOfUser(smtpUrl) ?? recipients[0],
      to: recipients,
      subject,
      text,
      // Keeps the table's lines as they are, whatever their length and letters.
      textEncoding: 'quoted-printable',
      // RFC 3834: no answer from those who are on holiday.
      headers: { 'Auto-Submitted': 'auto-generated' },
      signal,
    });
    if (rejected.length > 0)
      throw new Refusal(`the server refuses ${rejected.length} of ${recipients.length} recipients`);
  } finally {
    transport.close();
  }
}

function addressOfUser(smtpUrl: string): string | undefined {
  const user = decodeURIComponent(new URL(smtpUrl).username);
  return /^[^\s@<>,;"]+@[^\s@<>,;"]+$/.test(user) ? user : undefined;
}

/** Codes and words of ours: the texts of servers and libraries may repeat a password or a URL. */
function reasonOf(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  const replyCode = fieldOf(error, 'responseCode');
  if (typeof replyCode === 'number') return `the server refuses ${refusedPart(error)} (${replyCode})`;
  const code = fieldOf(error, 'originalCode') ?? fieldOf(error, 'code') ?? fieldOf(fieldOf(error, 'cause'), 'code');
  return typeof code === 'string' ? `no connection (${code})` : 'the URL or the answer is not usable';
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

function refusedPart(error: unknown): string {
  if (fieldOf(error, 'code') === 'EAUTH') return 'the user and password of SMTP_URL';
  const command = fieldOf(error, 'command');
  if (command === 'MAIL FROM') return 'the sender';
  if (command === 'RCPT TO') return 'the recipients';
  return command === 'DATA' ? 'the message' : 'the connection';
}
