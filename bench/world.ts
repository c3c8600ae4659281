import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { hasPostgrest } from '../tests/postgrest.js';
import type { Network } from './slow-network.js';

/** What a database is: Supabase Lite on PGlite, or PostgREST on Postgres as hosted projects have them. */
export type Engine = 'Supabase Lite' | 'PostgREST';

/** What is nearest to a hosted project here. */
export const nearestToHosted: Engine = hasPostgrest() ? 'PostgREST' : 'Supabase Lite';

export interface WorldOptions {
  /** Supabase Lite where none is named. */
  engine?: Engine;
  /** How many times the usual 54,429 entities. */
  scale: number;
  /** The most that the simulated API admits. */
  requestsPerSecond: number;
  latencyMs: number;
  /** Where they are not next door. */
  apiNetwork?: Network;
  databaseNetwork?: Network;
}

/** The environment variables that point a command at the world. */
export type Environment = Record<
  'RACING_API_BASE_URL' | 'RACING_API_USERNAME' | 'RACING_API_PASSWORD' | 'SUPABASE_URL' | 'SUPABASE_SERVICE_KEY',
  string
>;

/** What the simulated API was asked. */
export interface Calls {
  /** When each request arrived, by the simulator's clock. */
  arrivalsMs: number[];
  paths: string[];
  /** How many were answered with 429. */
  rejected: number;
}

/** A simulated Racing API and a database with all entities and no statistics. */
export interface World {
  environment: Environment;
  /** The calls since the world began or since this was last asked. */
  takeCalls(): Promise<Calls>;
  query(sql: string): Promise<void>;
}

/** Starts a world, each part in a process of its own, so that their work disturbs no figures; ends it after `use`. */
export async function withWorld<Result>(
  options: WorldOptions,
  use: (world: World) => Promise<Result>,
): Promise<Result> {
  const api = startPart('api-process.ts', options);
  const database = startPart('database-process.ts', options);
  try {
    const parts = await Promise.all([api.answer(), database.answer()]);
    return await use({
      environment: Object.assign({}, ...parts) as Environment,
      takeCalls: () => api.ask('calls') as Promise<Calls>,
      query: async (sql) => void (await database.ask(sql)),
    });
  } finally {
    api.end();
    database.end();
  }
}

/** A process that first tells where it is, and then answers what it is asked. */
function startPart(file: string, options: WorldOptions) {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [JSON.stringify(options)]);
  const failed = once(child, 'exit').then(() => Promise.reject(new Error(`${file} ended by itself`)));
  failed.catch(() => {});
  const answer = async (): Promise<unknown> => (await Promise.race([once(child, 'message'), failed]))[0];
  return {
    answer,
    ask: (question: string) => {
      const answered = answer();
      child.send(question);
      return answered;
    },
    end: () => child.connected && child.disconnect(),
  };
}
