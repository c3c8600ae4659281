import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { exitCodes } from '../errors.js';
import type { EndedRun, Report } from '../files/report.js';
import { formatCount, formatDuration, printable } from '../format.js';
import { summaryTable } from './summary.js';

const program = 'populate-all-statistics';
const failuresShown = 20;
const longestHeadline = 72;
const columns = 100;

/** The outcome in one short line. */
export function subjectOf(report: Report): string {
  const { exit_code: exitCode, overall } = report;
  if (exitCode !== exitCodes.allWritten) return `${program} FAILED (exit ${exitCode}): ${causeOf(report)}`;
  return `${program}: ${counts(report)} in ${formatDuration(overall.duration)}`;
}

function causeOf(report: Report): string {
  const cause = headline(report.stopped_by ?? '');
  if (cause === '') return counts(report);
  return report.overall.total_processed === 0 ? cause : `${cause} (${counts(report)})`;
}

function counts({ overall }: Report): string {
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

/** What happened, what to do next, the table, the first failures, and where the report is. */
export function bodyOf({ report, reportPath }: EndedRun): string {
  const stoppedBy = report.stopped_by;
  const failed = report.failures.length;
  const parts = [
    stoppedBy === null ? '' : stoppedBy.split('\n').map(printable).join('\n'),
    `${counts(report)} in ${formatDuration(report.overall.duration)}, started ${report.started_at}.`,
    failed === 0 ? '' : `Next step: run again with --resume to try the ${formatCount(failed)} failed ones again.`,
    summaryTable(report, columns),
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
