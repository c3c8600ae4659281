import type { Selection } from '../entity-types.js';
import type { RunEvent, Strategy } from '../events.js';
import type { EndedRun, Report } from '../files/report.js';
import { formatCount, formatDuration, formatEntities, formatTable, printable } from '../format.js';

const sampleSize = 5;

/** The outcome for people: a table no wider than `columns`, how long it took, at which `pace`, and where the report is. */
export function summarize({ report, reportPath, pagePath }: EndedRun, columns: number, pace = ''): string {
  const { mode, overall } = report;
  const lines: string[] = [];
  if (mode === 'production' && overall.total_processed > 0) {
    lines.push(summaryTable(report, columns), `${countsOf(report)} in ${formatDuration(overall.duration)}.`);
    if (pace !== '') lines.push(pace);
  }
  if (reportPath !== null) lines.push(`Report: ${reportPath}`);
  if (pagePath !== undefined) lines.push(`Page: ${pagePath}`);
  return lines.join('\n');
}

/** What went wrong in a run and what to do next; undefined if nothing did. What it was stopped by says both. */
export function closingWords({ stopped_by, failures, strategy }: Report): string | undefined {
  const failed = failures.length;
  if (stopped_by !== null || failed === 0) return stopped_by ?? undefined;
  const [rows, them] = failed === 1 ? ['its row stays', 'it'] : ['their rows stay', 'them'];
  return `${formatEntities(failed)} failed; ${rows} as before. ${runAgain(strategy)} to try ${them} again.`;
}

/** A refresh has no checkpoint to go on from: it knows by itself what is left. */
export function runAgain(strategy: Strategy | null): string {
  return strategy === 'refresh' ? 'Run again' : 'Run again with --resume';
}

/** Of all types: 2,000 written, 3 failed, 10 not done. */
export function countsOf({ overall }: Pick<Report, 'overall'>): string {
  const { total_entities, total_processed, total_successful, total_failed } = overall;
  const others = Object.entries({ failed: total_failed, 'not done': total_entities - total_processed });
  const told = others.filter(([, count]) => count > 0).map(([what, count]) => `, ${formatCount(count)} ${what}`);
  return `${formatCount(total_successful)} written${told.join('')}`;
}

/** The outcome a type; leaves out columns from the right where `columns` are too few. Empty without types. */
export function summaryTable({ statistics }: Pick<Report, 'statistics'>, columns: number): string {
  const rows = Object.entries(statistics).map(([name, { total, processed, successful, failed, skipped }]) => {
    return [name, ...[successful, failed, total - processed, skipped].map(formatCount)];
  });
  if (rows.length === 0) return '';
  const all = [['type', 'written', 'failed', 'not done', 'left out'], ...rows];
  // The last two are worth a column only where there are some.
  const shown = [0, 1, 2, 3, 4].filter((column) => column < 3 || rows.some((row) => row[column] !== '0'));
  return formatTable(
    all.map((row) => shown.map((column) => row[column] ?? '')),
    columns,
  );
}

/** So many requests tell a pace. */
const fewRequests = 10;

/** Listens for how close to the account's limit the requests of a run are. */
export function watchPace(requestsPerSecond: number, clock: () => number) {
  let requests = 0;
  let firstMs = 0;
  let lastMs = 0;
  return {
    take: ({ kind }: RunEvent) => {
      if (kind !== 'request') return;
      requests += 1;
      lastMs = clock();
      if (requests === 1) firstMs = lastMs;
    },
    /** From the first request to the last; empty when there were few. */
    described: (): string => {
      if (requests < fewRequests || lastMs === firstMs) return '';
      const rate = ((requests - 1) * 1000) / (lastMs - firstMs);
      const share = Math.min(100, Math.round((rate / requestsPerSecond) * 100));
      return `${formatCount(requests)} requests, ${rate.toFixed(2)}/s: ${share}% of the limit.`;
    },
  };
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
