import type { EntityTypeName } from '../../entity-types.js';
import { exitCodeMeanings } from '../../errors.js';
import type { Report } from '../../files/report.js';
import { formatCount, formatDuration } from '../../format.js';
import { type Html, html } from './html.js';
import { plot, type Sample } from './html-plot.js';
import { pageStyle } from './html-style.js';
import { failureTable, type Leader, leaderTables, nothing, outcomeTable } from './html-tables.js';

export type { Sample } from './html-plot.js';
export type { Leader } from './html-tables.js';

export interface HtmlReportInput {
  report: Report;
  /** In the order of time. */
  samples: readonly Sample[];
  /** The most successful first. */
  leaders: Partial<Record<EntityTypeName, readonly Leader[]>>;
}

/**
 * A run as one HTML page that needs nothing else: no network, no script. Names, ids and reasons are escaped, and the
 * page's policy would let no script of theirs run.
 */
export function htmlReport({ report, samples, leaders }: HtmlReportInput): string {
  const when = utcTime(report.started_at);
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Statistics run of ${when}: ${meaningOf(report)}</title>
<style>${pageStyle}</style>
</head>
<body>
<header>
<h1>Statistics run of <time datetime="${report.started_at}">${when}</time></h1>
${outcome(report)}
${facts(report)}
</header>
<main>
${section('Outcome', outcomeTable(report))}
${section('Progress', samples.length > 0 ? plot(samples, report.overall.duration) : nothing('No progress was recorded.'))}
${section('Most successful in the last 30 days', leaderTables(leaders))}
${section('Failures', failureTable(report.failures))}
</main>
<footer>Written ${utcTime(report.timestamp)} by populate-all-statistics. The JSON report beside this page has the same figures.</footer>
</body>
</html>
`;
  return page.markup;
}

function section(heading: string, content: Html): Html {
  return html`<section>
<h2>${heading}</h2>
${content}
</section>`;
}

/** 2026-11-23T05:00:12.345Z as 2026-11-23 05:00:12 UTC. */
function utcTime(instant: string): string {
  return `${instant.slice(0, 19).replace('T', ' ')} UTC`;
}

function meaningOf({ exit_code, mode }: Report): string {
  return mode === 'dry_run' && exit_code === 0 ? 'a dry run, nothing is written' : exitCodeMeanings[exit_code];
}

function outcome(report: Report): Html {
  const { exit_code, stopped_by, failures } = report;
  const kind = exit_code === 0 ? 'good' : stopped_by === null ? 'fair' : 'bad';
  const count = failures.length;
  return html`<div class="outcome ${kind}">
<p><strong>${meaningOf(report)}</strong> (exit code ${exit_code})</p>
${stopped_by === null ? '' : html`<p>Stopped by: ${stopped_by}</p>`}
${count === 0 ? '' : html`<p>${formatCount(count)} failed: run again with <code>--resume</code> to try ${count === 1 ? 'it' : 'them'} again.</p>`}
</div>`;
}

function facts({ mode, strategy, requests, overall, options }: Report): Html {
  const fact = (name: string, value: string) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  return html`<dl>
${fact('duration', formatDuration(overall.duration))}
${fact('mode', mode === 'dry_run' ? 'dry run' : mode)}
${fact('strategy', strategy ?? 'none')}
${fact('API requests', formatCount(requests))}
${fact('entities written', `${formatCount(overall.total_successful)} of ${formatCount(overall.total_entities)}`)}
${options.limit === null ? '' : fact('limit a type', formatCount(options.limit))}
</dl>`;
}
