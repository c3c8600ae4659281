import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Network } from './slow-network.js';

export interface WorldOptions {
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
export type Started = Record<
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

export type Question = 'calls' | { sql: string };
export type Answer = Calls | unknown[];

/** A simulated Racing API and an embedded database with all entities and no statistics. */
export interface World {
  environment: Started;
  /** The calls since the world began or since this was last asked. */
  takeCalls(): Promise<Calls>;
  query(sql: string): Promise<void>;
}

/** Starts a world in a process of its own, so that its work disturbs no figures, and ends it after `use`. */
export async function withWorld<Result>(
  options: WorldOptions,
  use: (world: World) => Promise<Result>,
): Promise<Result> {
  const path = fileURLToPath(new URL('world.ts', import.meta.url));
  const child = fork(path, [JSON.stringify(options)]);
  const failed = once(child, 'exit').then(() => Promise.reject(new Error('The world ended by itself')));
  failed.catch(() => {});
  const answer = async <Expected>() => {
    const [message] = await Promise.race([once(child, 'message'), failed]);
    return message as Expected;
  };
  const ask = <Expected extends Answer>(question: Question) => {
    const answered = answer<Expected>();
    child.send(question);
    return answered;
  };
  try {
    return await use({
      environment: await answer<Started>(),
      takeCalls: () => ask<Calls>('calls'),
      query: async (sql) => void (await ask<unknown[]>({ sql })),
    });
  } finally {
    if (child.connected) child.disconnect();
  }
}
