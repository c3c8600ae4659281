import { createHash } from 'node:crypto';
import { type EntityType, entityTypes } from '../entity-types.js';
import { exitCodeMeanings } from '../errors.js';
import type { Failure, Tell, Written } from '../events.js';
import { type Report, sumOf } from '../files/report.js';
import type { PastRun } from '../files/saved-reports.js';
import { formatCount, formatDuration, formatEntities, type Html, html } from '../format.js';
import { columnOf, daysBetween } from '../statistics.js';
import { plot, type Sample, script, startSamples, style } from './page-look.js';

/** An entity that was written, with its figures of the last 30 days (`winRate` in percent) and its last win. */
export type Shown = ReturnType<typeof shownOf>;

/** A list of people: those for whom `size` is above 0, the greatest first, and by column what is told beside a name. */
interface Kind {
  title: string;
  size: (one: Shown) => number;
  cells: (one: Shown) => Record<string, string>;
}

const mostShown = 10;
/** A win after so many days is news. */
const longWithoutWin = 100;

const winners = entityTypes.map(
  ({ name, words }): Kind => ({
    title: name,
    size: (one) => (one.type === name ? one.wins : 0),
    cells: ({ wins, runs, winRate }) => {
      return { wins: formatCount(wins), [words.runs]: formatCount(runs), 'win rate': `${winRate.toFixed(2)}%` };
    },
  }),
);

const gain = ({ wins, winsBefore }: Shown) => wins - winsBefore;
const winsTold: Kind['cells'] = ({ type, wins, winsBefore }) => {
  return { type, before: formatCount(winsBefore), now: formatCount(wins) };
};
const daysWithoutWin = ({ lastWin, lastWinBefore }: Shown) =>
  lastWin === null || lastWinBefore === null ? 0 : daysBetween(lastWinBefore, lastWin);

/** Of those alone who had statistics before. */
const news: readonly Kind[] = [
  { title: 'more wins in 30 days', size: gain, cells: winsTold },
  { title: 'fewer wins in 30 days', size: (one) => -gain(one), cells: winsTold },
  {
    title: 'first win in a year',
    size: ({ lastWin, lastWinBefore }) => (lastWin !== null && lastWinBefore === null ? 1 : 0),
    cells: ({ type, lastWin }) => ({ type, date: `${lastWin}` }),
  },
  {
    title: `won again after ${longWithoutWin} days or more`,
    size: (one) => (daysWithoutWin(one) >= longWithoutWin ? daysWithoutWin(one) : 0),
    cells: (one) => ({ type: one.type, days: formatCount(daysWithoutWin(one)) }),
  },
];

/** What a page tells of those who were written: how many belong into each list, and the first of them. */
export type People = ReturnType<typeof startPeople>['people'];

/** The page of a run. What the report does not tell it hears: how the run went over time, and who wins. */
export function startPage(): { take: Tell; ended: (report: Report, before: readonly PastRun[]) => string } {
  const { take, samples } = startSamples();
  const { add, people } = startPeople();
  return {
    take: (event) => {
      take(event);
      if (event.kind === 'batch') add(event.type, event.written);
    },
    ended: (report, before) => runPage(report, samples, people, before),
  };
}

/** Fills the lists as batches are written. */
export function startPeople() {
  const lists = new Map([...winners, ...news].map((kind) => [kind, { count: 0, first: [] as Shown[] }]));
  const people = { lists, compared: 0 };

  function add(type: EntityType, written: readonly Written[]): void {
    people.compared += written.filter(({ entity }) => entity.statsUpdatedAtMs !== null).length;
    const all = written.filter(({ entity, row }) => row.recent_30d_wins !== 0 || entity.recentWins !== 0);
    const shown = all.map((one) => shownOf(type, one));
    for (const [{ size }, list] of lists) {
      const more = shown.filter((one) => size(one) > 0);
      list.count += more.length;
      list.first.push(...more);
      list.first.sort((a, b) => size(b) - size(a) || b.wins - a.wins || a.runs - b.runs || (a.id < b.id ? -1 : 1));
      list.first.splice(mostShown);
    }
  }
  return { add, people };
}

/** Without statistics before, an entity has no figures before: then they are those of now. */
function shownOf(type: EntityType, { entity, row }: Written) {
  const figure = (column: string) => Number(row[columnOf(type, column)] ?? 0);
  const now = { wins: figure('recent_30d_wins'), lastWin: row.last_win_date as string | null };
  const isNew = entity.statsUpdatedAtMs === null;
  return {
    type: type.name,
    id: entity.id,
    name: entity.name,
    ...now,
    runs: figure('recent_30d_{runs}'),
    winRate: figure('recent_30d_win_rate'),
    winsBefore: isNew ? now.wins : entity.recentWins,
    lastWinBefore: isNew ? now.lastWin : entity.lastWinDate,
  };
}

