import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import type { EntityType, EntityTypeName } from '../entity-types.js';
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

/** What `logs/checkpoint_<type>.json` holds: the ids whose rows have been written. */
export interface SavedCheckpoint {
  ids: Set<string>;
  /** When it was saved, as written in the file. */
  timestamp: string | undefined;
}

function checkpointPath(directory: string, name: EntityTypeName): string {
  return join(directory, `checkpoint_${name}.json`);
}

/** The checkpoint of a type, or why the file there is not one; undefined if there is no file. */
export function readCheckpoint(
  directory: string,
  type: EntityType,
): SavedCheckpoint | { unusable: string } | undefined {
  const path = checkpointPath(directory, type.name);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    if (errorCode(error) === 'EISDIR') return { unusable: 'it is a folder' };
    throw filesUnusable(`${path} cannot be read`, error);
  }
  try {
    const { entity_type, processed_ids, timestamp } = checkpointSchema.parse(JSON.parse(text));
    if (entity_type !== type.name) return { unusable: `it is a checkpoint of ${printable(entity_type)}` };
    return { ids: new Set(processed_ids), timestamp };
  } catch {
    return { unusable: 'it is not a whole checkpoint' };
  }
}

/** The growing checkpoint of a run. */
export interface Checkpoint {
  readonly writtenIds: ReadonlySet<string>;
  /** Call this only with ids whose rows have been written. */
  add(ids: Iterable<string>): void;
  save(): void;
}

/**
 * Opens a run's checkpoint with the ids that the run leaves out because their rows are written. The file is written
 * anew at once, before anything else: the checkpoint of an older run must not seem to be this one's after a crash,
 * and a folder that cannot be written had better fail now. A file that is not this type's checkpoint is kept aside.
 * @throws FatalError (files unusable), also when the run was to go on from such a file
 */
export function openCheckpoint(directory: string, type: EntityType, options: PopulateOptions, tell: Tell): Checkpoint {
  const ids = idsToLeaveOut(directory, type, options, tell);
  const save = () => {
    const timestamp = new Date().toISOString();
    const checkpoint = { entity_type: type.name, processed_ids: [...ids], count: ids.size, timestamp };
    writeWholeFile(checkpointPath(directory, type.name), `${JSON.stringify(checkpoint)}\n`);
  };
  if (!options.dryRun) save();
  return {
    writtenIds: ids,
    add: (more) => {
      for (const id of more) ids.add(id);
    },
    save,
  };
}

function idsToLeaveOut(
  directory: string,
  type: EntityType,
  { resume, clearCheckpoints, dryRun }: PopulateOptions,
  tell: Tell,
): Set<string> {
  const log = (line: string) => tell({ kind: 'line', line });
  const found = clearCheckpoints ? undefined : readCheckpoint(directory, type);
  if (found === undefined) {
    if (resume) log(`${type.name}: no checkpoint to resume from; starting from the beginning.`);
    return new Set();
  }
  if ('ids' in found) {
    if (!resume) {
      // Not lost at once: somebody may only have forgotten --resume.
      if (found.ids.size > 0 && !dryRun) keepAside(directory, type, 'previous');
      return new Set();
    }
    const { ids, timestamp = 'an unknown time' } = found;
    log(`${type.name}: resuming after ${formatCount(ids.size)} written, checkpoint of ${timestamp}.`);
    return ids;
  }
  const what = `${checkpointPath(directory, type.name)} cannot be used: ${found.unusable}.`;
  const kept = dryRun ? '' : ` It is kept as ${keepAside(directory, type, unusableSuffix())}.`;
  if (resume) {
    const advice = 'Mend it and put it back, or run without --resume to start over.';
    throw new FatalError(exitCodes.filesUnusable, `${what}${kept} ${advice}`);
  }
  log(`${what}${kept}`);
  return new Set();
}

function unusableSuffix(): string {
  return `unusable-${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}`;
}

function keepAside(directory: string, type: EntityType, suffix: string): string {
  const path = checkpointPath(directory, type.name);
  const aside = `${path}.${suffix}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    throw filesUnusable(`${path} cannot be kept aside`, error);
  }
  return aside;
}
