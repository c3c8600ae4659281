import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { fetch } from 'undici';
import { isLoopback, type NotificationConfig } from '../config.js';
import { errorCode, exitCodes, isInterruption } from '../errors.js';
import type { Failure } from '../events.js';
import { type EndedRun, type Report, sumOf } from '../files/report.js';
import type { SavedReport } from '../files/saved-reports.js';
import { firstSentence, formatCount, formatDuration, printable } from '../format.js';
import { countsOf, runAgain, summaryTable } from './summary.js';

const program = 'populate-all-statistics';

/**
 * Tells people and monitors of a run. `warn` takes one line for each notification that could not be sent, which names
 * the host and no secret. `timeoutMs` is for a whole one, from the look-up of the host to the last answer.
 */
export function createNotifications(
  { on, email, webhookUrl, heartbeatUrl }: NotificationConfig,
  warn: (line: string) => void,
  timeoutMs = 10_000,
) {
  let startSent = Promise.resolve();

  /** Sends within the time, or warns. */
  async function attempt(what: string, url: string, allowedMs: number, send: Send): Promise<void> {
    const signal = AbortSignal.timeout(allowedMs);
    const reason = await send(signal).catch((error) =>
      signal.aborted ? `no answer within ${formatDuration(allowedMs / 1000)}` : reasonOf(error),
    );
    if (reason !== undefined) warn(`${what} ${hostOf(url)} failed: ${reason}. The run is not affected.`);
  }

  async function beat(allowedMs: number, report?: Report): Promise<void> {
    if (heartbeatUrl === null) return;
    const send: Send = async (signal) => ask(pingUrl(heartbeatUrl, report), signal);
    await attempt('The heartbeat to', heartbeatUrl, allowedMs, send);
  }

  return {
    /** Sends the start's heartbeat without waiting for it. */
    started: () => {
      startSent = beat(timeoutMs);
    },
    /** Resolves when everything was sent or has failed; never rejects. `before` is the run before, of the same types. */
    ended: async (run: EndedRun, before?: SavedReport) => {
      const { exit_code } = run.report;
      // A stopped run has ten seconds in all, most of them for its last writes.
      const allowedMs = isInterruption(exit_code) ? Math.min(timeoutMs, 1_000) : timeoutMs;
      // A monitor that heard the start last would take the run for one that still runs.
      const sent = [startSent.then(() => beat(allowedMs, run.report))];
      const isTold = on === 'always' || exit_code !== exitCodes.allWritten;
      const line = headlineOf(run.report, before);
      if (isTold && email) {
        const send: Send = (signal) => mail(email, run, line, signal, allowedMs);
        sent.push(attempt('The e-mail through', email.smtpUrl, allowedMs, send));
      }
      if (isTold && webhookUrl) {
        const send: Send = (signal) => ask(webhookUrl, signal, { text: line });
        sent.push(attempt('The webhook to', webhookUrl, allowedMs, send));
      }
      await Promise.all(sent);
    },
  };
}

export type Notifications = ReturnType<typeof createNotifications>;

/** Resolves with what the other side refuses; rejects when there is no answer. */
type Send = (signal: AbortSignal) => Promise<string | undefined>;

function hostOf(url: string): string {
  return (URL.canParse(url) && new URL(url).hostname) || 'a host that its URL does not name';
}

/** Of the start without a report. The paths are those of https://healthchecks.io/docs/http_api/, which others share. */
function pingUrl(heartbeatUrl: string, report?: Report): string {
  if (report?.exit_code === exitCodes.allWritten) return heartbeatUrl;
  const url = new URL(heartbeatUrl);
  url.pathname = url.pathname.replace(/\/+$/, '') + (report ? '/fail' : '/start');
  // Appended as text: searchParams would write the rest of the query anew, in another spelling.
  if (report) url.search += `${url.search === '' ? '?' : '&'}exit_code=${report.exit_code}`;
  return url.href;
}

/** Asks a monitor, or gives a message to a chat in the form of https://api.slack.com/messaging/webhooks. */
async function ask(url: string, signal: AbortSignal, message?: { text: string }): Promise<string | undefined> {
  const headers = { 'user-agent': program, ...(message && { 'content-type': 'application/json' }) };
  const sent = message ? { method: 'POST', body: JSON.stringify(message) } : {};
  const response = await fetch(url, { headers, signal, ...sent });
  // The status is the whole answer; a body that is left unread would keep the connection.
  await response.body?.cancel();
  return response.ok ? undefined : `the server answered ${response.status}`;
}

