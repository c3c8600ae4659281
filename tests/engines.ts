import { describe } from 'vitest';
import { type HostedDatabase, hasPostgrest, startPostgrest, type TestDatabase } from './postgrest.js';
import { startPreparedDatabase } from './prepared-database.js';

export interface EngineOptions {
  /** The most rows that a select answers with; 1000, as on Supabase. */
  maxRows?: number;
}

/** A Data API on a database that tests may start. */
export interface Engine {
  name: string;
  start(options?: EngineOptions): Promise<TestDatabase>;
}

/** In this process, on any platform. */
export const supabaseLite: Engine = { name: 'Supabase Lite', start: startPreparedDatabase };

/** As hosted; on Linux x64 only. */
export const postgrest = {
  name: 'PostgREST',
  start: (options?: EngineOptions): Promise<HostedDatabase> => startPostgrest(options),
};

/** Describes what holds on either engine. Where PostgREST cannot be had its cases are skipped, but never in CI. */
export function describeOnEachEngine(cases: (engine: Engine) => void): void {
  describe(`on ${supabaseLite.name}`, () => cases(supabaseLite));
  describeOnPostgrest(() => cases(postgrest));
}

/** Describes what only a real Postgres or PostgREST shows. */
export function describeOnPostgrest(cases: () => void): void {
  describe.skipIf(!hasPostgrest())(`on ${postgrest.name} (Linux x64)`, cases);
}
