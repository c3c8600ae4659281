import { readFileSync } from 'node:fs';
import {
  type EmbeddedDatabase,
  type EmbeddedDatabaseOptions,
  openPostgres,
  startEmbeddedDatabase,
} from '../demo/database.js';
import { newPostgres } from './prepare.js';

type Postgres = Awaited<ReturnType<typeof openPostgres>>;

/** Those of this process that no test uses now: one starts in seconds, so files use them one after the other. */
const unused: Postgres[] = [];

/** Starts a database as it is when it is new, on a Postgres that another test may have used before. */
export async function startPreparedDatabase(options: EmbeddedDatabaseOptions = {}): Promise<EmbeddedDatabase> {
  const postgres = unused.pop() ?? (await openPostgres({ copyOf: new Blob([readFileSync(newPostgres())]) }));
  await empty(postgres);
  const database = await startEmbeddedDatabase({ ...options, postgres });
  const { close } = database;
  return Object.assign(database, { close: () => close().then(() => void unused.push(postgres)) });
}

/** Takes away all but the roles. */
async function empty({ driver }: Postgres): Promise<void> {
  await driver.exec(`
    drop schema public cascade;
    create schema public;
    drop schema if exists embedded cascade;
    reset all;
    checkpoint;`);
}
