import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from './config.js';
import { CoolingOff } from './cooling-off.js';
import { Database } from './database.js';
import { RacingApi } from './racing-api.js';
import { RequestBudget } from './request-budget.js';
import { RequestPacer, type RequestPacerOptions } from './request-pacer.js';

export interface ServiceOptions {
  config: Pick<Config, 'racingApi' | 'supabase'>;
  requestsPerSecond: number;
  /** The folder of the request budget that all processes share. */
  directory: string;
  /** Instead of that budget. */
  budget?: RequestPacerOptions['budget'];
  log: (line: string) => void;
  /** Aborted to ask the API nothing more. */
  asking: AbortSignal;
  /** Aborted to give the database up too. */
  writing: AbortSignal;
  /** The first wait before a retry of either service. */
  firstRetryMs?: number;
  /** For a whole answer of the API. */
  timeoutMs?: number;
}

/** The API behind its pacer, and the database. */
export interface Services {
  api: RacingApi;
  pacer: RequestPacer;
  database: Database;
}

export function createServices(options: ServiceOptions): Services {
  const { config, requestsPerSecond, directory, log, asking, writing, firstRetryMs, timeoutMs } = options;
  const { budget = new RequestBudget(directory, requestsPerSecond) } = options;
  const coolingOff = new CoolingOff({
    clock: () => performance.now(),
    sleep: (ms, signal) => sleep(ms, undefined, { signal }),
    log,
  });
  const pacer = new RequestPacer({ requestsPerSecond, budget, coolingOff, signal: asking });
  const api = new RacingApi({ ...config.racingApi, pacer, signal: asking, firstRetryMs, timeoutMs });
  const database = new Database({ ...config.supabase, log, signal: writing, firstRetryMs });
  return { api, pacer, database };
}
