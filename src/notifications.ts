import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import nodemailer from 'nodemailer';
import { fetch } from 'undici';
import { type ExitCode, exitCodes } from './errors.js';
import { formatCount, formatDuration, printable } from './format.js';
import type { Report } from './report.js';

/** Who is told of a run's end; null for nobody. */
export interface NotificationConfig {
  /** `to`: addresses separated by commas; `smtpUrl`: smtp:// or smtps://, user and password percent-encoded. */
  email: { to: string; smtpUrl: string; on: 'failure' | 'always' } | null;
  /** Its path is a secret: whoever knows it can report runs. */
  heartbeatUrl: string | null;
}

/** What a finished run tells. Any exit code but 0 is a failure. */
export interface RunOutcome {
  exitCode: ExitCode;
  /** Why the run ended before its end, for people. */
  stoppedBy: string | null;
  /** The outcome a type, as a table. */
  summary: string;
  report: Report;
  /** Null when it could not be written. */
  reportPath: string | null;
}

export interface NotificationsOptions {
  config: NotificationConfig;
  /** Takes one line for each notification that could not be sent; it names the host and no secret. */
  warn: (line: string) => void;
  /** For one whole notification, from the look-up of the host to the last answer. */
  timeoutMs?: number;
}

const program = 'populate-all-statistics';
const failuresShown = 20;
const longestHeadline = 72;

/** Tells people and monitors of a run. That it cannot is a warning and changes nothing else. */
export class Notifications {
  private readonly config: NotificationConfig;
  private readonly warn: (line: string) => void;
  private readonly timeoutMs: number;
  private startSent: Promise<void> = Promise.resolve();

  constructor({ config, warn, timeoutMs = 10_000 }: NotificationsOptions) {
    this.config = config;
    this.warn = warn;
    this.timeoutMs = timeoutMs;
  }

  /** Sends the start's heartbeat without waiting for it. */
  started(): void {
    this.startSent = this.sendHeartbeat((url) => startUrl(url));
  }

  /** Resolves when everything was sent or has failed; never rejects. */
  async ended(outcome: RunOutcome): Promise<void> {
    const { exitCode } = outcome;
    // A monitor that heard the start last would take the run for one that still runs.
    const heartbeat = this.startSent.then(() =>
      this.sendHeartbeat((url) => (exitCode === exitCodes.allWritten ? url : failUrl(url, exitCode))),
    );
    await Promise.all([heartbeat, this.sendEmail(outcome)]);
  }

  private async sendHeartbeat(urlOf: (heartbeatUrl: string) => string): Promise<void> {
    const { heartbeatUrl } = this.config;
    if (heartbeatUrl === null) return;
    await this.attempt(`The heartbeat to ${hostOf(heartbeatUrl)}`, (signal) =>
      ping(urlOf(heartbeatUrl), signal),
    );
  }

  private async sendEmail(outcome: RunOutcome): Promise<void> {
    const { email } = this.config;
    if (email === null || (email.on === 'failure' && outcome.exitCode === exitCodes.allWritten)) return;
    await this.attempt(`The e-mail through ${hostOf(email.smtpUrl)}`, (signal) =>
      mail({ ...email, subject: subjectOf(outcome), text: bodyOf(outcome) }, signal, this.timeoutMs),
    );
  }

  private async attempt(what: string, send: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const signal = AbortSignal.timeout(this.timeoutMs);
    try {
      await send(signal);
    } catch (error) {
      const reason = signal.aborted
        ? `no answer within ${formatDuration(this.timeoutMs / 1000)}`
        : reasonOf(error);
      this.warn(`${what} failed: ${reason}. The run is not affected.`);
    }
  }
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

async function mail(
  { to, smtpUrl, subject, text }: Mail,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<void> {
  const recipients = to.split(',').flatMap((address) => address.trim() || []);
  // The signal ends the whole conversation in time; the other two are what would outlive it.
  const transport = nodemailer.createTransport({
    url: smtpUrl,
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
  const code =
    fieldOf(error, 'originalCode') ?? fieldOf(error, 'code') ?? fieldOf(fieldOf(error, 'cause'), 'code');
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

/** The outcome in one short line. */
function subjectOf(outcome: RunOutcome): string {
  const { exitCode, report } = outcome;
  if (exitCode !== exitCodes.allWritten) return `${program} FAILED (exit ${exitCode}): ${causeOf(outcome)}`;
  return `${program}: ${counts(report)} in ${formatDuration(report.overall.duration)}`;
}

function causeOf({ stoppedBy, report }: RunOutcome): string {
  const cause = headline(stoppedBy ?? '');
  if (cause === '') return counts(report);
  return report.overall.total_processed === 0 ? cause : `${cause} (${counts(report)})`;
}

function counts({ mode, overall }: Report): string {
  if (mode === 'dry_run') return `dry run, ${formatCount(overall.total_entities)} selected`;
  const failed = overall.total_failed === 0 ? '' : `, ${formatCount(overall.total_failed)} failed`;
  return `${formatCount(overall.total_successful)} written${failed}`;
}

/** A message's first sentence; of a long one the first clause, cut between words where even that is long. */
function headline(message: string): string {
  const [first = ''] = message.trim().split(/\.(?=\s|$)|[\r\n]/);
  const sentence = printable(first);
  if (sentence.length <= longestHeadline) return sentence;
  const [clause = ''] = sentence.split(/[:;]\s/);
  if (clause.length <= longestHeadline) return clause;
  const start = Array.from(clause).slice(0, longestHeadline).join('');
  return `${start.replace(/\s+\S*$/, '')}…`;
}

function bodyOf(outcome: RunOutcome): string {
  const { stoppedBy, report, summary, reportPath } = outcome;
  const failed = report.failures.length;
  const parts = [
    stoppedBy === null ? '' : stoppedBy.split('\n').map(printable).join('\n'),
    `${counts(report)} in ${formatDuration(report.overall.duration)}, started ${report.started_at}.`,
    failed === 0
      ? ''
      : `Next step: run again with --resume to try the ${formatCount(failed)} failed ones again.`,
    stripVTControlCharacters(summary).trimEnd(),
    failed === 0 ? '' : failureList(report),
    reportPath === null
      ? `The report could not be written. The run was on ${hostname()}.`
      : `Report: ${resolve(reportPath)} on ${hostname()}`,
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function failureList({ failures }: Report): string {
  const lines = failures
    .slice(0, failuresShown)
    .map(({ id, name, reason }) => `  ${[id, name].map(printable).join(' ')}: ${printable(reason)}`);
  const left = failures.length - lines.length;
  if (left > 0) lines.push(`  and ${formatCount(left)} more, in the report`);
  return ['Failed:', ...lines].join('\n');
}
