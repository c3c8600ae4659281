import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type EmbeddedDatabase, seedEntities, startEmbeddedDatabase } from '../demo/database.js';
import { makeSeason, type Season, type SeasonOptions } from '../demo/season.js';
import {
  type SimulatedRacingApi,
  type SimulatedRacingApiOptions,
  startSimulatedRacingApi,
} from '../demo/simulator.js';
import { createDatabase } from '../src/database.js';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { exitCodes } from '../src/errors.js';
import { createEvents, type Tell } from '../src/events.js';
import type { Report } from '../src/files/report.js';
import type { PopulateOptions } from '../src/options.js';
import { type CoolingOffOptions, createPace } from '../src/pace.js';
import { createRacingApi, type RacingApi } from '../src/racing-api.js';
import { type RunParts, run } from '../src/run.js';
import { type StatisticsRow, statisticsColumns } from '../src/statistics.js';

const command = fileURLToPath(new URL('../dist/populate-all-statistics.js', import.meta.url));

/** Credentials that occur nowhere else, so that a leak can be found. */
export const username = 'canary-user-7f3a';
export const password = 'canary-password-91c2';

export const smallSeason = { jockeys: 40, trainers: 30, owners: 120, races: 300 };

/** How a run in a child process ended. */
export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** The command in a child process of its own, while it runs. */
export interface RunningCommand {
  child: ChildProcess;
  /** What it has printed so far, both outputs together. */
  output(): string;
  /** Resolves when the output contains `text`; rejects if the command ends before. */
  printed(text: string): Promise<void>;
  ended: Promise<Ended>;
}

