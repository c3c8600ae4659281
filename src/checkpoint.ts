import { readFileSync, renameSync, rmSync } from 'node:fs';
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
 * The ids that a run leaves out because their rows are written. A file that is not this type's checkpoint is kept
 * aside, because the run would overwrite it.
 * @throws FatalError (files unusable) when the run was to go on from such a file
 */
export function openCheckpoint(
  directory: string,
  type: EntityType,
  { resume, clear, readOnly }: CheckpointOptions,
  log: (line: string) => void,
): ReadonlySet<string> {
  if (clear && !readOnly) clearCheckpoint(directory, type);
  const found = clear ? undefined : readCheckpoint(directory, type);
  if (found === undefined) {
    if (resume) log(`${type.name}: no checkpoint to resume from; starting from the beginning.`);
    return new Set();
  }
  if ('ids' in found) {
    if (!resume) return new Set();
    log(
      `${type.name}: resuming after ${formatCount(found.ids.size)} written, checkpoint of ${found.timestamp ?? 'unknown time'}.`,
    );
    return found.ids;
  }
  const what = `${checkpointPath(directory, type.name)} cannot be used: ${found.unusable}.`;
  const kept = readOnly ? '' : ` It is kept as ${keepAside(directory, type)}.`;
  if (resume) {
    throw new FatalError(
      exitCodes.filesUnusable,
      `${what}${kept} Mend it and put it back, or run without --resume to start over.`,
    );
  }
  log(`${what}${kept}`);
  return new Set();
}

function keepAside(directory: string, type: EntityType): string {
  const path = checkpointPath(directory, type.name);
  const aside = `${path}.unusable-${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    throw filesUnusable(`${path} cannot be kept aside`, error);
  }
  return aside;
}

function clearCheckpoint(directory: string, type: EntityType): void {
  const path = checkpointPath(directory, type.name);
  try {
    rmSync(path, { force: true });
  } catch (error) {
    throw filesUnusable(`${path} cannot be deleted`, error);
  }
}

/** The growing checkpoint of a run. */
export class Checkpoint {
  private readonly path: string;
  private readonly type: EntityType;
  private readonly ids: Set<string>;

  constructor(directory: string, type: EntityType, ids: Iterable<string> = []) {
    this.path = checkpointPath(directory, type.name);
    this.type = type;
    this.ids = new Set(ids);
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
