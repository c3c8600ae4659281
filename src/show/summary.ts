import type { Selection } from '../entity-types.js';
import type { EndedRun, Report } from '../files/report.js';
import { formatCount, formatDuration, formatRate, formatTable, printable } from '../format.js';

const sampleSize = 5;

/** The outcome for people: a table no wider than `columns`, where the report is, and the next step if there is one. */
export function summarize({ report, reportPath, pagePath }: EndedRun, columns: number): string {
  const lines: string[] = [];
  if (report.mode === 'production' && Object.keys(report.statistics).length > 0) {
    lines.push(summaryTable(report, columns));
    lines.push(`${countsOf(report.overall)} in ${formatDuration(report.overall.duration)}.`);
  }
  if (reportPath !== null) lines.push(`Report: ${reportPath}`);
  if (pagePath !== undefined) lines.push(`Page: ${pagePath}`);
  if (report.failures.length > 0) lines.push(`Next: run again with --resume to try the failed ones again.`);
  return lines.join('\n');
}

/** Of all types: 2,000 written, 3 failed. */
export function countsOf({ total_successful, total_failed }: Report['overall']): string {
  const failed = total_failed === 0 ? '' : `, ${formatCount(total_failed)} failed`;
  return `${formatCount(total_successful)} written${failed}`;
}

/** The outcome a type; leaves out columns from the right where `columns` are too few. Empty without types. */
export function summaryTable(report: Report, columns: number): string {
  const rows = Object.entries(report.statistics).map(([name, figures]) => [
    name,
    ...[figures.total, figures.successful, figures.failed, figures.skipped].map(formatCount),
    formatDuration(figures.duration),
    formatRate(figures.rate),
  ]);
  const all = [['type', 'total', 'successful', 'failed', 'skipped', 'duration', 'rate'], ...rows];
  if (rows.length === 0) return '';
  const tables = [7, 6, 5, 4].map((kept) => formatTable(all.map((row) => row.slice(0, kept))));
  return tables.find((text) => text.split('\n').every((line) => line.length <= columns)) ?? tables.at(-1) ?? '';
}

/** One line on what was selected of a type. */
export function describeSelection({ type, entities, skipped }: Selection): string {
  const left = skipped > 0 ? ` (${formatCount(skipped)} left out)` : '';
  return `${type.name}: ${formatCount(entities.length)} selected${left}`;
}

/** The first entities that a run would process. */
export function sampleTable({ type, entities }: Selection): string {
  const rows = entities
    .slice(0, sampleSize)
    .map(({ id, name, lastDate }) => [`  ${printable(id)}`, printable(name), lastDate ?? 'no statistics']);
  return [`${type.name}, the first ${rows.length}:`, formatTable(rows)].join('\n');
}
