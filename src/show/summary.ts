import type { Selection } from '../entity-types.js';
import type { RunEvent, Strategy } from '../events.js';
import type { EndedRun, Report } from '../files/report.js';
import { formatCount, formatDuration, formatEntities, formatTable, printable } from '../format.js';

/** The outcome for people: a table no wider than `columns`, how long it took, at which `pace`, and where the report is. */
export function summarize({ report, reportPath, pagePath }: EndedRun, columns: number, pace = ''): string {
  const { mode, overall, stopped_by } = report;
  const hasOutcome = mode === 'production' && (overall.total_processed > 0 || stopped_by === null);
  const counts = `${countsOf(report)} in ${formatDuration(overall.duration)}.`;
  const outcome = hasOutcome ? [summaryTable(report, columns), counts, pace] : [];
  const files = [reportPath && `Report: ${reportPath}`, pagePath && `Page: ${pagePath}`];
  return [...outcome, ...files].filter(Boolean).join('\n');
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

/** The outcome a type; leaves out columns from the right where `columns` are too few. Empty where nothing was to be done. */
export function summaryTable({ statistics }: Pick<Report, 'statistics'>, columns: number): string {
  const rows = Object.entries(statistics).map(([name, { total, processed, successful, failed, skipped }]) => {
    return [name, ...[successful, failed, total - processed, skipped].map(formatCount)];
  });
  if (rows.every(([, written, failed, left]) => `${written}${failed}${left}` === '000')) return '';
  // The last two are worth a column only where there are some.
  const isShown = (_: string, column: number) => column < 3 || rows.some((row) => row[column] !== '0');
  const all = [['type', 'written', 'failed', 'not done', 'left out'], ...rows].map((row) => row.filter(isShown));
  return formatTable(all, columns);
}

/**
 * Listens for how close to what is allowed the requests of a run are: `rate` requests a second as it was asked for, or
 * what the API has taught, by `allowedPerSecond`, where that is less.
 */
export function watchPace(rate: number, allowedPerSecond: () => number, clock: () => number) {
  let requests = 0;
  let refused = 0;
  let firstMs = 0;
  let lastMs = 0;
  return {
    take: (event: RunEvent) => {
      if (event.kind === 'answer' && event.status === 429) refused += 1;
      if (event.kind !== 'request') return;
      requests += 1;
      lastMs = clock();
      if (requests === 1) firstMs = lastMs;
    },
    /** From the first request to the last; empty when there were fewer than ten. */
    described: (): string => {
      if (requests < 10 || lastMs === firstMs) return '';
      const used = ((requests - 1 - refused) * 1000) / (lastMs - firstMs);
      const allowed = allowedPerSecond();
      const share = Math.min(100, Math.round((used / allowed) * 100));
      const limit = allowed < rate * 0.995 ? `the ${allowed.toFixed(2)}/s that the API allows` : `--rate ${rate}`;
      const refusals = refused > 0 ? ` ${formatCount(refused)} refused (429).` : '';
      return `${formatCount(requests)} requests, ${used.toFixed(2)}/s: ${share}% of ${limit}.${refusals}`;
    },
  };
}

/** One line on what was selected of a type. */
export function describeSelection({ type, entities, skipped }: Selection): string {
  const left = skipped > 0 ? ` (${formatCount(skipped)} left out)` : '';
  return `${type.name}: ${formatCount(entities.length)} selected${left}`;
}

/** The first five entities that a run would process. */
export function sampleTable({ type, entities }: Selection): RunEvent {
  const rows = Array.from(entities.first(5), ({ id, name, lastDate }) => {
    return [`  ${printable(name)}`, printable(id), lastDate ?? 'no statistics'];
  });
  return { kind: 'table', title: `${type.name}, the first ${rows.length}:`, rows };
}
