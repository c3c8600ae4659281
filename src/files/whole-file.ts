import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { errorCode, exitCodes, FatalError } from '../errors.js';

/**
 * Replaces a file so that a reader, and a crash at any moment, sees the old content or the new one, never half.
 * @throws FatalError (files unusable)
 */
export function writeWholeFile(path: string, content: string | Uint8Array): void {
  const draft = `${path}.tmp`;
  try {
    writeFileSync(draft, content, { flush: true });
    renameSync(draft, path);
  } catch (error) {
    removeQuietly(draft);
    throw filesUnusable(`${path} cannot be written`, error);
  }
}

/** Makes a new file; false if there is such a file. Throws a FatalError (files unusable). */
export function claimFile(path: string, content = ''): boolean {
  try {
    writeFileSync(path, content, { flag: 'wx' });
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw filesUnusable(`${path} cannot be written`, error);
  }
}

/** What could not be written may not be removable either; the first error is the one to tell. */
export function removeQuietly(path: string): void {
  try {
    rmSync(path);
  } catch {
    // It stays.
  }
}

/** Makes a folder unless it is there. Throws a FatalError (files unusable). */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw filesUnusable(`The folder ${path} cannot be made`, error);
  }
}

/** The error for a file or folder that we need and cannot use. */
export function filesUnusable(what: string, error: unknown): FatalError {
  const reason = error instanceof Error ? error.message : String(error);
  return new FatalError(
    exitCodes.filesUnusable,
    `${what}: ${reason}. Free some space or correct the permissions, then run again with --resume.`,
    { cause: error },
  );
}
