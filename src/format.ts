/** 54429 as 54,429. Without Intl, whose first use takes 8 MB of memory. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** One count and its noun: 1 entity, 2 entities. */
export function formatEntities(count: number): string {
  return `${formatCount(count)} ${count === 1 ? 'entity' : 'entities'}`;
}

const units = [
  { name: 'd', seconds: 86_400, minor: 'h', minorSeconds: 3600 },
  { name: 'h', seconds: 3600, minor: 'm', minorSeconds: 60 },
  { name: 'm', seconds: 60, minor: 's', minorSeconds: 1 },
];

/** Seconds as people say them: 0.4s, 42s, 1m 08s, 7h 33m, 4d 12h; the first few with so many decimals. */
export function formatDuration(seconds: number, decimals = 1): string {
  if (seconds < 9.95) return `${seconds.toFixed(decimals)}s`;
  const whole = Math.round(seconds);
  const unit = units.find((one) => whole >= one.seconds);
  if (unit === undefined) return `${whole}s`;
  const minor = Math.floor((whole % unit.seconds) / unit.minorSeconds);
  return `${Math.floor(whole / unit.seconds)}${unit.name} ${String(minor).padStart(2, '0')}${unit.minor}`;
}

/** How long ago an instant (ISO text) was, in one unit: 5 h ago. One of another clock may lie ahead. */
export function formatAgo(instant: string, now: Date): string {
  const seconds = (now.getTime() - Date.parse(instant)) / 1000;
  if (Number.isNaN(seconds)) return 'at an unknown time';
  const unit = units.find((one) => seconds >= 2 * one.seconds);
  if (unit === undefined) return seconds < 60 ? 'just now' : '1 min ago';
  return `${Math.floor(seconds / unit.seconds)} ${unit.name === 'm' ? 'min' : unit.name} ago`;
}

/** A message's first sentence. */
export function firstSentence(message: string): string {
  return message.trim().split(/\.(?=\s|$)|[\r\n]/)[0] ?? '';
}

/** Lines of at most so many columns, broken between words; a longer word, such as a path or URL, at its joints. */
export function wrapped(text: string, columns: number): string {
  return text
    .split('\n')
    .map((line) => (line.length <= columns ? line : wrappedLine(line, columns)))
    .join('\n');
}

function wrappedLine(line: string, columns: number): string {
  const [indent = ''] = /^ */.exec(line) ?? [];
  const lines = [indent];
  // 1m 08s is one word, and so is 5 h.
  for (const word of line.trim().split(/ +(?!\d\d[smh]\b|(?:min|h|d) ago\b)/)) {
    const isLong = (part: string) => indent.length + part.length > columns;
    const parts = isLong(word) ? word.split(/(?<=[/?&])/) : [word];
    const pieces = parts.flatMap((part) => (isLong(part) ? part.split(/(?<=[_-])/) : [part]));
    for (const [index, piece] of pieces.entries()) {
      const last = lines.at(-1) ?? '';
      const longer = `${last}${index > 0 || last === indent ? '' : ' '}${piece}`;
      if (longer.length <= columns || last === indent) lines[lines.length - 1] = longer;
      else lines.push(indent + piece);
    }
  }
  return lines.join('\n');
}

/** A column of names tells people apart by so much of each. */
const leastName = 14;

/**
 * Columns of text, the first aligned left and the others right. Where they do not fit, the first is cut, but not too
 * short; otherwise others are left out from the right.
 */
export function formatTable(rows: string[][], columns = Number.POSITIVE_INFINITY): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const [widest = 0, ...others] = widths;
  const first = Math.min(widest, columns - others.reduce((sum, width) => sum + 2 + width, 0));
  const isCut = first < widest;
  if (isCut && first < leastName && others.length > 0) {
    return formatTable(
      rows.map((row) => row.slice(0, -1)),
      columns,
    );
  }
  const aligned = (cell: string, column: number) => {
    if (column > 0) return cell.padStart(widths[column] ?? 0);
    return isCut && cell.length > first ? `${cell.slice(0, first - 1)}…` : cell.padEnd(first);
  };
  return rows.map((row) => row.map(aligned).join('  ').trimEnd()).join('\n');
}

/**
 * Text from outside (names, messages of the API or the database) fit for a terminal and a single line: without
 * control characters and without those that turn the direction of the text.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]+/gu, ' ').trim();
}

/** Markup that may go into a page as it is. Only `html` makes it. */
export type Html = { readonly markup: string };

/** What a template may hold: text and numbers are escaped, markup is not. */
export type Content = string | number | Html | readonly Html[];

/** A template tag: the markup of the template with its values escaped for element content and quoted attributes. */
export function html(strings: TemplateStringsArray, ...values: Content[]): Html {
  return { markup: strings.map((text, index) => text + markupOf(values[index] ?? '')).join('') };
}

function markupOf(content: Content): string {
  if (typeof content === 'object') return 'markup' in content ? content.markup : content.map(markupOf).join('');
  // Line ends and tabs have a place in a page, unlike other control characters and what turns a text's direction.
  const fit = String(content).replace(/(?![\n\t])[\p{Cc}\p{Bidi_Control}]/gu, ' ');
  return fit.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A response's whole body as UTF-8 text: its own text() takes several times as long, for it decodes like a browser. */
export async function bodyText(response: { arrayBuffer(): Promise<ArrayBuffer> }): Promise<string> {
  return Buffer.from(await response.arrayBuffer()).toString();
}

/** What a JSON text holds; undefined if it is none, or not whole. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
