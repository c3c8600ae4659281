import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { seedEntities } from '../demo/database.js';
import { makeSeason, type SeasonOptions } from '../demo/season.js';
import { type SimulatedRacingApi, type SimulatedRacingApiOptions, startSimulatedRacingApi } from '../demo/simulator.js';
import { createDatabase } from '../src/database.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { exitCodes } from '../src/errors.js';
import { createEvents } from '../src/events.js';
import { createExchange } from '../src/exchange.js';
import type { Report } from '../src/files/report.js';
import type { RequestBudget } from '../src/files/request-budget.js';
import { type PopulateOptions, parseCommandLine } from '../src/options.js';
import { createPace, type PaceOptions } from '../src/pace.js';
import type { RunParts } from '../src/plan.js';
import { createRacingApi } from '../src/racing-api.js';
import { run } from '../src/run.js';
import { type StatisticsRow, statisticsColumns } from '../src/statistics.js';
import { type Engine, supabaseLite } from './engines.js';
import type { TestDatabase } from './postgrest.js';

export const command = fileURLToPath(new URL('../dist/populate-all-statistics.js', import.meta.url));

/** Credentials that occur nowhere else, so that a leak can be found. */
export const username = 'canary-user-7f3a';
export const password = 'canary-password-91c2';

/** The command in a child process of its own, while it runs, and how it ended. */
export type RunningCommand = ReturnType<typeof startCommand>;
export type Ended = Awaited<RunningCommand['ended']>;

/** A season, the API that serves it, a database that has its entities, and an empty working directory. */
export type World = Awaited<ReturnType<typeof startWorld>>;

export const today = new Date().toISOString().slice(0, 10);

export interface WorldOptions {
  season?: Partial<SeasonOptions>;
  api?: Partial<SimulatedRacingApiOptions>;
  /** Supabase Lite unless it says otherwise. */
  engine?: Engine;
  /** The most rows that the database answers with. */
  maxRows?: number;
}

