import type { Response } from 'undici';

/** What the API answered, before anybody has looked at its meaning. */
export interface HttpAnswer {
  status: number;
  /** What a Retry-After header asks for. */
  retryAfterMs: number | undefined;
  body: string;
}

/** https://www.rfc-editor.org/rfc/rfc9110#field.retry-after: seconds or a date. */
export function retryAfterMs(response: Response): number | undefined {
  const value = response.headers.get('retry-after')?.trim();
  if (!value) return undefined;
  const waitMs = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return waitMs > 0 ? waitMs : undefined;
}

/** Network errors hide their meaning in a chain of causes. */
export function describeNetworkError(error: unknown): string {
  let innermost = error;
  while (innermost instanceof Error && innermost.cause instanceof Error) innermost = innermost.cause;
  if (!(innermost instanceof Error)) return String(innermost);
  const code = 'code' in innermost ? ` (${innermost.code})` : '';
  return `${innermost.message || 'the connection failed'}${code}`;
}
