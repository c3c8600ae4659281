import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { App, generateApiKey } from '@supabase/lite';
import { createPgliteConnection, type PgliteConnection } from '@supabase/lite/pglite';
import { entityTypes } from '../src/entity-types.js';
import { exitCodes, FatalError } from '../src/errors.js';
import { createFileLock } from '../src/files/locks.js';
import { formatTable, wrapped } from '../src/format.js';
import { columnOf, lastDateColumn } from '../src/statistics.js';
import { answerWith, listen, stop } from './loopback.js';
import type { Season } from './season.js';

/** A Supabase project in this process: Postgres (PGlite) behind the Data API (Supabase Lite) on loopback. */
export interface EmbeddedDatabase {
  /** `http://127.0.0.1:port`, to be used as SUPABASE_URL. */
  url: string;
  /** `sb_secret_...`: the role service_role. Every start makes new keys. */
  serviceKey: string;
  /** `sb_publishable_...`: the role anon. */
  publishableKey: string;
  /** Answers a request itself, or calls `next` for the normal answer. May be set and removed at any time. */
  intercept?: (request: IncomingMessage, response: ServerResponse, next: () => Promise<void>) => unknown;
  /** Runs one SQL statement as superuser. Dates and instants come as ISO text, numeric values as numbers. */
  query<Row>(sql: string, parameters?: unknown[]): Promise<Row[]>;
  /** Applies every file of supabase/migrations in order, whether applied before or not. */
  migrate(): Promise<void>;
  /** Ends open requests, then stops the database, unless it was given. */
  close(): Promise<void>;
}

export interface EmbeddedDatabaseOptions {
  /** The folder that keeps the data; without it they live in memory. */
  dataDir?: string;
  /** One that `openPostgres` has opened, for what comes after each other: it stays open at the end. */
  postgres?: PgliteConnection;
  /** The most rows that a select answers with; 1000, as PostgREST on Supabase. */
  maxRows?: number;
  /** Whether to apply supabase/migrations; true. */
  migrate?: boolean;
}

const migrationsFolder = new URL('../supabase/migrations/', import.meta.url);

/**
 * What a Supabase project grants before its first migration. Supabase Lite acts as the role of the key only
 * if some table has row level security; otherwise it runs every request as superuser. Hence the last table.
 */
const projectSetup = `
  do $$ begin
    if to_regrole('service_role') is null then
      create role anon nologin;
      create role authenticated nologin;
      create role service_role nologin bypassrls;
    end if;
  end $$;
  grant usage on schema public to anon, authenticated, service_role;
  alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
  alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
  create schema if not exists embedded;
  create table if not exists embedded.role_switch ();
  alter table embedded.role_switch enable row level security;
`;

/** Values as PostgREST writes them, where Supabase Lite differs; by the OID of the Postgres type. */
const postgrestParsers = {
  /* numeric */ 1700: Number,
  /* timestamp */ 1114: (text: string) => text.replace(' ', 'T'),
  /* timestamptz */ 1184: (text: string) => text.replace(' ', 'T').replace(/[+-]\d\d$/, '$&:00'),
};

/** Starts the embedded Supabase, in some two seconds. Throws a FatalError when another process has the folder. */
export async function startEmbeddedDatabase(options: EmbeddedDatabaseOptions = {}): Promise<EmbeddedDatabase> {
  const releaseFolder = claimFolder(options.dataDir);
  const connection = options.postgres ?? (await openPostgres(options));
  await setUp(connection, options.migrate ?? true);
  const serviceKey = (await generateApiKey('secret')).key;
  const publishableKey = (await generateApiKey('publishable')).key;
  const app = createApp(connection, serviceKey, publishableKey, options.maxRows ?? 1000);
  const oneAtATime = createTurnstile();
  const fetchHandler = (request: Request) =>
    oneAtATime(() => withoutErrorLog.run(true, async () => app.fetch(request)));

  const server = createServer(async (request, response) => {
    const next = () => answerWith(fetchHandler, request, response);
    try {
      await (database.intercept ? database.intercept(request, response, next) : next());
    } catch {
      response.destroy();
    }
  });
  const database: EmbeddedDatabase = {
    url: await listen(server),
    serviceKey,
    publishableKey,
    query: async <Row>(sql: string, parameters: unknown[] = []) =>
      (await oneAtATime(() => connection.driver.query<Row>(sql, parameters))).rows,
    migrate: () => oneAtATime(() => applyMigrations(connection)),
    close: async () => {
      await stop(server);
      await oneAtATime(async () => options.postgres ?? keepingExitCode(() => connection.close()));
      releaseFolder();
    },
  };
  return database;
}

/** Keeps other processes from the folder: PGlite lets two of them open (and ruin) the same one. */
function claimFolder(dataDir: string | undefined): () => void {
  if (dataDir === undefined) return () => {};
  mkdirSync(dataDir, { recursive: true });
  const lock = createFileLock(`${dataDir}.lock`);
  const holder = lock.tryAcquire();
  if (holder) {
    const what = `${dataDir} is in use by process ${holder.pid}: wait for its end, or stop it with: kill ${holder.pid}`;
    throw new FatalError(exitCodes.alreadyRunning, what);
  }
  return lock.release;
}

