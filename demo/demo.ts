import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { entityTypes } from '../src/entity-types.js';
import { exitCodes, FatalError } from '../src/errors.js';
import { formatTable } from '../src/format.js';
import { parseCommandLine } from '../src/options.js';
import { columnOf, lastDateColumn } from '../src/statistics.js';
import { type EmbeddedDatabase, seedEntities, startEmbeddedDatabase } from './database.js';
import { makeSeason } from './season.js';
import { startSimulatedRacingApi } from './simulator.js';

const folder = fileURLToPath(new URL('../.demo/', import.meta.url));
const command = fileURLToPath(new URL('../dist/populate-all-statistics.js', import.meta.url));
const credentials = { username: 'demo', password: 'demo-password' };

/** The season is relative to today: yesterday's rows belong to races that today's season does not have. */
function prepareFolder(today: string): void {
  const dateFile = `${folder}season-date`;
  if (existsSync(dateFile) && readFileSync(dateFile, 'utf8') === today) return;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(dateFile, today);
}

/** Runs the built command as a user would, with nothing but environment variables; returns its exit code. */
function runCommand(options: string[], environment: Record<string, string>): Promise<number> {
  const child = spawn(process.execPath, [command, ...options], {
    cwd: folder,
    env: { ...process.env, ...environment },
    stdio: 'inherit',
  });
  // Ctrl-C reaches the command too, which then ends in good order; a kill reaches only us.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

/** The busiest entities of each table, so that a person sees the statistics. */
async function showRows(database: EmbeddedDatabase): Promise<void> {
  for (const type of entityTypes) {
    const { table } = type;
    const runs = columnOf(type, 'recent_30d_{runs}');
    const shown = [lastDateColumn(type), 'last_win_date', runs, 'recent_30d_wins', 'recent_30d_win_rate'];
    const rows = await database.query<Record<string, string | number | null>>(
      `select name, ${shown.join(', ')} from ${table} where stats_updated_at is not null
       order by ${runs} desc, id limit 3`,
    );
    const lines = rows.map((row) => Object.values(row).map((value) => String(value ?? '-')));
    if (lines.length > 0) console.log(`\n${formatTable([[table, ...shown], ...lines])}`);
  }
}

/** The command with an API and a database to work on. */
async function runWithServices(options: string[]): Promise<number> {
  const today = new Date().toISOString().slice(0, 10);
  prepareFolder(today);
  console.log('Starting an embedded Supabase and a simulated Racing API (2 requests a second) on this machine ...');
  const season = makeSeason({ today });
  const database = await startEmbeddedDatabase({ dataDir: `${folder}database` });
  await seedEntities(database, season);
  const api = await startSimulatedRacingApi({ season, ...credentials, latencyMs: 250 });
  console.log(`populate-all-statistics ${options.join(' ')}   (working directory: .demo)\n`);
  try {
    const exitCode = await runCommand(options, {
      RACING_API_BASE_URL: api.url,
      RACING_API_USERNAME: credentials.username,
      RACING_API_PASSWORD: credentials.password,
      SUPABASE_URL: database.url,
      SUPABASE_SERVICE_KEY: database.serviceKey,
    });
    await showRows(database);
    return exitCode;
  } finally {
    await api.close();
    await database.close();
  }
}

async function demo(options: string[]): Promise<number> {
  mkdirSync(folder, { recursive: true });
  const request = parseCommandLine([process.execPath, command, ...options]);
  if (request === undefined) return exitCodes.allWritten;
  return await (request.command === 'status' ? runCommand(options, {}) : runWithServices(options));
}

const given = process.argv.slice(2);
// Not before the end: PGlite sets an exit code of its own when it is closed.
process.exitCode = await demo(given.length > 0 ? given : ['--all']).catch((error) => {
  if (!(error instanceof FatalError)) throw error;
  if (error.message !== '') console.error(error.message);
  return error.exitCode;
});
