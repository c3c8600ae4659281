import { type EntityType, type EntityTypeName, entityTypes } from '../entity-types.js';
import { exitCodeMeanings } from '../errors.js';
import type { Failure, Tell, Written } from '../events.js';
import type { Report, TypeStatistics } from '../files/report.js';
import { formatCount, formatDuration, formatEntities, formatRate, type Html, html } from '../format.js';
import { columnOf } from '../statistics.js';
import { plot, type Sample, startSamples } from './plot.js';

export type Leader = ReturnType<typeof leaderOf>;

/** The most successful of each type, the first of all first. */
export type Leaders = Partial<Record<EntityTypeName, readonly Leader[]>>;

const mostLeaders = 10;

/** The page of a run. What the report does not tell it hears: how the run went over time, and who wins. */
export function startPage(): { take: Tell; ended: (report: Report) => string } {
  const { take, samples } = startSamples();
  const leaders: Leaders = {};
  return {
    take: (event) => {
      take(event);
      if (event.kind !== 'batch') return;
      const winners = event.written.filter(({ row }) => row.recent_30d_wins !== 0);
      const all = [...(leaders[event.type.name] ?? []), ...winners.map((one) => leaderOf(event.type, one))];
      all.sort((a, b) => b.wins - a.wins || a.runs - b.runs || (a.id < b.id ? -1 : 1));
      leaders[event.type.name] = all.slice(0, mostLeaders);
    },
    ended: (report) => runPage(report, samples, leaders),
  };
}

/** Its figures of the last 30 days; `winRate` in percent. */
function leaderOf(type: EntityType, { entity, row }: Written) {
  const figure = (column: string) => Number(row[columnOf(type, column)] ?? 0);
  return {
    id: entity.id,
    name: entity.name,
    wins: figure('recent_30d_wins'),
    runs: figure('recent_30d_{runs}'),
    winRate: figure('recent_30d_win_rate'),
  };
}

/**
 * A run as one HTML page that needs nothing else: no network, no script. Names, ids and reasons are escaped, and the
 * page's policy would let no script of theirs run.
 */
