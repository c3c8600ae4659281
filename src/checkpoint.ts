import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { EntityType, EntityTypeName } from './entity-types.js';
import { errorCode, exitCodes, FatalError } from './errors.js';
import { formatCount, printable } from './format.js';
import { filesUnusable, writeWholeFile } from './whole-file.js';

const checkpointSchema = z.object({
  entity_type: z.string(),
  processed_ids: z.array(z.string()),
  timestamp: z.string().transform(printable).optional(),
});

/** What `logs/checkpoint_<type>.json` holds: the ids whose rows have been written. */
export interface SavedCheckpoint {
  ids: ReadonlySet<string>;
  /** When it was saved, as written in the file. */
  timestamp: string | undefined;
}

export interface CheckpointOptions {
  /** Go on from the checkpoint; otherwise the run starts over. */
  resume: boolean;
  /** Forget the checkpoint first. */
  clear: boolean;
  /** Change no file. */
  readOnly: boolean;
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

/**
 * Opens a run's checkpoint with the ids that the run leaves out because their rows are written. The file is written
 * anew at once, before anything else: the checkpoint of an older run must not seem to be this one's after a crash,
 * and a folder that cannot be written had better fail now. A file that is not this type's checkpoint is kept aside.
 * @throws FatalError (files unusable), also when the run was to go on from such a file
 */
export function openCheckpoint(
  directory: string,
  type: EntityType,
  options: CheckpointOptions,
  log: (line: string) => void,
): Checkpoint {
  const checkpoint = new Checkpoint(directory, type, idsToLeaveOut(directory, type, options, log));
  if (!options.readOnly) checkpoint.save();
  return checkpoint;
}

function idsToLeaveOut(
  directory: string,
  type: EntityType,
  { resume, clear, readOnly }: CheckpointOptions,
  log: (line: string) => void,
): ReadonlySet<string> {
  const found = clear ? undefined : readCheckpoint(directory, type);
  if (found === undefined) {
    if (resume) log(`${type.name}: no checkpoint to resume from; starting from the beginning.`);
    return new Set();
  }
  if ('ids' in found) {
    if (!resume) {
      // Not lost at once: somebody may only have forgotten --resume.
      if (found.ids.size > 0 && !readOnly) keepAside(directory, type, 'previous');
      return new Set();
    }
    const { ids, timestamp = 'an unknown time' } = found;
    log(`${type.name}: resuming after ${formatCount(ids.size)} written, checkpoint of ${timestamp}.`);
    return ids;
  }
  const what = `${checkpointPath(directory, type.name)} cannot be used: ${found.unusable}.`;
  const kept = readOnly ? '' : ` It is kept as ${keepAside(directory, type, unusableSuffix())}.`;
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

/** The growing checkpoint of a run. */
export class Checkpoint {
  private readonly path: string;
  readonly type: EntityType;
  private readonly ids: Set<string>;

  constructor(directory: string, type: EntityType, ids: Iterable<string> = []) {
    this.path = checkpointPath(directory, type.name);
    this.type = type;
    this.ids = new Set(ids);
  }

  get writtenIds(): ReadonlySet<string> {
    return this.ids;
  }

  /** Call this only with ids whose rows have been written. */
  add(ids: Iterable<string>): void {
    for (const id of ids) this.ids.add(id);
  }

  save(): void {
    const checkpoint = {
      entity_type: this.type.name,
      processed_ids: [...this.ids],
      count: this.ids.size,
      timestamp: new Date().toISOString(),
    };
    writeWholeFile(this.path, `${JSON.stringify(checkpoint)}\n`);
  }
}