/**
 * Lets the given tasks run one after the other, in the order of their arrival: PGlite is a single session, in
 * which a request whose transaction overlaps another's would share its role and its fate.
 */
function createTurnstile(): <Result>(task: () => Promise<Result>) => Promise<Result> {
  let last: Promise<unknown> = Promise.resolve();
  return (task) => {
    const result = last.then(task);
    last = result.catch(() => undefined);
    return result;
  };
}

/** Supabase Lite prints every error that it also answers with. */
const withoutErrorLog = new AsyncLocalStorage<boolean>();
const logError = console.error;
console.error = (...values: unknown[]) => {
  if (!withoutErrorLog.getStore()) logError(...values);
};

/** Opens PGlite in a folder, or in memory as a copy of another one: of its `driver.dumpDataDir()`. */
export async function openPostgres(options: { dataDir?: string; copyOf?: Blob } = {}): Promise<PgliteConnection> {
  return await keepingExitCode(async () => {
    const connection = await createPgliteConnection({
      url: options.dataDir,
      pgliteOptions: { parsers: postgrestParsers, loadDataDir: options.copyOf },
    });
    // PostgREST reads the schema anew on this notice; Supabase Lite would keep its first reading for ever.
    await connection.driver.listen('pgrst', () => void connection.clearSchemaCache());
    return connection;
  });
}

/** PGlite's start and end leave codes of their own in process.exitCode. */
async function keepingExitCode<Result>(task: () => Promise<Result>): Promise<Result> {
  const { exitCode } = process;
  const result = await task();
  process.exitCode = exitCode;
  return result;
}

async function setUp(connection: PgliteConnection, migrate: boolean): Promise<void> {
  await connection.driver.exec(projectSetup);
  if (migrate) await applyMigrations(connection);
  // Supabase Lite grants every table to every role before its first query: now, so that a later revoke holds.
  await connection.withContext({ auth: { role: 'service_role' } }, async () => undefined);
}

function createApp(connection: PgliteConnection, secret_key: string, publishable_key: string, max_rows: number) {
  const jwt_secret = randomBytes(32).toString('hex');
  return new App({
    connection,
    api: { enabled: true, schemas: ['public'], max_rows },
    auth: { enabled: false, jwt_secret, publishable_key, secret_key },
    options: { server: { admin: false, disableStudio: true } },
  });
}

async function applyMigrations(connection: PgliteConnection): Promise<void> {
  const files = (await readdir(migrationsFolder)).filter((file) => file.endsWith('.sql')).sort();
  for (const file of files) {
    await connection.driver.exec(await readFile(new URL(file, migrationsFolder), 'utf8'));
  }
}

/** Fills empty tables, also with a few rows whose ids begin with `**TEST**`; leaves filled tables alone. */
export async function seedEntities(database: Pick<EmbeddedDatabase, 'query'>, season: Season): Promise<void> {
  for (const type of ['jockeys', 'trainers', 'owners'] as const) {
    const table = `public.ra_${type}`;
    const [filled] = await database.query(`select from ${table} limit 1`);
    if (filled) continue;
    const tests = [1, 2, 3].map((number) => `**TEST**_${type}_${number}`);
    const entities = [...season[type], ...tests.map((id) => ({ id, name: id }))];
    await database.query(`insert into ${table} (id, name) select * from unnest($1::text[], $2::text[])`, [
      entities.map(({ id }) => id),
      entities.map(({ name }) => name),
    ]);
    await database.query(`analyze ${table}`);
  }
}

/** The busiest entities of each table that has statistics, for people; what they mean where it is shown. */
export async function busiestRows(database: Pick<EmbeddedDatabase, 'query'>, columns: number): Promise<string> {
  const tables: string[] = [];
  for (const type of entityTypes) {
    const runs = columnOf(type, 'recent_30d_{runs}');
    const shown = [lastDateColumn(type), runs, 'recent_30d_wins', 'recent_30d_win_rate'];
    const rows = await database.query<Record<string, string | number | null>>(
      `select name, ${shown.join(', ')} from ${type.table} where stats_updated_at is not null
       order by ${runs} desc, id limit 3`,
    );
    const lines = rows.map((row) => Object.values(row).map((value) => String(value ?? '-')));
    const heading = [type.table, `last ${type.words.run}`, type.words.runs, 'wins', '% won'];
    if (lines.length > 0) tables.push(formatTable([heading, ...lines], columns));
  }
  if (tables.length === 0) return '';
  const headings = tables.map((table) => table.split('\n')[0]).join('  ');
  const figures = ['rides', 'runs', 'wins', '% won'].filter((heading) => headings.includes(`  ${heading}`));
  const meaning = figures.length > 0 ? `; ${figures.join(', ')}: of the last 30 days` : '';
  return [...tables, wrapped(`The busiest rows of each table${meaning}.`, columns)].join('\n\n');
}