/**
 * A run as one HTML page that needs nothing else: no network, and a script only to tell times by the reader's clock.
 * Names, ids and reasons are escaped, and the page's policy would let no script of theirs run.
 */
export function runPage(
  report: Report,
  samples: readonly Sample[],
  people: People,
  before: readonly PastRun[],
): string {
  const what = report.strategy === 'refresh' ? 'Refresh' : 'Statistics run';
  const scriptHash = createHash('sha256').update(script.markup).digest('base64');
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${scriptHash}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${what} of ${utcTime(report.started_at)}: ${meaningOf(report)}</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>${what} of ${timeOf(report.started_at)}</h1>
${outcome(report)}
${facts(report, before)}
</header>
<main>
${section('Outcome', outcomeTable(report))}
${section('Failures', failureTable(report.failures))}
${section('Since the run before', newsTables(people, report))}
${section('Most wins in the last 30 days', winnerTables(people, report))}
${section('Progress', samples.length > 0 ? plot(samples, report.overall.duration) : undefined)}
${section('This run and those before', runTable(report, before))}
</main>
<footer>Started ${timeOf(report.started_at)}, written ${timeOf(report.timestamp)} by populate-all-statistics. The JSON report beside this page has the same figures.</footer>
<script>${script}</script>
</body>
</html>
`.markup;
}

/** Nothing where there is no content. */
function section(heading: string, content: Html | undefined): Html {
  return content === undefined ? html`` : html`<section>\n<h2>${heading}</h2>\n${content}\n</section>`;
}

/** When a run ended, with a link to its page where there is one. */
function linked({ timestamp, page }: Pick<PastRun, 'timestamp' | 'page'>): Html {
  return page === undefined ? timeOf(timestamp) : html`<a href="${page}">${timeOf(timestamp)}</a>`;
}

/** By UTC, which the page's script changes to the reader's zone. */
function timeOf(instant: string): Html {
  return html`<time datetime="${instant}">${utcTime(instant)}</time>`;
}

/** 2026-11-23T05:00:12.345Z as 2026-11-23 05:00:12 UTC. */
function utcTime(instant: string): string {
  return `${instant.slice(0, 19).replace('T', ' ')} UTC`;
}

function meaningOf({ exit_code, mode, overall }: Report): string {
  if (exit_code === 0 && mode === 'dry_run') return 'a dry run, nothing is written';
  if (exit_code === 0 && overall.total_entities === 0) return 'there was nothing to write';
  return exitCodeMeanings[exit_code];
}

function outcome(report: Report): Html {
  const { exit_code, stopped_by, failures, strategy, forced } = report;
  const tone = exit_code === 0 && forced.length === 0 ? '--good' : stopped_by === null ? '--fair' : '--bad';
  const failed = failures.length;
  return html`<div class="outcome" style="--tone: var(${tone})">
<p><strong>${meaningOf(report)}</strong> (exit code ${exit_code})</p>
${stopped_by === null ? '' : html`<p>${stopped_by}</p>`}
${forced.map((what) => html`<p>Written all the same, for --force: ${what}.</p>\n`)}
${failed === 0 ? '' : html`<p>${formatCount(failed)} failed: run again${strategy === 'refresh' ? '' : html` with <code>--resume</code>`} to try ${failed === 1 ? 'it' : 'them'} again.</p>`}
</div>`;
}

function facts({ mode, strategy, requests, overall, options }: Report, before: readonly PastRun[]): Html {
  const fact = (name: string, value: string | Html) => html`<div><dt>${name}</dt><dd>${value}</dd></div>\n`;
  const pageBefore = before.find(({ page }) => page !== undefined);
  return html`<dl>
${fact('duration', formatDuration(overall.duration))}
${fact('mode', mode === 'dry_run' ? 'dry run' : mode)}
${fact('strategy', strategy ?? 'none')}
${fact('API requests', formatCount(requests))}
${overall.total_entities === 0 ? '' : fact('entities written', `${formatCount(overall.total_successful)} of ${formatCount(overall.total_entities)}`)}
${options.limit === null ? '' : fact('limit a type', formatCount(options.limit))}
${pageBefore === undefined ? '' : fact('page before', linked(pageBefore))}
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

/** The outcome of each type that there was something of, and of all. */
function outcomeTable({ statistics, overall }: Report): Html | undefined {
  const types = Object.entries(statistics).filter(([, { total, skipped }]) => total + skipped > 0);
  if (types.length === 0) return undefined;
  const { total_entities: total, total_successful: successful, total_failed: failed } = overall;
  const all = ['all', { total, successful, failed, skipped: sumOf(statistics, 'skipped') }] as const;
  // Most runs leave none out.
  const leftOut = all[1].skipped > 0 ? ['left out'] : [];
  const rows = [...types, all].map(([name, { total, successful, failed, skipped }]) => {
    const selected = [total, successful].map(formatCount).map(cell);
    const others = leftOut.map(() => cell(formatCount(skipped)));
    return html`<th scope="row">${name}</th>${selected}${failedCell(failed)}${others}`;
  });
  return table('types', 'Entities of each type', ['type', 'total', 'written', 'failed', ...leftOut], rows);
}

function failedCell(failed: number): Html {
  return failed === 0 ? cell('0') : html`<td class="failed">${formatCount(failed)}</td>`;
}

function failureTable(failures: readonly Failure[]): Html | undefined {
  if (failures.length === 0) return undefined;
  const rows = failures.map(
    ({ entity_type, id, name, reason }) =>
      html`<td>${entity_type}</td><td class="id">${id}</td><th scope="row">${name}</th><td class="reason">${reason}</td>`,
  );
  const were = failures.length === 1 ? 'was' : 'were';
  const caption = `${formatEntities(failures.length)} ${were} selected and not written`;
  return table('failures', caption, ['type', 'id', 'name', 'reason'], rows);
}

/** What is new about people. Nothing where nobody written had statistics before. */
function newsTables(people: People, { changed, overall }: Report): Html | undefined {
  if (people.compared === 0) return undefined;
  const of = `${formatCount(changed)} of ${formatCount(overall.total_successful)} rows`;
  return html`<p>${of} have other last dates, or other runs or wins in 30 days, than they had before.</p>
${listTables(news, people)}`;
}

/** The most successful of each type. Nothing where nobody won. */
function winnerTables(people: People, { overall }: Report): Html | undefined {
  if (winners.every((kind) => people.lists.get(kind)?.count === 0)) return undefined;
  return html`<p>Of the ${formatEntities(overall.total_successful)} that this run wrote.</p>
${listTables(winners, people)}`;
}

/** A table of each list that is not empty. A name has its id where two of a type on the page have that name. */
function listTables(kinds: readonly Kind[], { lists }: People): Html {
  const everybody = [...lists.values()].flatMap(({ first }) => first);
  const nameCell = ({ type, id, name }: Shown) => {
    const isShared = everybody.some((other) => other.type === type && other.name === name && other.id !== id);
    return html`<th scope="row" title="${id}">${name}${isShared ? html` <small class="id">${id}</small>` : ''}</th>`;
  };
  const tables = kinds.flatMap((kind) => {
    const { count = 0, first = [] } = lists.get(kind) ?? {};
    const [top] = first;
    if (top === undefined) return [];
    const rows = first.map((one) => html`${nameCell(one)}${Object.values(kind.cells(one)).map(cell)}`);
    const caption = count > first.length ? `${kind.title}: the first of ${formatCount(count)}` : kind.title;
    return table('people', caption, ['name', ...Object.keys(kind.cells(top))], rows);
  });
  return tables.length === 0 ? html`` : html`<div class="lists">${tables}</div>`;
}

/** The runs, the latest first, for those who look for a trend. Nothing where this one is the first. */
function runTable(report: Report, before: readonly PastRun[]): Html | undefined {
  if (before.length === 0) return undefined;
  const rows = [{ ...report, page: undefined }, ...before].map((run) => {
    const told = (count: number | undefined) => cell(count === undefined ? '–' : formatCount(count));
    const duration = run.overall === undefined ? '–' : formatDuration(run.overall.duration);
    return html`<th scope="row">${linked(run)}</th>${cell(duration)}${told(run.requests)}${told(sumOf(run.statistics, 'successful'))}${failedCell(sumOf(run.statistics, 'failed'))}${told(run.changed)}${told(run.exit_code)}`;
  });
  const columns = ['ended', 'duration', 'requests', 'written', 'failed', 'changed', 'exit code'];
  return table('runs', 'Changed: rows that told other last dates or 30-day figures than before', columns, rows);
}
