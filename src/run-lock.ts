import { join } from 'node:path';
import { z } from 'zod';
import type { EntityType, EntityTypeName } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import { FileLock, type LockHolder, readLockHolder } from './file-lock.js';
import { formatCount } from './format.js';
import type { PhaseNote } from './progress.js';
import { filesUnusable } from './whole-file.js';

/** What a run tells others about itself in its lock files. */
export interface RunNote {
  /** ISO instant of the run's start. */
  since: string;
  strategy: string | null;
  phase: string;
  /** ISO instant of the phase's start. */
  phase_since: string;
  done: number;
  total: number;
}

const runNoteSchema = z.object({
  since: z.string(),
  strategy: z.string().nullable(),
  phase: z.string(),
  phase_since: z.string(),
  done: z.number(),
  total: z.number(),
});

const updateIntervalMs = 2_000;

function lockPath(directory: string, name: EntityTypeName): string {
  return join(directory, `run_${name}.lock`);
}

/** Keeps a second run from the same entity types, and tells it and `status` how far this one is. */
export class RunLock {
  private readonly locks: { type: EntityType; lock: FileLock }[];
  private updatedAtMs = Number.NEGATIVE_INFINITY;

  constructor(directory: string, types: readonly EntityType[]) {
    this.locks = types.map((type) => ({ type, lock: new FileLock(lockPath(directory, type.name)) }));
  }

  /**
   * Locks all types or none; `since` is the run's start (ISO instant).
   * @throws FatalError that says who runs, or that the folder is unusable
   */
  acquire(since: string): void {
    const note: RunNote = {
      since,
      strategy: null,
      phase: 'selecting',
      phase_since: since,
      done: 0,
      total: 0,
    };
    for (const { type, lock } of this.locks) {
      let holder: LockHolder | undefined;
      try {
        holder = lock.tryAcquire({ ...note });
      } catch (error) {
        this.release();
        throw filesUnusable(`${lock.path} cannot be written`, error);
      }
      if (holder === undefined) continue;
      this.release();
      throw new FatalError(exitCodes.alreadyRunning, describeHolder(type, holder));
    }
  }

  /** Notes where the run is, at most every two seconds; a failure to do so is no reason to stop a run that works. */
  update(run: { started_at: string; strategy: string | null }, phase: PhaseNote): void {
    if (performance.now() - this.updatedAtMs < updateIntervalMs) return;
    this.updatedAtMs = performance.now();
    const note: RunNote = {
      since: run.started_at,
      strategy: run.strategy,
      phase: phase.label,
      phase_since: phase.since.toISOString(),
      done: phase.done,
      total: phase.total,
    };
    try {
      for (const { lock } of this.locks) lock.update({ ...note });
    } catch {
      // The next update may succeed; the lock itself stays.
    }
  }

  release(): void {
    for (const { lock } of this.locks) lock.release();
  }
}

function describeHolder(type: EntityType, holder: LockHolder): string {
  if (holder.pid === 0) return `Another run for ${type.name} is just starting: try again in a few seconds.`;
  const note = runNoteSchema.safeParse(holder).data;
  const progress = note
    ? `, since ${note.since}, ${note.phase} ${formatCount(note.done)} of ${formatCount(note.total)}`
    : '';
  return `Another run is processing ${type.name}: pid ${holder.pid}${progress}. Wait for its end, or stop it with: kill ${holder.pid}`;
}

/** The run that is processing a type now: its pid and what it notes. */
export function activeRun(directory: string, type: EntityType): (RunNote & { pid: number }) | undefined {
  const holder = readLockHolder(lockPath(directory, type.name));
  const note = runNoteSchema.safeParse(holder).data;
  return holder && note && { ...note, pid: holder.pid };
}
