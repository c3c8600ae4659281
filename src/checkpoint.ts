import { readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { EntityType, EntityTypeName } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import { filesUnusable, writeWholeFile } from './whole-file.js';

const checkpointSchema = z.object({
  entity_type: z.string(),
  processed_ids: z.array(z.string()),
  timestamp: z.string().optional(),
});

/** What `logs/checkpoint_<type>.json` holds: the ids whose rows have been written. */
export interface SavedCheckpoint {
  ids: Set<string>;
  /** When it was saved, as written in the file. */
  timestamp: string | undefined;
}

export function checkpointPath(directory: string, name: EntityTypeName): string {
  return join(directory, `checkpoint_${name}.json`);
}

/** The checkpoint in `directory`, or why the file there is not one; undefined if there is no file. */
function read(path: string, type: EntityType): SavedCheckpoint | { unusable: string } | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw filesUnusable(`${path} cannot be read`, error);
  }
  try {
    const { entity_type, processed_ids, timestamp } = checkpointSchema.parse(JSON.parse(text));
    if (entity_type !== type.name) return { unusable: `it is a checkpoint of ${entity_type}` };
    return { ids: new Set(processed_ids), timestamp };
  } catch {
    return { unusable: 'it is not a whole checkpoint' };
  }
}

function keepAside(path: string, unusable: string): string {
  const aside = `${path}.unusable-${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    throw filesUnusable(`${path} cannot be kept aside`, error);
  }
  return `${path} cannot be used: ${unusable}. It is kept as ${aside}.`;
}

/**
 * The checkpoint to resume from; undefined if there is none.
 * @throws FatalError for a file that is not this type's checkpoint, which is then kept aside
 */
export function loadCheckpoint(directory: string, type: EntityType): SavedCheckpoint | undefined {
  const path = checkpointPath(directory, type.name);
  const found = read(path, type);
  if (found === undefined || 'ids' in found) return found;
  throw new FatalError(
    exitCodes.filesUnusable,
    `${keepAside(path, found.unusable)} Mend it and move it back, or run without --resume to start over.`,
  );
}

/** Keeps aside what a run that starts over would overwrite although it is not a checkpoint; says so if it did. */
export function makeRoomForCheckpoint(directory: string, type: EntityType): string | undefined {
  const path = checkpointPath(directory, type.name);
  const found = read(path, type);
  return found !== undefined && 'unusable' in found ? keepAside(path, found.unusable) : undefined;
}

export function clearCheckpoint(directory: string, type: EntityType): void {
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
