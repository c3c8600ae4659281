import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type EmbeddedDatabase, type EmbeddedDatabaseOptions, startEmbeddedDatabase } from '../demo/database.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const cache = join(root, 'node_modules/.cache/populate-all-statistics');

/** All that the empty, migrated database depends on. */
function fingerprint(): string {
  const migrations = readdirSync(join(root, 'supabase/migrations')).map((name) => `supabase/migrations/${name}`);
  const hash = createHash('sha256');
  for (const file of ['package-lock.json', 'demo/database.ts', ...migrations.sort()]) {
    hash.update(readFileSync(join(root, file)));
  }
  return hash.digest('hex').slice(0, 16);
}

/** Starts a migrated database as a copy of one that the first test to need it has prepared: in half of the time. */
export async function startPreparedDatabase(options: EmbeddedDatabaseOptions = {}): Promise<EmbeddedDatabase> {
  const path = join(cache, `database-${fingerprint()}.tar`);
  if (!existsSync(path)) await prepare(path);
  return await startEmbeddedDatabase({ ...options, migrate: false, copyOf: new Blob([readFileSync(path)]) });
}

/** Two tests may do so at once: each moves a whole file into place. */
async function prepare(path: string): Promise<void> {
  const database = await startEmbeddedDatabase();
  const dump = Buffer.from(await (await database.dump()).arrayBuffer());
  await database.close();
  mkdirSync(cache, { recursive: true });
  const outdated = readdirSync(cache).filter((name) => !name.startsWith(basename(path)));
  for (const name of outdated) rmSync(join(cache, name));
  writeFileSync(`${path}.${process.pid}`, dump);
  renameSync(`${path}.${process.pid}`, path);
}
