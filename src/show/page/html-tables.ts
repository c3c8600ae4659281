import { type EntityTypeName, entityTypes } from '../../entity-types.js';
import type { Failure } from '../../events.js';
import type { Report, TypeStatistics } from '../../files/report.js';
import { formatCount, formatDuration, formatRate } from '../../format.js';
import { type Content, type Html, html } from './html.js';

/** One of the most successful entities of the last 30 days; `winRate` in percent. */
export interface Leader {
  id: string;
  name: string;
  wins: number;
  runs: number;
  winRate: number | null;
}

/** Stands where a table or a plot would be empty. */
export function nothing(text: string): Html {
  return html`<p class="nothing">${text}</p>`;
}

/** A table in a box that scrolls, by keys too, where the screen is too small for it. */
function table(name: string, caption: Content, columns: readonly Html[], rows: Html, foot: Content = ''): Html {
  return html`<div class="scroll ${name}" role="region" aria-label="${caption}" tabindex="0"><table>
<caption>${caption}</caption>
<thead><tr>${columns}</tr></thead>
<tbody>
${rows}</tbody>
${foot}</table></div>`;
}

const column = (name: string) => html`<th scope="col">${name}</th>`;
const figureColumn = (name: string) => html`<th scope="col" class="figure">${name}</th>`;
const figure = (text: string) => html`<td class="figure">${text}</td>`;

/** The outcome of each type and of all. */
export function outcomeTable({ statistics, overall }: Report): Html {
  const types = entityTypes.flatMap(({ name }) => {
    const figures = statistics[name];
    return figures === undefined ? [] : [{ name, figures }];
  });
  if (types.length === 0) return nothing('The run ended before any entity was selected.');
  const names = ['total', 'successful', 'failed', 'skipped', 'duration', 'rate'];
  const rows = html`${types.map(
    ({ name, figures }) => html`<tr><th scope="row">${name}</th>${outcomeCells(figures)}</tr>
`,
  )}`;
  const all: TypeStatistics = {
    total: overall.total_entities,
    processed: overall.total_processed,
    successful: overall.total_successful,
    failed: overall.total_failed,
    skipped: types.reduce((sum, { figures }) => sum + figures.skipped, 0),
    duration: overall.duration,
    rate: overall.total_processed / overall.duration,
  };
  const foot = html`<tfoot><tr><th scope="row">all</th>${outcomeCells(all)}</tr></tfoot>
`;
  return table('types', 'Entities of each type', [column('type'), ...names.map(figureColumn)], rows, foot);
}

function outcomeCells({ total, successful, failed, skipped, duration, rate }: TypeStatistics): Html {
  return html`${figure(formatCount(total))}${figure(formatCount(successful))}<td class="${failed > 0 ? 'figure failed' : 'figure'}">${formatCount(failed)}</td>${figure(formatCount(skipped))}${figure(formatDuration(duration))}${figure(formatRate(rate))}`;
}

/** A table of each type that has leaders, in their order. */
export function leaderTables(leaders: Partial<Record<EntityTypeName, readonly Leader[]>>): Html {
  const types = entityTypes.filter(({ name }) => (leaders[name] ?? []).length > 0);
  if (types.length === 0) return nothing('No winner was written in this run.');
  return html`<div class="leaders">
${types.map(({ name }) => leaderTable(name, leaders[name] ?? []))}
</div>`;
}

function leaderTable(type: EntityTypeName, leaders: readonly Leader[]): Html {
  const names = ['wins', type === 'jockeys' ? 'rides' : 'runs', 'win rate'];
  const rows = leaders.map(
    ({ id, name, wins, runs, winRate }, index) =>
      html`<tr>${figure(String(index + 1))}<th scope="row" title="${id}">${name}</th>${figure(formatCount(wins))}${figure(
        formatCount(runs),
      )}${figure(winRate === null ? '–' : `${winRate.toFixed(2)}%`)}</tr>
`,
  );
  const columns = [figureColumn('#'), column('name'), ...names.map(figureColumn)];
  return table('leader', type, columns, html`${rows}`);
}

/** Each failure as a row. */
export function failureTable(failures: readonly Failure[]): Html {
  if (failures.length === 0) return nothing('No entity failed.');
  const rows = failures.map(
    ({ entity_type, id, name, reason }) =>
      html`<tr><td>${entity_type}</td><td class="id">${id}</td><th scope="row">${name}</th><td class="reason">${reason}</td></tr>
`,
  );
  const count = formatCount(failures.length);
  const caption = `${count} ${failures.length === 1 ? 'entity was' : 'entities were'} selected and not written`;
  return table('failures', caption, ['type', 'id', 'name', 'reason'].map(column), html`${rows}`);
}
