import { join } from 'node:path';
import * as z from 'zod';
import type { EntityType } from '../entity-types.js';
import { exitCodes, FatalError } from '../errors.js';
import type { RunEvent } from '../events.js';
import { formatCount } from '../format.js';
import { createFileLock, isForeign, type LockHolder, readLockHolder } from './file-lock.js';

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
/** So often also where nothing happens: the lock of a process that cannot be seen from here is known by its age. */
const signOfLifeMs = 10_000;

const lockPath = (directory: string, { name }: EntityType) => join(directory, `run_${name}.lock`);

/**
 * Keeps a second run from the same entity types, all or none, and tells it and `status` how far this one is, for which
 * it listens. `since` is the run's start (ISO instant).
 * @throws FatalError that says who runs, or that the folder is unusable
 */
export function lockTypes(directory: string, types: readonly EntityType[], since: string) {
  const note: RunNote = { since, strategy: null, phase: 'selecting', phase_since: since, done: 0, total: 0 };
  const locks = types.map((type) => ({ type, ...createFileLock(lockPath(directory, type)) }));
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
    if (event.kind === 'phase' || performance.now() - updatedAtMs >= updateIntervalMs) update();
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
  return { take, release };
}

function describeHolder(type: EntityType, holder: LockHolder): string {
  if (holder.pid === 0) return `Another run for ${type.name} is just starting: try again in a few seconds.`;
  const note = runNoteSchema.safeParse(holder).data;
  const done = note && `${note.phase} ${formatCount(note.done)} of ${formatCount(note.total)}`;
  const progress = note ? `, since ${note.since}, ${done}` : '';
  const advice = isForeign(holder) ? 'in another container' : `or stop it with: kill ${holder.pid}`;
  return `Another run is processing ${type.name}: pid ${holder.pid}${progress}. Wait for its end, ${advice}`;
}

/** The run that is processing a type now: its pid and what it notes. */
export function activeRun(directory: string, type: EntityType): (RunNote & { pid: number }) | undefined {
  const holder = readLockHolder(lockPath(directory, type));
  const note = runNoteSchema.safeParse(holder).data;
  return holder && note && { ...note, pid: holder.pid };
}
