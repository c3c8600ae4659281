import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { errorCode, exitCodes, FatalError } from '../errors.js';

/**
 * Replaces a file so that a reader, and a crash at any moment, sees the old content or the new one, never half. Processes
 * that may replace the same file each need a draft of their own.
 * @throws FatalError (files unusable)
 */
export function writeWholeFile(path: string, content: string | Uint8Array | string[], draft = `${path}.tmp`): void {
  try {
    const pieces = Array.isArray(content) ? content : [content];
    const file = openSync(draft, 'w');
    try {
      for (const piece of pieces) writeFileSync(file, piece);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, path);
  } catch (error) {
    removeQuietly(draft);
    throw filesUnusable(`${path} cannot be written`, error);
  }
}

/** What a file system says that has no hard links. */
const noLinks = new Set<unknown>(['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP']);

/**
 * Makes a new file; false if there is such a file. It appears whole or not at all, a kill at any moment included;
 * with `flush` so that it outlives a power cut too. Throws a FatalError (files unusable).
 */
export function claimFile(path: string, content = '', flush = false): boolean {
  if (existsSync(path)) return false;
  const draft = `${path}.${randomUUID()}.tmp`;
  try {
    writeFileSync(draft, content, { flush });
    link(draft, path);
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw filesUnusable(`${path} cannot be written`, error);
  } finally {
    removeQuietly(draft);
  }
}

function link(draft: string, path: string): void {
  try {
    linkSync(draft, path);
  } catch (error) {
    if (!noLinks.has(errorCode(error))) throw error;
    writeFileSync(path, readFileSync(draft), { flag: 'wx' });
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

/** Makes a folder, and those that it lies in, unless it is there. Throws a FatalError (files unusable). */
export function makeFolder(path: string): void {
  try {
    makeWithParents(path);
  } catch (error) {
    throw filesUnusable(`The folder ${path} cannot be made`, error);
  }
}

/** Node's own recursion tries for ever where nothing can be made, such as below /proc. */
function makeWithParents(path: string): void {
  try {
    makeOne(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT' || dirname(path) === path) throw error;
    makeWithParents(dirname(path));
    makeOne(path);
  }
}

function makeOne(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    // Another process may have been first.
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}

const advices: [codes: RegExp, advice: string][] = [
  [/ENOSPC|EDQUOT/, 'Free some space.'],
  [/EACCES|EPERM|EROFS/, 'Correct the permissions, or run as the user whose files these are.'],
  [/EMFILE/, 'Too many files are open: raise the limit (ulimit -n).'],
  [/ENOENT/, 'Its folder is gone or cannot be made: see whether it is there, or choose another one with --log-dir.'],
  [/ENOTDIR|EEXIST|EISDIR/, 'Something else has its name: move that away, or choose another folder with --log-dir.'],
];

/** The error for a file or folder that we need and cannot use. */
export function filesUnusable(what: string, error: unknown): FatalError {
  const reason = error instanceof Error ? error.message : String(error);
  const code = String(errorCode(error));
  const advice = advices.find(([codes]) => codes.test(code))?.[1] ?? 'See whether the disk is in order.';
  return new FatalError(exitCodes.filesUnusable, `${what}: ${reason}. ${advice}`, { cause: error });
}
