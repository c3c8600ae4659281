/** Figures of one section, as they go to the terminal and to results.md. */
export interface Table {
  columns: string[];
  rows: string[][];
  notes?: string[];
}

/** A Markdown table whose columns also line up in a terminal, with its notes below. */
export function renderTable({ columns, rows, notes = [] }: Table): string {
  const widths = columns.map((column, index) => Math.max(column.length, ...rows.map((row) => row[index]?.length ?? 0)));
  const line = (cells: string[]) => `| ${cells.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join(' | ')} |`;
  const rule = line(widths.map((width) => '-'.repeat(width)));
  const table = [line(columns), rule, ...rows.map(line)].join('\n');
  return [table, ...notes].join('\n\n');
}

export const seconds = (value: number) => `${value.toFixed(value < 10 ? 2 : 1)} s`;
export const percent = (share: number) => `${(share * 100).toFixed(1)}%`;
export const megabytes = (value: number | null) => (value === null ? 'unknown' : `${value.toFixed(0)} MB`);
export const count = (value: number) => Math.round(value).toLocaleString('en-US');
