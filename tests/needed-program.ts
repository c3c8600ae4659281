import { existsSync } from 'node:fs';
import { delimiter, resolve } from 'node:path';

/**
 * The path of the first of these programs that is in PATH. Without one undefined, so that its tests are skipped; but
 * an error in CI, where none may be.
 */
export function neededProgram(...names: string[]): string | undefined {
  const found = (process.env.PATH ?? '')
    .split(delimiter)
    .flatMap((folder) => names.map((name) => resolve(folder, name)))
    .find((path) => existsSync(path));
  if (found === undefined && process.env.CI) throw new Error(`None of ${names.join(', ')} is in PATH`);
  return found;
}
