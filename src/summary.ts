import type { EntityType } from './entity-types.js';
import { formatCount, formatDuration, printable } from './format.js';
import type { Report } from './report.js';
import type { Selection } from './selection.js';

const sampleSize = 5;

/** Columns of text, the first aligned left and the others right. */
function table(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** The outcome for people: a table of the types, the report's path, and the next step when there is one. */
export function summarize(report: Report, reportPath: string | null): string {
  const lines: string[] = [];
  if (report.mode === 'production' && Object.keys(report.statistics).length > 0)
    lines.push(summaryTable(report));
  if (reportPath !== null) lines.push(`Report: ${reportPath}`);
  if (report.failures.length > 0) {
    lines.push(`${formatCount(report.failures.length)} failed: run again with --resume to try them again.`);
  }
  return lines.join('\n');
}

function summaryTable(report: Report): string {
  const rows = Object.entries(report.statistics).map(([name, figures]) => [
    name,
    ...[figures.total, figures.successful, figures.failed, figures.skipped].map(formatCount),
    formatDuration(figures.duration),
    `${figures.rate < 10 ? figures.rate.toFixed(2) : formatCount(Math.round(figures.rate))}/s`,
  ]);
  return table([['type', 'total', 'successful', 'failed', 'skipped', 'duration', 'rate'], ...rows]);
}

/** One line on what was selected of a type. */
export function describeSelection({ type, entities, skipped }: Selection): string {
  const left = skipped > 0 ? ` (${formatCount(skipped)} left out)` : '';
  return `${type.name}: ${formatCount(entities.length)} selected${left}`;
}

/** The first entities that a run would process. */
export function sampleTable({
  type,
  entities,
}: {
  type: EntityType;
  entities: Selection['entities'];
}): string {
  const rows = entities
    .slice(0, sampleSize)
    .map(({ id, name, lastDate }) => [`  ${printable(id)}`, printable(name), lastDate ?? 'no statistics']);
  return [`${type.name}, the first ${rows.length}:`, table(rows)].join('\n');
}