async function mail(
  { to, smtpUrl }: NonNullable<NotificationConfig['email']>,
  run: EndedRun,
  subject: string,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<string | undefined> {
  const { hostname: host, username } = new URL(smtpUrl);
  const user = decodeURIComponent(username);
  const recipients = to.split(',').flatMap((address) => address.trim() || []);
  // Loaded only here: most runs send no mail.
  const { createTransport } = await import('nodemailer');
  // The signal ends the whole conversation in time; the other two are what would outlive it.
  const transport = createTransport({
    url: smtpUrl,
    // Otherwise a server, or somebody before it, that offers no encryption would get the password.
    requireTLS: !isLoopback(host),
    dnsTimeout: timeoutMs,
    socketCloseTimeout: 0,
  });
  try {
    const { rejected } = await transport.sendMail({
      from: /^[^\s@<>,;"]+@[^\s@<>,;"]+$/.test(user) ? user : recipients[0],
      to: recipients,
      subject,
      text: bodyOf(run),
      // Keeps the table's lines as they are, whatever their length and letters.
      textEncoding: 'quoted-printable',
      // RFC 3834: no answer from those who are on holiday.
      headers: { 'Auto-Submitted': 'auto-generated' },
      signal,
    });
    return rejected.length > 0 ? `the server refuses ${rejected.length} of ${recipients.length} recipients` : undefined;
  } finally {
    transport.close();
  }
}

/** Codes and words of ours: the texts of servers and libraries may repeat a password or a URL. */
function reasonOf(error: unknown): string {
  const { code, command, responseCode, originalCode = code, cause }: Record<string, unknown> = Object(error);
  if (typeof responseCode === 'number') {
    const what = refusedParts[String(code)] ?? refusedParts[String(command)] ?? 'the connection';
    return `the server refuses ${what} (${responseCode})`;
  }
  const reason = originalCode ?? errorCode(cause);
  return typeof reason === 'string' ? `no connection (${reason})` : 'the URL or the answer is not usable';
}

/** By nodemailer's code, or by the command of SMTP. */
const refusedParts: Record<string, string> = {
  EAUTH: 'the user and password of SMTP_URL',
  'MAIL FROM': 'the sender',
  'RCPT TO': 'the recipients',
  DATA: 'the message',
};

const failuresShown = 20;
const longestHeadline = 160;
const columns = 100;

/** In one line what a person must know: the outcome, and what is otherwise than in the full run before. */
function headlineOf(report: Report, before: SavedReport | undefined): string {
  const { exit_code, stopped_by, overall, strategy, forced } = report;
  const figures = `${countsOf(report)}${forced.length > 0 ? ', some against a witness (--force)' : ''}`;
  // It writes what differs alone: the full run before is no measure of it.
  const isRefresh = strategy === 'refresh';
  const change = before && !isRefresh ? ` (${changeSince(report, before)})` : '';
  const command = isRefresh ? `${program} --refresh` : program;
  if (exit_code === exitCodes.allWritten) {
    return `${command}: ${figures} in ${formatDuration(overall.duration)}${change}`;
  }
  const cause = headline(stopped_by ?? '');
  const outcome = cause === '' ? figures : overall.total_processed > 0 ? `${cause}; ${figures}` : cause;
  const how = isInterruption(exit_code) ? 'was stopped' : 'FAILED';
  return `${command} ${how} (exit ${exit_code}): ${outcome}${change}`;
}

/** "before: exit 4, 12,000 written, 3 failed", of these what differs. */
function changeSince({ exit_code, overall }: Report, { exit_code: code = 0, statistics }: SavedReport): string {
  const figuresOf = (exit: number, written: number, failed: number) => [
    `exit ${exit}`,
    `${formatCount(written)} written`,
    `${formatCount(failed)} failed`,
  ];
  const now = figuresOf(exit_code, overall.total_successful, overall.total_failed);
  const before = figuresOf(code, sumOf(statistics, 'successful'), sumOf(statistics, 'failed'));
  const changes = before.filter((figure, index) => figure !== now[index]);
  return changes.length === 0 ? 'as the run before' : `before: ${changes.join(', ')}`;
}

/** A message's first sentence; of a long one the first clause, cut between words where even that is long. */
function headline(message: string): string {
  const sentence = printable(firstSentence(message));
  const [clause = ''] = sentence.length > longestHeadline ? sentence.split(/[:;]\s/) : [sentence];
  if (clause.length <= longestHeadline) return clause;
  const start = Array.from(clause).slice(0, longestHeadline).join('');
  return `${start.replace(/\s+\S*$/, '')}…`;
}

/** What happened, what to do next, the table, the first failures, and where the report is. */
function bodyOf({ report, reportPath }: EndedRun): string {
  const { stopped_by, overall, started_at, failures } = report;
  const startedAt = `${started_at.slice(0, 16).replace('T', ' ')} UTC`;
  const parts = [
    (stopped_by ?? '').split('\n').map(printable).join('\n'),
    `${countsOf(report)} in ${formatDuration(overall.duration)}, started ${startedAt}.`,
    failures.length > 0 ? `Next step: ${runAgain(report.strategy).toLowerCase()} to try what failed again.` : '',
    summaryTable(report, columns),
    failureList(failures),
    reportPath === null
      ? `There is no report. The run was on ${hostname()}.`
      : `Report: ${resolve(reportPath)} on ${hostname()}`,
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function failureList(failures: readonly Failure[]): string {
  if (failures.length === 0) return '';
  const told = failures.map(({ id, name, reason }) => `  ${printable(`${id} ${name}: ${reason}`)}`);
  const left = told.splice(failuresShown).length;
  if (left > 0) told.push(`  and ${formatCount(left)} more, in the report`);
  return ['Failed:', ...told].join('\n');
}
