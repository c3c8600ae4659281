import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import type { EntityType } from '../entity-types.js';
import { errorCode, exitCodes, FatalError } from '../errors.js';
import type { Tell } from '../events.js';
import { formatCount, printable } from '../format.js';
import type { PopulateOptions } from '../options.js';
import { filesUnusable, writeWholeFile } from './whole-file.js';

const checkpointSchema = z.object({
  entity_type: z.string(),
  processed_ids: z.array(z.string()),
  timestamp: z.string().transform(printable).optional(),
});

const checkpointPath = (directory: string, { name }: EntityType) => join(directory, `checkpoint_${name}.json`);

/**
 * What `logs/checkpoint_<type>.json` holds: the ids whose rows have been written, and when it was saved, as the file
 * says; or why the file is no checkpoint. Undefined if there is no file.
 */
export function readCheckpoint(
  directory: string,
  type: EntityType,
): { ids: Set<string>; timestamp: string | undefined } | { unusable: string } | undefined {
  const path = checkpointPath(directory, type);
  try {
    const { entity_type, processed_ids, timestamp } = checkpointSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
    if (entity_type !== type.name) return { unusable: `it is a checkpoint of ${printable(entity_type)}` };
    return { ids: new Set(processed_ids), timestamp };
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT') return undefined;
    if (code === 'EISDIR') return { unusable: 'it is a folder' };
    if (code !== undefined) throw filesUnusable(`${path} cannot be read`, error);
    return { unusable: 'it is not a whole checkpoint' };
  }
}

/** The growing checkpoint of a run. */
export type Checkpoint = ReturnType<typeof openCheckpoint>;

/**
 * Opens a run's checkpoint with the ids that the run leaves out because their rows are written. The file is written
 * anew at once, before anything else: the checkpoint of an older run must not seem to be this one's after a crash,
 * and a folder that cannot be written had better fail now. A file that is not this type's checkpoint is kept aside.
 * @throws FatalError (files unusable), also when the run was to go on from such a file
 */
export function openCheckpoint(directory: string, type: EntityType, options: PopulateOptions, tell: Tell) {
  const ids = idsToLeaveOut(directory, type, options, tell);
  let savedAtMs = performance.now();
  let isSaved = options.dryRun;
  const save = () => {
    if (isSaved) return;
    const timestamp = new Date().toISOString();
    const checkpoint = { entity_type: type.name, processed_ids: [...ids], count: ids.size, timestamp };
    writeWholeFile(checkpointPath(directory, type), `${JSON.stringify(checkpoint)}\n`);
    savedAtMs = performance.now();
    isSaved = true;
  };
  save();
  return {
    type,
    writtenIds: ids,
    /** Takes ids, only those whose rows have been written, and saves them unless it did less than so long ago. */
    add: (more: Iterable<string>, intervalMs: number) => {
      for (const id of more) ids.add(id);
      isSaved = false;
      if (performance.now() - savedAtMs >= intervalMs) save();
    },
    /** Saves what is not saved yet. */
    save,
  };
}

function idsToLeaveOut(
  directory: string,
  type: EntityType,
  { resume, clearCheckpoints, dryRun }: PopulateOptions,
  tell: Tell,
): Set<string> {
  const say = (line: string) => tell({ kind: 'line', line });
  const path = checkpointPath(directory, type);
  const found = clearCheckpoints ? undefined : readCheckpoint(directory, type);
  if (found && 'unusable' in found) {
    const suffix = `unusable-${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}`;
    const kept = dryRun ? '' : ` It is kept as ${keepAside(path, suffix)}.`;
    const what = `${path} cannot be used: ${found.unusable}.${kept}`;
    const advice = 'Mend it and put it back, or run without --resume to start over.';
    if (resume) throw new FatalError(exitCodes.filesUnusable, `${what} ${advice}`);
    say(what);
    return new Set();
  }
  if (found && resume) {
    const { ids, timestamp = 'an unknown time' } = found;
    say(`${type.name}: resuming after ${formatCount(ids.size)} written, checkpoint of ${timestamp}.`);
    return ids;
  }
  if (resume) say(`${type.name}: no checkpoint to resume from; starting from the beginning.`);
  // Not lost at once: somebody may only have forgotten --resume.
  if (found && found.ids.size > 0 && !dryRun) keepAside(path, 'previous');
  return new Set();
}

function keepAside(path: string, suffix: string): string {
  const aside = `${path}.${suffix}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    throw filesUnusable(`${path} cannot be kept aside`, error);
  }
  return aside;
}
