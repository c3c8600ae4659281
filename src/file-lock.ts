import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { errorCode } from './errors.js';

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
export class FileLock {
  readonly path: string;
  private readonly token = randomUUID();
  private readonly staleAfterMs: number;

  /** `staleAfterMs`: a lock older than this is free even though its holder lives (stopped by Ctrl-Z, say). */
  constructor(path: string, staleAfterMs = Number.POSITIVE_INFINITY) {
    this.path = path;
    this.staleAfterMs = staleAfterMs;
  }

  /** Takes the lock and notes `note` in it. Returns undefined, or the living process that holds it. */
  tryAcquire(note: Record<string, unknown> = {}): LockHolder | undefined {
    for (;;) {
      try {
        writeFileSync(this.path, this.describe(note), { flag: 'wx' });
        return undefined;
      } catch (error) {
        if (errorCode(error) !== 'EEXIST') throw error;
      }
      const found = this.read();
      if (found === undefined) continue;
      if (this.isHeld(found)) return found.holder ?? { token: '', pid: 0, process_start: null };
      this.clear();
    }
  }

  /** Replaces the note of a lock that we hold; a reader sees the old one or the new one. */
  update(note: Record<string, unknown>): void {
    if (!this.isOurs()) return;
    // Only the holder writes it, so that one name will do.
    const draft = `${this.path}.tmp`;
    writeFileSync(draft, this.describe(note));
    renameSync(draft, this.path);
  }

  /** False when another process has taken the lock over because ours had become stale. */
  isOurs(): boolean {
    return this.read()?.holder?.token === this.token;
  }

  /** Never throws: a lock that cannot be removed is free when its process has ended. */
  release(): void {
    try {
      if (this.isOurs()) rmSync(this.path, { force: true });
    } catch {
      // It stays.
    }
  }

  private describe(note: Record<string, unknown>): string {
    const holder: LockHolder = { token: this.token, pid: process.pid, process_start: ownStart(), ...note };
    return `${JSON.stringify(holder)}\n`;
  }

  private read(): { text: string; holder: LockHolder | undefined; ageMs: number } | undefined {
    try {
      const ageMs = Date.now() - statSync(this.path).mtimeMs;
      const text = readFileSync(this.path, 'utf8');
      return { text, holder: parseHolder(text), ageMs };
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  private isHeld({ holder, ageMs }: { holder: LockHolder | undefined; ageMs: number }): boolean {
    if (holder === undefined) return !isOld(ageMs);
    return ageMs < this.staleAfterMs && isRunning(holder);
  }

  /** Removes a lock that nobody holds. One process at a time: another one may have taken it over meanwhile. */
  private clear(): void {
    const claim = `${this.path}.clearing`;
    try {
      writeFileSync(claim, '', { flag: 'wx' });
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
      // Left by a process that died while it cleared.
      if (isOld(ageMs(claim))) rmSync(claim, { force: true });
      return;
    }
    try {
      const found = this.read();
      if (found && !this.isHeld(found)) rmSync(this.path, { force: true });
    } finally {
      rmSync(claim, { force: true });
    }
  }
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
  try {
    const holder = parseHolder(readFileSync(path, 'utf8'));
    return holder !== undefined && isRunning(holder) ? holder : undefined;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
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
      return (
        execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', env }).trim() || null
      );
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
