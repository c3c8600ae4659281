import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import type { EntityType } from '../entity-types.js';
import { errorCode, exitCodes, FatalError } from '../errors.js';
import type { RunEvent } from '../events.js';
import { formatAgo, formatCount, parseJson } from '../format.js';
import { claimFile, filesUnusable, writeWholeFile } from './whole-file.js';

const holderSchema = z.looseObject({
  token: z.string(),
  pid: z.int(),
  /** With the pid it identifies a process: a pid alone is used again. */
  process_start: z.string().nullable(),
  /** Of a container, say, whose pids mean others elsewhere; null where the system has none. */
  pid_namespace: z.string().nullish(),
});

/** What a lock file says about the process that holds it; a holder may note more. */
type LockHolder = z.infer<typeof holderSchema>;

/** A file being created is empty for an instant; one that stays unreadable belongs to nobody. */
const unreadableGraceMs = 2_000;

/** The lock of a process in another pid namespace, of which nothing can be seen, is held while it is so young. */
const foreignGraceMs = 60_000;

/**
 * A lock between processes of one machine: a file that exists while somebody holds it. The lock of a process that
 * died is free at once, whatever has become of its pid; one older than `staleAfterMs` even though its holder lives
 * (stopped by Ctrl-Z, say). What it does throws a FatalError when the file is unusable.
 */
export function createFileLock(path: string, staleAfterMs = Number.POSITIVE_INFINITY) {
  const token = randomUUID();
  const { pid } = process;
  const holder: LockHolder = { token, pid, process_start: processStart(pid), pid_namespace: ownNamespace() };
  const describe = (note: object) => `${JSON.stringify({ ...holder, ...note })}\n`;

  /** Takes the lock and notes `note` in it. Returns undefined, or the living process that holds it. */
  function tryAcquire(note: object = {}): LockHolder | undefined {
    for (;;) {
      if (claimFile(path, describe(note))) return undefined;
      const found = readLock(path);
      if (found === undefined) continue;
      if (isHeld(found, staleAfterMs)) return found.holder ?? { token: '', pid: 0, process_start: null };
      clear(path, staleAfterMs);
    }
  }

  /** False when another process has taken the lock over because ours had become stale. */
  function isOurs(): boolean {
    return readLock(path)?.holder?.token === token;
  }

  /** Replaces the note of a lock that we hold; a reader sees the old one or the new one. */
  function update(note: object): void {
    if (isOurs()) writeWholeFile(path, describe(note));
  }

  /** Never throws: a lock that cannot be removed is free when its process has ended. */
  function release(): void {
    try {
      if (isOurs()) rmSync(path);
    } catch {
      // It stays.
    }
  }

  return { tryAcquire, isOurs, update, release };
}

/** Removes a lock that nobody holds. One process at a time: another one may have taken it over meanwhile. */
function clear(path: string, staleAfterMs: number): void {
  const claim = `${path}.clearing`;
  const removeUnlessHeld = (file: string) => {
    const found = readLock(file);
    if (found && !isHeld(found, staleAfterMs)) rmSync(file, { force: true });
  };
  if (!claimFile(claim)) {
    // Left, perhaps, by a process that died while it cleared.
    removeUnlessHeld(claim);
    return;
  }
  try {
    removeUnlessHeld(path);
  } finally {
    rmSync(claim, { force: true });
  }
}

/** Who has written it, where that can be read, and how long ago; undefined without a file. */
function readLock(path: string) {
  try {
    const ageMs = Date.now() - statSync(path).mtimeMs;
    return { holder: holderSchema.safeParse(parseJson(readFileSync(path, 'utf8'))).data, ageMs };
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw filesUnusable(`${path} cannot be read`, error);
  }
}

function isHeld({ holder, ageMs }: NonNullable<ReturnType<typeof readLock>>, staleAfterMs: number): boolean {
  // A file from the future was written before the clock was set back.
  if (holder === undefined) return Math.abs(ageMs) <= unreadableGraceMs;
  return ageMs < staleAfterMs && (isForeign(holder) ? ageMs < foreignGraceMs : isRunning(holder));
}

/** Who holds the lock at `path`, if that process is alive. Reads only. */
export function readLockHolder(path: string): LockHolder | undefined {
  const found = readLock(path);
  return found && isHeld(found, Number.POSITIVE_INFINITY) ? found.holder : undefined;
}

/** Whether the holder's pid says nothing here. */
function isForeign({ pid_namespace }: LockHolder): boolean {
  const own = ownNamespace();
  return own !== null && (pid_namespace ?? own) !== own;
}

