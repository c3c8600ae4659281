import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { errorCode } from '../errors.js';
import { claimFile, filesUnusable } from './whole-file.js';

/** What a lock file says about the process that holds it; a holder may note more. */
export interface LockHolder {
  token: string;
  pid: number;
  /** With the pid it identifies a process: a pid alone is used again. */
  process_start: string | null;
  [note: string]: unknown;
}

/** A file being created is empty for an instant; one that stays unreadable belongs to nobody. */
const unreadableGraceMs = 2_000;

/**
 * A lock between processes of one machine: a file that exists while somebody holds it. The lock of a process
 * that died is free at once, whatever has become of its pid.
 */
export interface FileLock {
  readonly path: string;
  /**
   * Takes the lock and notes `note` in it. Returns undefined, or the living process that holds it.
   * @throws FatalError (files unusable)
   */
  tryAcquire(note?: object): LockHolder | undefined;
  /** Replaces the note of a lock that we hold; a reader sees the old one or the new one. */
  update(note: object): void;
  /** False when another process has taken the lock over because ours had become stale. */
  isOurs(): boolean;
  /** Never throws: a lock that cannot be removed is free when its process has ended. */
  release(): void;
}

/** `staleAfterMs`: a lock older than this is free even though its holder lives (stopped by Ctrl-Z, say). */
export function createFileLock(path: string, staleAfterMs = Number.POSITIVE_INFINITY): FileLock {
  const token = randomUUID();
  const describe = (note: object) =>
    `${JSON.stringify({ token, pid: process.pid, process_start: ownStart(), ...note })}\n`;
  const isOurs = () => readLock(path)?.holder?.token === token;

  function tryAcquire(note: object = {}): LockHolder | undefined {
    for (;;) {
      if (claimFile(path, describe(note))) return undefined;
      const found = readLock(path);
      if (found === undefined) continue;
      if (isHeld(found, staleAfterMs)) return found.holder ?? { token: '', pid: 0, process_start: null };
      clear();
    }
  }

  /** Removes a lock that nobody holds. One process at a time: another one may have taken it over meanwhile. */
  function clear(): void {
    const claim = `${path}.clearing`;
    if (!claimFile(claim)) {
      // Left by a process that died while it cleared.
      if (isOld(ageMs(claim))) rmSync(claim, { force: true });
      return;
    }
    try {
      const found = readLock(path);
      if (found && !isHeld(found, staleAfterMs)) rmSync(path, { force: true });
    } finally {
      rmSync(claim, { force: true });
    }
  }

  return {
    path,
    tryAcquire,
    isOurs,
    update: (note) => {
      if (!isOurs()) return;
      // Only the holder writes it, so that one name will do.
      const draft = `${path}.tmp`;
      writeFileSync(draft, describe(note));
      renameSync(draft, path);
    },
    release: () => {
      try {
        if (isOurs()) rmSync(path, { force: true });
      } catch {
        // It stays.
      }
    },
  };
}

interface FoundLock {
  holder: LockHolder | undefined;
  ageMs: number;
}

function readLock(path: string): FoundLock | undefined {
  try {
    const ageMs = Date.now() - statSync(path).mtimeMs;
    return { holder: parseHolder(readFileSync(path, 'utf8')), ageMs };
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw filesUnusable(`${path} cannot be read`, error);
  }
}

function isHeld({ holder, ageMs }: FoundLock, staleAfterMs: number): boolean {
  if (holder === undefined) return !isOld(ageMs);
  return ageMs < staleAfterMs && isRunning(holder);
}

/** A file from the future was written before the clock was set back. */
function isOld(ageMs: number): boolean {
  return ageMs > unreadableGraceMs || ageMs < -unreadableGraceMs;
}

/** Zero for a file that is gone. */
function ageMs(path: string): number {
  return Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
}

/** Who holds the lock at `path`, if that process is alive. Reads only. */
export function readLockHolder(path: string): LockHolder | undefined {
  const holder = readLock(path)?.holder;
  return holder !== undefined && isRunning(holder) ? holder : undefined;
}

function parseHolder(text: string): LockHolder | undefined {
  try {
    const holder = JSON.parse(text);
    return typeof holder?.token === 'string' && Number.isInteger(holder.pid) ? holder : undefined;
  } catch {
    return undefined;
  }
}

function isRunning(holder: LockHolder): boolean {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if (errorCode(error) === 'ESRCH') return false;
  }
  const start = processStart(holder.pid);
  return start === null || holder.process_start === null || start === holder.process_start;
}

/** When the process started, in whatever form the system tells it; null if it does not. */
function processStart(pid: number): string | null {
  try {
    if (process.platform !== 'linux') {
      // In one language and time zone: cron's are often others than the user's.
      const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC' };
      return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', env }).trim() || null;
    }
    // proc(5): the fields after the parenthesized name are the state, ..., and as the 20th the start time.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const zombie = fields[0] === 'Z' || fields[0] === 'X';
    return zombie ? 'ended' : (fields[19] ?? null);
  } catch {
    return null;
  }
}

let ownStartRead: string | null | undefined;
function ownStart(): string | null {
  ownStartRead ??= processStart(process.pid);
  return ownStartRead;
}