export function runPage(report: Report, samples: readonly Sample[], leaders: Leaders): string {
  const when = utcTime(report.started_at);
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Statistics run of ${when}: ${meaningOf(report)}</title>
<style>${style}</style>
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
`.markup;
}

function section(heading: string, content: Html): Html {
  return html`<section>\n<h2>${heading}</h2>\n${content}\n</section>`;
}

/** Stands where a table or a plot would be empty. */
function nothing(text: string): Html {
  return html`<p class="nothing">${text}</p>`;
}

/** 2026-11-23T05:00:12.345Z as 2026-11-23 05:00:12 UTC. */
function utcTime(instant: string): string {
  return `${instant.slice(0, 19).replace('T', ' ')} UTC`;
}

function meaningOf({ exit_code, mode }: Report): string {
  const isDryRun = mode === 'dry_run' && exit_code === 0;
  return isDryRun ? 'a dry run, nothing is written' : exitCodeMeanings[exit_code];
}

function outcome(report: Report): Html {
  const { exit_code, stopped_by, failures } = report;
  const tone = exit_code === 0 ? '--good' : stopped_by === null ? '--fair' : '--bad';
  const failed = failures.length;
  return html`<div class="outcome" style="--tone: var(${tone})">
<p><strong>${meaningOf(report)}</strong> (exit code ${exit_code})</p>
${stopped_by === null ? '' : html`<p>Stopped by: ${stopped_by}</p>`}
${failed === 0 ? '' : html`<p>${formatCount(failed)} failed: run again with <code>--resume</code> to try ${failed === 1 ? 'it' : 'them'} again.</p>`}
</div>`;
}

function facts({ mode, strategy, requests, overall, options }: Report): Html {
  const fact = (name: string, value: string) => html`<div><dt>${name}</dt><dd>${value}</dd></div>\n`;
  return html`<dl>
${fact('duration', formatDuration(overall.duration))}
${fact('mode', mode === 'dry_run' ? 'dry run' : mode)}
${fact('strategy', strategy ?? 'none')}
${fact('API requests', formatCount(requests))}
${fact('entities written', `${formatCount(overall.total_successful)} of ${formatCount(overall.total_entities)}`)}
${options.limit === null ? '' : fact('limit a type', formatCount(options.limit))}
</dl>`;
}

/** A table in a box that scrolls, by keys too, where the screen is too small for it. `rows` hold their cells. */
function table(name: string, caption: string, columns: readonly string[], rows: readonly Html[]): Html {
  return html`<div class="scroll ${name}" role="region" aria-label="${caption}" tabindex="0"><table>
<caption>${caption}</caption>
<thead><tr>${columns.map((column) => html`<th scope="col">${column}</th>`)}</tr></thead>
<tbody>
${rows.map((cells) => html`<tr>${cells}</tr>\n`)}</tbody>
</table></div>`;
}

const cell = (text: string) => html`<td>${text}</td>`;

/** The outcome of each type and of all. */
function outcomeTable({ statistics, overall }: Report): Html {
  const types = Object.entries(statistics);
  if (types.length === 0) return nothing('The run ended before any entity was selected.');
  const all = {
    total: overall.total_entities,
    successful: overall.total_successful,
    failed: overall.total_failed,
    skipped: types.reduce((sum, [, figures]) => sum + figures.skipped, 0),
    duration: overall.duration,
    rate: overall.total_processed / overall.duration,
  };
  const columns = ['type', 'total', 'successful', 'failed', 'skipped', 'duration', 'rate'];
  const rows = [...types.map(([name, figures]) => outcomeCells(name, figures)), outcomeCells('all', all)];
  return table('types', 'Entities of each type', columns, rows);
}

function outcomeCells(name: string, figures: Omit<TypeStatistics, 'processed'>): Html {
  const { total, successful, failed, skipped, duration, rate } = figures;
  const failedCell = failed === 0 ? cell('0') : html`<td class="failed">${formatCount(failed)}</td>`;
  const before = [total, successful].map(formatCount).map(cell);
  const after = [formatCount(skipped), formatDuration(duration), formatRate(rate)].map(cell);
  return html`<th scope="row">${name}</th>${before}${failedCell}${after}`;
}

/** A table of each type that has leaders, in their order. */
function leaderTables(leaders: Leaders): Html {
  const tables = entityTypes.flatMap(({ name, words }) => {
    const rows = (leaders[name] ?? []).map(leaderCells);
    const columns = ['#', 'name', 'wins', words.runs, 'win rate'];
    return rows.length > 0 ? table('leader', name, columns, rows) : [];
  });
  if (tables.length === 0) return nothing('No winner was written in this run.');
  return html`<div class="leaders">${tables}</div>`;
}

function leaderCells({ id, name, wins, runs, winRate }: Leader, index: number): Html {
  const figures = [formatCount(wins), formatCount(runs), `${winRate.toFixed(2)}%`].map(cell);
  return html`<td>${index + 1}</td><th scope="row" title="${id}">${name}</th>${figures}`;
}

function failureTable(failures: readonly Failure[]): Html {
  if (failures.length === 0) return nothing('No entity failed.');
  const rows = failures.map(
    ({ entity_type, id, name, reason }) =>
      html`<td>${entity_type}</td><td class="id">${id}</td><th scope="row">${name}</th><td class="reason">${reason}</td>`,
  );
  const were = failures.length === 1 ? 'was' : 'were';
  const caption = `${formatEntities(failures.length)} ${were} selected and not written`;
  return table('failures', caption, ['type', 'id', 'name', 'reason'], rows);
}

/** Light or dark as the reader's system is, from a telephone's width on. */
const style = html`
:root {
  color-scheme: light dark;
  --page: light-dark(#f6f6f3, #141413); --card: light-dark(#ffffff, #1e1e1d); --rule: light-dark(#deded8, #383835);
  --ink: light-dark(#1c1c1a, #ecece8); --muted: light-dark(#5d5d58, #a6a69f);
  --good: light-dark(#1a7f37, #4cc36c); --fair: light-dark(#9a5b00, #e3a33b); --bad: light-dark(#c0272d, #ff7b76);
  --phase-0: light-dark(#1f6fd0, #5ea3f5); --phase-1: light-dark(#c2560c, #f08a4b);
  --phase-2: light-dark(#0b7f6b, #35b89e); --phase-3: light-dark(#6b46c1, #a78bfa);
  --phase-4: light-dark(#b8327a, #ee79b0); --phase-5: light-dark(#7a6a00, #c9b53a);
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 75rem; padding: 1.5rem clamp(0.75rem, 3vw, 2rem); background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums;
}
h1 { margin: 0 0 1rem; font-size: clamp(1.3rem, 4vw, 1.75rem); line-height: 1.25; text-wrap: balance; }
h1 time { white-space: nowrap; }
h2 { margin: 0 0 0.75rem; font-size: 1.15rem; }
p { margin: 0; overflow-wrap: anywhere; white-space: pre-line; }
code, .id { font-family: ui-monospace, monospace; font-size: 0.9em; }
small, .nothing, footer, dt, caption, thead th { color: var(--muted); }
footer, dt, caption, thead th { font-size: 0.85rem; }
section, .outcome {
  margin-bottom: 1rem; padding: 1rem clamp(0.75rem, 2vw, 1.25rem); border: 1px solid var(--rule);
  border-radius: 0.5rem; background: var(--card);
}
.outcome { border-left: 0.35rem solid var(--tone); }
.outcome strong { display: inline-block; color: var(--tone); }
.outcome strong::first-letter, .leader caption::first-letter { text-transform: uppercase; }
dl { display: flex; flex-wrap: wrap; gap: 0.75rem 2.25rem; margin: 0 0 1.25rem; }
dd { margin: 0; font-weight: 600; }
.scroll { overflow: auto; }
table { width: 100%; border-collapse: collapse; font-size: 0.925rem; }
caption { padding-bottom: 0.25rem; text-align: left; }
th, td { padding: 0.35rem 0.6rem; border-top: 1px solid var(--rule); text-align: left; vertical-align: baseline; }
th { font-weight: 500; overflow-wrap: anywhere; }
td, thead th { white-space: nowrap; }
thead th { position: sticky; top: 0; border: 0; background: var(--card); }
.types :where(td, thead th + th), .leader :where(td, thead th) { text-align: right; }
.types :where(tbody tr:last-child) > * { border-top-width: 2px; font-weight: 600; }
.failed { color: var(--bad); font-weight: 600; }
.leaders { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1.25rem 2rem; }
.leader caption { color: var(--ink); font-size: 1rem; font-weight: 600; }
.leader :is(th, td) { padding-inline: 0.4rem; }
.leader :is(th, td):first-child { width: 1.5rem; color: var(--muted); }
.leader thead th:nth-child(2) { text-align: left; }
.failures { max-height: 75vh; }
.reason { overflow-wrap: anywhere; white-space: normal; }
figure { margin: 0; }
.legend { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 0 0 0.75rem; padding: 0; font-size: 0.9rem; }
.legend li { list-style: none; }
.legend li::before {
  content: ''; display: inline-block; width: 1rem; height: 0.25rem; margin-right: 0.4rem; border-radius: 0.125rem;
  background: var(--tone); vertical-align: middle;
}
.plot { display: block; padding: 0 1.5rem 0 2.9rem; }
svg { overflow: visible; }
line { stroke: var(--rule); }
text { fill: var(--muted); font-size: 0.75rem; }
.name { fill: var(--ink); font-size: 0.85rem; }
.value { text-anchor: end; }
.time { text-anchor: middle; }
.line { fill: none; stroke: var(--tone); stroke-width: 2; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.area { fill: var(--tone); fill-opacity: 0.14; }
@media (max-width: 40rem) {
  .types caption, .failures thead { display: none; }
  .types table { display: flex; }
  .types thead, .types tbody { display: contents; }
  .types tr { display: flex; flex: 1; flex-direction: column; }
  .types thead tr { flex: none; }
  .types tr > * { min-height: 2.1rem; padding-inline: 0.25rem; border: 0; font-size: 0.8rem; text-align: right; }
  .types tr > :not(:last-child) { border-bottom: 1px solid var(--rule); }
  .types thead th { text-align: left; }
  .failures table, .failures caption, .failures tbody { display: block; }
  .failures tr { display: grid; grid-template-columns: auto 1fr; gap: 0 0.75rem; padding: 0.4rem 0; }
  .failures tr + tr { border-top: 1px solid var(--rule); }
  .failures tr > * { padding: 0; border: 0; overflow-wrap: anywhere; white-space: normal; }
  .failures th, .reason { grid-column: 1 / -1; }
  .reason { color: var(--muted); }
}
@media print { .scroll { max-height: none; } }
`;
