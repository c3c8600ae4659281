import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The tests that run the whole command run what is in src/ now; those with a database begin with a copy of one. */
export default async function prepare(): Promise<void> {
  execFileSync(process.execPath, ['build.js'], { cwd: root, stdio: 'inherit' });
  const path = newPostgres();
  if (!existsSync(path)) await makePostgres(path);
}

/** The file with an empty Postgres of the version that is installed. */
export function newPostgres(): string {
  const version = createHash('sha256').update(readFileSync(join(root, 'package-lock.json')));
  return join(
    root,
    'node_modules/.cache/populate-all-statistics',
    `postgres-${version.digest('hex').slice(0, 16)}.tar`,
  );
}

async function makePostgres(path: string): Promise<void> {
  // It takes a second to load.
  const { openPostgres } = await import('../demo/database.js');
  const { driver } = await openPostgres();
  const dump = Buffer.from(await (await driver.dumpDataDir('none')).arrayBuffer());
  const cache = dirname(path);
  mkdirSync(cache, { recursive: true });
  const outdated = readdirSync(cache).filter((name) => !name.startsWith(basename(path)));
  for (const name of outdated) rmSync(join(cache, name));
  writeFileSync(`${path}.${process.pid}`, dump);
  renameSync(`${path}.${process.pid}`, path);
}
