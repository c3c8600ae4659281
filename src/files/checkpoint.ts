import { readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import type { EntityType } from '../entity-types.js';
import { errorCode, exitCodes, FatalError } from '../errors.js';
import type { Tell } from '../events.js';
import { printable } from '../format.js';
import type { PopulateOptions } from '../options.js';
import { filesUnusable, writeWholeFile } from './whole-file.js';

const checkpointSchema = z.object({
  entity_type: z.string(),
  /** No schema of zod's for half a million ids: it would copy them. */
  processed_ids: z.custom<string[]>((ids) => Array.isArray(ids) && ids.every((id) => typeof id === 'string')),
  timestamp: z.string().transform(printable).optional(),
  /** The UTC day of its oldest rows, where a run has gone on from a checkpoint of an earlier day; null if unknown. */
  rows_from: z.iso.date().nullable().optional(),
});

const checkpointPath = (directory: string, { name }: EntityType) => join(directory, `checkpoint_${name}.json`);

/**
 * What `logs/checkpoint_<type>.json` holds: the ids whose rows have been written, when it was saved and of which UTC day
 * the rows are, as far as the file says; or why the file is no checkpoint. Undefined if there is no file.
 */
export function readCheckpoint(
  directory: string,
  type: EntityType,
): { ids: string[]; timestamp: string | undefined; day: string | undefined } | { unusable: string } | undefined {
  const path = checkpointPath(directory, type);
  try {
    const found = checkpointSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
    const { entity_type, processed_ids, timestamp, rows_from } = found;
    if (entity_type !== type.name) return { unusable: `it is a checkpoint of ${printable(entity_type)}` };
    const [dayOfSaving] = /^\d{4}-\d\d-\d\d/.exec(timestamp ?? '') ?? [];
    const day = rows_from === undefined ? dayOfSaving : (rows_from ?? undefined);
    return { ids: processed_ids, timestamp, day };
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT') return undefined;
    if (code === 'EISDIR') return { unusable: 'it is a folder' };
    if (code !== undefined) throw filesUnusable(`${path} cannot be read`, error);
    return { unusable: 'it is not a whole checkpoint' };
  }
}

/** What --resume goes on from. */
export type FoundCheckpoint = NonNullable<ReturnType<typeof findCheckpoint>>;

/** Deletes the checkpoints of these types. Throws FatalError (files unusable). */
export function clearCheckpoints(directory: string, types: readonly EntityType[]): void {
  for (const path of types.map((type) => checkpointPath(directory, type))) {
    try {
      rmSync(path, { recursive: true, force: true });
    } catch (error) {
      throw filesUnusable(`${path} cannot be deleted`, error);
    }
  }
}

/** The checkpoint that a run goes on from; undefined if it is to start anew. Throws FatalError (files unusable). */
export function findCheckpoint(
  directory: string,
  type: EntityType,
  { resume, clearCheckpoints }: Pick<PopulateOptions, 'resume' | 'clearCheckpoints'>,
  tell: Tell,
) {
  const path = checkpointPath(directory, type);
  const found = clearCheckpoints || !resume ? undefined : readCheckpoint(directory, type);
  if (found && 'unusable' in found) {
    const advice = 'Mend it, or run without --resume to start over.';
    throw new FatalError(exitCodes.filesUnusable, `${path} cannot be used: ${found.unusable}. ${advice}`);
  }
  if (resume && found === undefined) {
    tell({ kind: 'line', line: `${type.name}: no checkpoint to resume from; starting from the beginning.` });
  }
  return found && { ...found, ids: new Set(found.ids) };
}

/** The growing checkpoint of a run. */
export type Checkpoint = ReturnType<typeof openCheckpoint>;

/**
 * Opens a run's checkpoint once its entities are selected, with the ids that it leaves out; its rows are as of `today`.
 * Where it leaves out none, the file of an earlier run is kept aside, which `aside` tells: it must not seem to be this
 * one's if that is killed, and somebody may only have forgotten --resume.
 * @throws FatalError (files unusable)
 */
export function openCheckpoint(
  directory: string,
  type: EntityType,
  leftOut: FoundCheckpoint | undefined,
  today: string,
) {
  const path = checkpointPath(directory, type);
  // As the texts that they have in the file: the whole one would be made anew every second.
  const ids = leftOut ? [idsText(leftOut.ids)] : [];
  const countBefore = leftOut?.ids.size ?? 0;
  let count = countBefore;
  const aside = leftOut ? undefined : keepEarlierAside(path, readCheckpoint(directory, type));
  const day = leftOut ? leftOut.day : today;
  let savedAtMs = performance.now();
  let isSaved = true;
  const save = () => {
    const timestamp = new Date().toISOString();
    // A run goes on after midnight.
    const rows_from = day && timestamp.startsWith(day) ? undefined : (day ?? null);
    const head = `{"entity_type":"${type.name}","processed_ids":[`;
    writeWholeFile(path, [head, ...ids, `],${JSON.stringify({ count, timestamp, rows_from }).slice(1)}\n`]);
    savedAtMs = performance.now();
    isSaved = true;
  };
  return {
    aside,
    hasGrown: () => count > countBefore,
    /** Takes ids, only those whose rows have been written, and saves them unless it did less than so long ago. */
    add: (more: readonly string[], intervalMs: number) => {
      if (more.length === 0) return;
      ids.push((count > 0 ? ',' : '') + idsText(more));
      count += more.length;
      isSaved = false;
      if (performance.now() - savedAtMs >= intervalMs) save();
    },
    /** Saves what is not saved yet. */
    close: () => {
      if (!isSaved) save();
    },
    /** Undoes the opening: the earlier file is what it was. */
    putBack: () => {
      if (aside) move(aside.path, path);
    },
  };
}

const idsText = (ids: Iterable<string>) => JSON.stringify([...ids]).slice(1, -1);

/** What has become of the file of an earlier run; undefined if there is none that is worth keeping. */
function keepEarlierAside(path: string, found: ReturnType<typeof readCheckpoint>) {
  if (found === undefined || ('ids' in found && found.ids.length === 0)) return undefined;
  const stamp = new Date().toISOString().replace(/\D/g, '').slice(0, 14);
  const kept = `${path}.${'ids' in found ? 'previous' : `unusable-${stamp}`}`;
  move(path, kept);
  return { from: path, path: kept, unusable: 'ids' in found ? undefined : found.unusable };
}

type Aside = NonNullable<ReturnType<typeof keepEarlierAside>>;

/** Where the files of earlier runs are kept: one line for all that any later one may replace, one for each other. */
export function describeAside(directory: string, aside: readonly Aside[]): string[] {
  const usable = aside.filter(({ unusable }) => unusable === undefined);
  const [first] = usable;
  const all = join(directory, 'checkpoint_<type>.json.previous');
  const kept = usable.length > 1 ? `checkpoints are kept as ${all}` : first && `checkpoint is kept as ${first.path}`;
  const others = aside.filter((one) => !usable.includes(one));
  return [
    ...others.map(({ from, path, unusable }) => `${from} cannot be used (${unusable}); it is kept as ${path}.`),
    ...(kept ? [`The earlier ${kept}.`] : []),
  ];
}

function move(path: string, to: string): void {
  try {
    renameSync(path, to);
  } catch (error) {
    throw filesUnusable(`${path} cannot be kept aside`, error);
  }
}