/** Starts a world; unless `api` says otherwise, the API is brief and has no rate limit. */
export async function startWorld(options: WorldOptions = {}) {
  const season = makeSeason({ today, jockeys: 40, trainers: 30, owners: 120, races: 300, ...options.season });
  const { engine = supabaseLite, maxRows } = options;
  const database = await engine.start({ maxRows });
  await seedEntities(database, season);
  const requestsPerSecond = Number.POSITIVE_INFINITY;
  const account = { username, password };
  const api = await startSimulatedRacingApi({ season, ...account, requestsPerSecond, isBrief: true, ...options.api });
  const folder = mkdtempSync(join(tmpdir(), 'populate-'));
  const environment = {
    RACING_API_BASE_URL: api.url,
    RACING_API_USERNAME: username,
    RACING_API_PASSWORD: password,
    SUPABASE_URL: database.url,
    SUPABASE_SERVICE_KEY: database.serviceKey,
  };
  const written = (type: EntityType) => [...statisticsColumns(type), 'stats_updated_at'];
  /** Starts the built command in the world's folder. */
  const start = (args: string[], more: Record<string, string> = {}) =>
    startCommand(args, folder, { ...environment, ...more });
  return {
    season,
    api,
    database,
    folder,
    environment,
    start,
    run: (args: string[], more?: Record<string, string>) => start(args, more).ended,
    /** Runs in this process, with short waits before retries. `lines` takes what is logged. */
    runHere: (runOptions?: Partial<PopulateOptions>, parts?: HereOptions) =>
      runHere({ api, database, folder }, runOptions, parts),
    /** All rows of a type's table that are not test rows, by id: the statistics columns and stats_updated_at. */
    rows: async (type: EntityType): Promise<Map<string, StatisticsRow>> => {
      const columns = ['id', ...written(type)];
      const query = `select ${columns} from ${type.table} where id not like '**TEST**%'`;
      return new Map((await database.query<StatisticsRow>(query)).map((row) => [row.id, row]));
    },
    /** Empties all statistics and the working directory, takes faults off. */
    reset: async () => {
      for (const type of entityTypes) {
        await database.query(`update ${type.table} set ${written(type).map((column) => `${column} = null`)}`);
      }
      for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
      api.options.intercept = undefined;
      database.intercept = undefined;
      api.calls.length = 0;
    },
    close: async () => {
      await api.close();
      await database.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The one world of a test file: started before its first test, reset before each, closed after the last. */
export function sharedWorld(start: () => Promise<World>): World {
  const world = {} as World;
  beforeAll(async () => void Object.assign(world, await start()));
  beforeEach(() => world.reset());
  afterAll(() => world.close());
  return world;
}

/** In an environment with this, a command runs the script before itself. */
export function preloaded(script: string): Record<string, string> {
  return { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(script)}` };
}

/** What lets a command in a process of its own begin at this instant. */
export function withClock(instant: string): Record<string, string> {
  return preloaded(`
    const RealDate = Date;
    const shiftMs = ${Date.parse(instant)} - RealDate.now();
    globalThis.Date = class extends RealDate {
      constructor(...parts) { parts.length > 0 ? super(...parts) : super(RealDate.now() + shiftMs); }
      static now() { return RealDate.now() + shiftMs; }
    };`);
}

/** The built command as a child process with exactly this environment. `shell` may set limits before it starts. */
export function startCommand(args: string[], cwd: string, environment: Record<string, string>, shell = '') {
  const child = spawn('sh', ['-c', `${shell}exec "$0" "$@"`, process.execPath, command, ...args], {
    cwd,
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
    });
  }
  const output = () => text.stdout + text.stderr;
  let over = false;
  const ended = once(child, 'close').then(([code, signal]) => {
    over = true;
    return { code: code as number | null, signal: signal as NodeJS.Signals | null, ...text };
  });
  return {
    child,
    /** What it has printed so far, both outputs together. */
    output,
    ended,
    /** Resolves when the output contains `wanted`; rejects if the command ends before. */
    printed: async (wanted: string) => {
      while (!output().includes(wanted)) {
        if (over) throw new Error(`Ended without printing ${wanted}:\n${output()}`);
        await sleep(10);
      }
    },
  };
}

interface Surroundings {
  api: Pick<SimulatedRacingApi, 'url'>;
  database: TestDatabase;
}

/** What a run is asked where a test does not say otherwise. */
const request = parseCommandLine(['node', command, '--all', '--rate', '500', '--quiet']);
if (request?.command !== 'populate') throw new Error('This is the command');
export const usualOptions: PopulateOptions = request.options;

/** What a command in this process may have otherwise than usual. */
export interface HereOptions extends Partial<Pick<RunParts, 'stop' | 'startedAt' | 'onStart'>> {
  baseUrl?: string;
  serviceKey?: string;
  timeoutMs?: number;
  firstRetryMs?: number;
  databaseFirstRetryMs?: number;
  /** What pauses after a 429 go by. */
  time?: Pick<PaceOptions, 'clock' | 'sleep'>;
}

/** A time that goes so many times as fast. */
export function fasterTime(factor: number): NonNullable<HereOptions['time']> {
  return { clock: () => performance.now() * factor, sleep: (ms, signal) => sleep(ms / factor, undefined, { signal }) };
}

/** The API's client in this process, unpaced but for pauses after a 429. `lines` takes what is logged. */
export function openApi(
  baseUrl: string,
  requestsPerSecond: number,
  { stop = new AbortController(), timeoutMs = 2_000, firstRetryMs = 5, time = fasterTime(1) }: HereOptions = {},
) {
  const { signal } = stop;
  const events = createEvents();
  const { tell } = events;
  const lines: string[] = [];
  events.listen((event) => event.kind === 'line' && lines.push(event.line));
  const exchange = createExchange({ baseUrl, username, password, signal, timeoutMs });
  const { connected, close } = exchange;
  const pace = createPace({ requestsPerSecond, budget: unlimitedBudget(), connected, ...time, tell, signal });
  const api = createRacingApi({ baseUrl, exchange, pace, tell, signal, firstRetryMs });
  return { api, events, lines, stop, close };
}

/** What a command works with in this process. */
export function openServices(world: Surroundings, requestsPerSecond: number, options: HereOptions = {}) {
  const { baseUrl = world.api.url, serviceKey = world.database.serviceKey } = options;
  const services = openApi(baseUrl, requestsPerSecond, options);
  const lastWrites = new AbortController().signal;
  const { url } = world.database;
  const { tell } = services.events;
  const { databaseFirstRetryMs = 0.1 } = options;
  const database = createDatabase({ url, serviceKey, tell, signal: lastWrites, firstRetryMs: databaseFirstRetryMs });
  return { ...services, database };
}

/** A budget that lets every request leave at once. */
export function unlimitedBudget(): RequestBudget {
  return {
    takeTurn: async (start, _unevenMs, signal) => {
      signal.throwIfAborted();
      return start();
    },
    refused: async () => {},
    allowedPerSecond: () => Number.POSITIVE_INFINITY,
  };
}

async function runHere(
  { folder, ...surroundings }: Surroundings & { folder: string },
  options: Partial<PopulateOptions> = {},
  { startedAt = new Date(), onStart, ...parts }: HereOptions = {},
): Promise<Report & { lines: string[] }> {
  const asked = { ...usualOptions, ...options };
  const services = openServices(surroundings, asked.rate, parts);
  try {
    const directory = join(folder, 'logs');
    const { report } = await run({ ...services, options: asked, directory, startedAt, onStart });
    if (report.exit_code === exitCodes.ownBug) throw services.stop.signal.reason;
    return { ...report, lines: services.lines };
  } finally {
    await services.close();
  }
}

/** A JSON file of the world's logs folder. */
export function readJson(world: Pick<World, 'folder'>, name: string): unknown {
  return JSON.parse(readFileSync(join(world.folder, 'logs', name), 'utf8'));
}