function ownNamespace(): string | null {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return null;
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
    return fields[0] === 'Z' ? 'ended' : (fields[19] ?? null);
  } catch {
    return null;
  }
}

const runNoteSchema = z.object({
  /** ISO instant of the run's start. */
  since: z.string(),
  strategy: z.string().nullable(),
  phase: z.string(),
  /** ISO instant of the phase's start. */
  phase_since: z.string(),
  done: z.number(),
  total: z.number(),
  /** Until when, as ISO instant, no request starts, and why. */
  paused: z.object({ until: z.string(), reason: z.string() }).nullable().default(null),
});

/** What a run tells others about itself in its lock files. */
export type RunNote = z.infer<typeof runNoteSchema>;

const updateIntervalMs = 500;
/** So often also where nothing happens: the lock of a process that cannot be seen from here is known by its age. */
const signOfLifeMs = 10_000;

const lockPath = (directory: string, { name }: EntityType) => join(directory, `run_${name}.lock`);

/**
 * Keeps a second run from the same entity types, all or none, and tells it and `status` how far this one is, for which
 * it listens. `since` is the run's start (ISO instant); `afterKilled` that of the run before, where that was killed. A
 * refresh that was is made good by the next one.
 * @throws FatalError that says who runs, or that the folder is unusable
 */
export function lockTypes(directory: string, types: readonly EntityType[], since: string) {
  const begun = { phase: 'selecting', phase_since: since, done: 0, total: 0 };
  const note: RunNote = { since, strategy: null, ...begun, paused: null };
  const locks = types.map((type) => ({ type, ...createFileLock(lockPath(directory, type)) }));
  const before = types.flatMap((type) => lockingRun(directory, type) ?? []);
  const killed = before.filter(({ isAlive, strategy }) => !isAlive && strategy !== 'refresh');
  const [afterKilled = null] = killed.map((run) => run.since).sort();
  let updatedAtMs = Number.NEGATIVE_INFINITY;
  const update = () => {
    updatedAtMs = performance.now();
    try {
      for (const lock of locks) lock.update(note);
    } catch {
      // No reason to stop a run that works: the lock itself stays, and the next update may succeed.
    }
  };
  const signsOfLife = setInterval(update, signOfLifeMs).unref();
  const release = () => {
    clearInterval(signsOfLife);
    for (const lock of locks) lock.release();
  };

  function take(event: RunEvent): void {
    if (event.kind === 'gathering') note.strategy = event.strategy;
    if (event.kind === 'phase') note.phase_since = new Date().toISOString();
    if (event.kind === 'phase' || event.kind === 'step') {
      Object.assign(note, { phase: event.label, done: event.done, total: event.total });
    }
    if (event.kind === 'pause') {
      note.paused = { until: new Date(Date.now() + event.seconds * 1000).toISOString(), reason: event.reason };
    }
    if (event.kind === 'phase' || event.kind === 'request') note.paused = null;
    const isNews = event.kind === 'phase' || event.kind === 'pause';
    if (isNews || performance.now() - updatedAtMs >= updateIntervalMs) update();
  }

  try {
    for (const { type, tryAcquire } of locks) {
      const holder = tryAcquire(note);
      if (holder) throw new FatalError(exitCodes.alreadyRunning, describeHolder(type, holder));
    }
  } catch (error) {
    release();
    throw error;
  }
  return { take, release, afterKilled };
}

function describeHolder(type: EntityType, holder: LockHolder): string {
  if (holder.pid === 0) return `Another run for ${type.name} is just starting: try again in a few seconds.`;
  const note = runNoteSchema.safeParse(holder).data;
  const done = note && `${note.phase} ${formatCount(note.done)} of ${formatCount(note.total)}`;
  const progress = note ? `, began ${formatAgo(note.since, new Date())}, ${done}` : '';
  const advice = isForeign(holder) ? 'in another container' : `or stop it with: kill ${holder.pid}`;
  return `Another run is processing ${type.name}: pid ${holder.pid}${progress}. Wait for its end, ${advice}`;
}

/**
 * The run that has locked a type: its pid, what it notes, and whether it is alive. Otherwise it was killed, for it has
 * not taken its lock away; the next run does.
 */
export function lockingRun(directory: string, type: EntityType) {
  const found = readLock(lockPath(directory, type));
  const note = runNoteSchema.safeParse(found?.holder).data;
  if (found?.holder === undefined || note === undefined) return undefined;
  return { ...note, pid: found.holder.pid, isAlive: isHeld(found, Number.POSITIVE_INFINITY) };
}
