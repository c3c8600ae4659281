import { join } from 'node:path';
import * as z from 'zod';
import type { EntityType, EntityTypeName } from '../entity-types.js';
import { exitCodes, FatalError } from '../errors.js';
import { type Phase, phaseAfter, type RunEvent, type Tell } from '../events.js';
import { formatCount } from '../format.js';
import { createFileLock, type FileLock, type LockHolder, readLockHolder } from './file-lock.js';

const runNoteSchema = z.object({
  /** ISO instant of the run's start. */
  since: z.string(),
  strategy: z.string().nullable(),
  phase: z.string(),
  /** ISO instant of the phase's start. */
  phase_since: z.string(),
  done: z.number(),
  total: z.number(),
});

/** What a run tells others about itself in its lock files. */
export type RunNote = z.infer<typeof runNoteSchema>;

const updateIntervalMs = 2_000;

function lockPath(directory: string, name: EntityTypeName): string {
  return join(directory, `run_${name}.lock`);
}

/** Keeps a second run from the same entity types, and tells it and `status` how far this one is. */
export interface RunLock {
  /** Notes where the run is. */
  take: Tell;
  release(): void;
}

/**
 * Locks all types or none; `since` is the run's start (ISO instant).
 * @throws FatalError that says who runs, or that the folder is unusable
 */
export function lockTypes(directory: string, types: readonly EntityType[], since: string): RunLock {
  const locks: FileLock[] = [];
  const note: RunNote = { since, strategy: null, phase: 'selecting', phase_since: since, done: 0, total: 0 };
  let phase: Phase | undefined;
  let updatedAtMs = Number.NEGATIVE_INFINITY;
  const release = () => {
    for (const lock of locks) lock.release();
  };
  try {
    for (const type of types) locks.push(lockType(directory, type, note));
  } catch (error) {
    release();
    throw error;
  }

  /** At most every two seconds; a failure to do so is no reason to stop a run that works. */
  function update(): void {
    if (performance.now() - updatedAtMs < updateIntervalMs) return;
    updatedAtMs = performance.now();
    try {
      for (const lock of locks) lock.update(note);
    } catch {
      // The next update may succeed; the lock itself stays.
    }
  }

  function take(event: RunEvent): void {
    if (event.kind === 'gathering') note.strategy = event.strategy;
    if (event.kind === 'phase') note.phase_since = new Date().toISOString();
    phase = phaseAfter(event, phase);
    if (phase) Object.assign(note, { phase: phase.label, done: phase.done, total: phase.total });
    update();
  }

  return { take, release };
}

function lockType(directory: string, type: EntityType, note: RunNote): FileLock {
  const lock = createFileLock(lockPath(directory, type.name));
  const holder = lock.tryAcquire(note);
  if (holder !== undefined) throw new FatalError(exitCodes.alreadyRunning, describeHolder(type, holder));
  return lock;
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