/** A season, the API that serves it, a database that has its entities, and an empty working directory. */
export interface World {
  season: Season;
  api: SimulatedRacingApi;
  database: EmbeddedDatabase;
  folder: string;
  environment: Record<string, string>;
  /** Starts the built command in the world's folder. */
  start(args: string[], environment?: Record<string, string>): RunningCommand;
  run(args: string[], environment?: Record<string, string>): Promise<Ended>;
  /** Runs in this process, with short waits before retries. `lines` takes what is logged. */
  runHere(options?: Partial<PopulateOptions>, parts?: HereOptions): Promise<Report & { lines: string[] }>;
  /** All rows of a type's table that are not test rows, by id: the statistics columns and stats_updated_at. */
  rows(type: EntityType): Promise<Map<string, StatisticsRow>>;
  /** Empties all statistics and the working directory, takes faults off. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

export const today = new Date().toISOString().slice(0, 10);

/** Starts a world; the API has no rate limit unless `api.requestsPerSecond` says so. */
export async function startWorld(
  options: {
    season?: Partial<SeasonOptions>;
    api?: Partial<SimulatedRacingApiOptions>;
    maxRows?: number;
  } = {},
): Promise<World> {
  const season = makeSeason({ today, ...smallSeason, ...options.season });
  const database = await startEmbeddedDatabase(
    options.maxRows === undefined ? {} : { maxRows: options.maxRows },
  );
  const { jockeys, trainers, owners } = season;
  await seedEntities(database, { jockeys, trainers, owners });
  const api = await startSimulatedRacingApi({
    season,
    username,
    password,
    requestsPerSecond: Number.POSITIVE_INFINITY,
    ...options.api,
  });
  const folder = mkdtempSync(join(tmpdir(), 'populate-'));
  const environment = {
    RACING_API_BASE_URL: api.url,
    RACING_API_USERNAME: username,
    RACING_API_PASSWORD: password,
    SUPABASE_URL: database.url,
    SUPABASE_SERVICE_KEY: database.serviceKey,
  };
  const start: World['start'] = (args, more = {}) => startCommand(args, folder, { ...environment, ...more });
  return {
    season,
    api,
    database,
    folder,
    environment,
    start,
    run: (args, more) => start(args, more).ended,
    runHere: (runOptions, parts) => runHere({ api, database, folder }, runOptions, parts),
    rows: async (type) => {
      const columns = ['id', ...statisticsColumns(type), 'stats_updated_at'].join(', ');
      const rows = await database.query<StatisticsRow>(
        `select ${columns} from ${type.table} where id not like '**TEST**%'`,
      );
      return new Map(rows.map((row) => [row.id, row]));
    },
    reset: async () => {
      for (const type of entityTypes) {
        const empty = [...statisticsColumns(type), 'stats_updated_at'].map((column) => `${column} = null`);
        await database.query(`update ${type.table} set ${empty.join(', ')}`);
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

function startCommand(args: string[], cwd: string, environment: Record<string, string>): RunningCommand {
  const child = spawn(process.execPath, [command, ...args], {
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
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...text }));
  });
  let over = false;
  void ended.then(() => {
    over = true;
  });
  return {
    child,
    output,
    ended,
    printed: async (wanted) => {
      while (!output().includes(wanted)) {
        if (over) throw new Error(`Ended without printing ${wanted}:\n${output()}`);
        await sleep(10);
      }
    },
  };
}

/** What a run is asked where a test does not say otherwise. */
export const usualOptions: PopulateOptions = {
  all: true,
  entities: entityTypes,
  dryRun: false,
  skipExisting: false,
  resume: false,
  clearCheckpoints: false,
  strategy: 'auto',
  rate: 500,
  force: false,
  quiet: true,
  html: false,
};

/** What a run in this process may have otherwise than usual. */
export interface HereOptions extends Partial<Pick<RunParts, 'stop' | 'startedAt' | 'onStart'>> {
  baseUrl?: string;
  serviceKey?: string;
  timeoutMs?: number;
  firstRetryMs?: number;
  /** What pauses after a 429 go by. */
  time?: Pick<CoolingOffOptions, 'clock' | 'sleep'>;
}

const realTime: Pick<CoolingOffOptions, 'clock' | 'sleep'> = {
  clock: () => performance.now(),
  sleep: (ms, signal) => sleep(ms, undefined, { signal }),
};

/** The client of the API, unpaced but for pauses after a 429. */
export function openApi(
  tell: Tell,
  stop: AbortController,
  requestsPerSecond: number,
  { baseUrl = '', timeoutMs = 2_000, firstRetryMs = 5, time = realTime }: HereOptions,
): RacingApi {
  const pace = createPace({
    requestsPerSecond,
    takeTurn: async () => stop.signal.throwIfAborted(),
    ...time,
    tell,
    signal: stop.signal,
  });
  return createRacingApi({ baseUrl, username, password, pace, signal: stop.signal, timeoutMs, firstRetryMs });
}

async function runHere(
  { api: simulated, database: embedded, folder }: Pick<World, 'api' | 'database' | 'folder'>,
  options: Partial<PopulateOptions> = {},
  parts: HereOptions = {},
): Promise<Report & { lines: string[] }> {
  const { stop = new AbortController(), startedAt = new Date(), onStart } = parts;
  const lines: string[] = [];
  const events = createEvents();
  events.listen((event) => event.kind === 'line' && lines.push(event.line));
  const asked = { ...usualOptions, ...options };
  const api = openApi(events.tell, stop, asked.rate, { baseUrl: simulated.url, ...parts });
  const database = createDatabase({
    url: embedded.url,
    serviceKey: parts.serviceKey ?? embedded.serviceKey,
    tell: events.tell,
    signal: new AbortController().signal,
    firstRetryMs: 5,
  });
  try {
    const directory = join(folder, 'logs');
    const { report } = await run(asked, { api, database, events, directory, startedAt, stop, onStart });
    if (report.exit_code === exitCodes.ownBug) throw stop.signal.reason;
    return { ...report, lines };
  } finally {
    await api.close();
  }
}

/** A JSON file of the world's logs folder. */
export function readJson(world: Pick<World, 'folder'>, name: string): unknown {
  return JSON.parse(readFileSync(join(world.folder, 'logs', name), 'utf8'));
}
