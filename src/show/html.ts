/** Markup that may go into a page as it is. Only `html` and our own constants make it. */
export class Html {
  readonly markup: string;

  constructor(markup: string) {
    this.markup = markup;
  }
}

/** What a template may hold: text and numbers are escaped, markup is not. */
export type Content = string | number | Html | readonly Html[];

/** A template tag: the markup of the template with its values escaped for element content and quoted attributes. */
export function html(strings: TemplateStringsArray, ...values: Content[]): Html {
  return new Html(strings.map((text, index) => text + markupOf(values[index] ?? '')).join(''));
}

function markupOf(content: Content): string {
  if (content instanceof Html) return content.markup;
  if (typeof content === 'object') return content.map(({ markup }) => markup).join('');
  return escapeText(String(content));
}

/** Characters that have no place in a page, or turn the direction of a text; line ends and tabs stay. */
const unfit = /(?![\n\t])[\p{Cc}\p{Bidi_Control}]/gu;

function escapeText(text: string): string {
  return text.replace(unfit, ' ').replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
