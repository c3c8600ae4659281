import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exitCodes, FatalError } from '../src/errors.js';
import { readLockHolder } from '../src/files/locks.js';
import { wrapped } from '../src/format.js';
import { parseCommandLine, type Request } from '../src/options.js';
import { columnsOf, complain } from '../src/show/screen.js';

const folder = fileURLToPath(new URL('../.demo/', import.meta.url));
/** As the person who started npm sees it. */
const shownFolder = relative(process.env.INIT_CWD ?? process.cwd(), folder);
const command = fileURLToPath(new URL('../dist/populate-all-statistics.js', import.meta.url));
const credentials = { username: 'demo', password: 'demo-password' };

/** Throws a FatalError when another demo uses the folder. */
function refuseASecondOne(): void {
  const holder = readLockHolder(`${folder}database.lock`);
  if (holder) {
    const what = `Another demo is running, as process ${holder.pid}: wait for its end, or stop it with: kill ${holder.pid}`;
    throw new FatalError(exitCodes.alreadyRunning, what);
  }
}

/** The season is relative to today: yesterday's rows belong to races that today's season does not have. */
function prepareFolder(today: string): void {
  refuseASecondOne();
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

/** Not before they are needed, for they take a second to load. */
async function loadServices() {
  return { ...(await import('./database.js')), ...(await import('./season.js')), ...(await import('./simulator.js')) };
}

/** The command with an API and a database to work on. */
async function runWithServices(given: string[], request: Request): Promise<number> {
  const today = new Date().toISOString().slice(0, 10);
  prepareFolder(today);
  const { json } = request.options;
  const intro = `Real here: the command itself, and a Postgres with Supabase's Data API.
Simulated: The Racing API, 2 requests a second, with invented races and names.
populate-all-statistics ${given.join(' ')}   (in ${shownFolder})
`;
  const output = json ? process.stderr : process.stdout;
  output.write(`${wrapped(intro, columnsOf(output))}\n`);
  if (!existsSync(`${folder}database`)) output.write('Filling the database first ...\n\n');
  const { busiestRows, makeSeason, seedEntities, startEmbeddedDatabase, startSimulatedRacingApi } =
    await loadServices();
  const season = makeSeason({ today });
  const database = await startEmbeddedDatabase({ dataDir: `${folder}database` });
  await seedEntities(database, season);
  const api = await startSimulatedRacingApi({ season, ...credentials, latencyMs: 250 });
  try {
    const exitCode = await runCommand(given, {
      RACING_API_BASE_URL: api.url,
      RACING_API_USERNAME: credentials.username,
      RACING_API_PASSWORD: credentials.password,
      SUPABASE_URL: database.url,
      SUPABASE_SERVICE_KEY: database.serviceKey,
    });
    if (request.command === 'populate' && !json && !request.options.quiet) {
      const rows = await busiestRows(database, columnsOf(output));
      if (rows !== '') console.log(`\n${rows}`);
    }
    return exitCode;
  } finally {
    await api.close();
    await database.close();
  }
}

/** Everything, unless the options or a command say what. */
function withDefault(given: string[]): string[] {
  const isSaid = given.some((word) => /^(--all|--entities(=.*)?|verify|status|help|reset)$/.test(word));
  return isSaid ? given : ['--all', ...given];
}

async function demo(given: string[]): Promise<number> {
  if (given[0] === 'reset') {
    refuseASecondOne();
    rmSync(folder, { recursive: true, force: true });
    return exitCodes.allWritten;
  }
  const request = parseCommandLine([process.execPath, command, ...given]);
  if (request === undefined) return exitCodes.allWritten;
  mkdirSync(folder, { recursive: true });
  return await (request.command === 'status' ? runCommand(given, {}) : runWithServices(given, request));
}

// A reader that closes our output, such as head, stops nothing.
for (const output of [process.stdout, process.stderr]) output.on('error', () => {});
// Not before the end: PGlite sets an exit code of its own when it is closed.
process.exitCode = await demo(withDefault(process.argv.slice(2))).catch((error) => {
  if (!(error instanceof FatalError)) throw error;
  complain(error.message);
  return error.exitCode;
});
