import { readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';

/**
 * An error with its stack and its causes, as console.error shows it, but with the lines of src/. Node itself
 * would have to be told before it loads the built file, and would then read the source map at every start.
 */
export function traceOf(error: unknown): string {
  const trace = inspect(error);
  const map = readSourceMap();
  if (map === undefined) return trace;
  return trace.replaceAll(/(file:\/\/\S+?):(\d+):(\d+)/g, (place, file, line, column) => {
    if (file !== import.meta.url) return place;
    const origin = map.findOrigin(Number(line), Number(column));
    if (!('fileName' in origin)) return place;
    return `${origin.fileName.replace(/^(\.\.\/)+/, '')}:${origin.lineNumber}:${origin.columnNumber}`;
  });
}

/** Undefined where the file stands alone, and where src/ itself is run. */
function readSourceMap(): SourceMap | undefined {
  try {
    return new SourceMap(JSON.parse(readFileSync(`${fileURLToPath(import.meta.url)}.map`, 'utf8')));
  } catch {
    return undefined;
  }
}
