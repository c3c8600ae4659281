import type { Checkpoint } from './checkpoint.js';
import { inBatches, mapConcurrently } from './concurrently.js';
import type { Database } from './database.js';
import type { EntityType } from './entity-types.js';
import { exitCodes, FatalError } from './errors.js';
import { formatCount, printable, rounded } from './format.js';
import type { Plan, Strategy } from './plan.js';
import type { Progress } from './progress.js';
import type { RacingApi } from './racing-api.js';
import type { Failure, Report, TypeStatistics } from './report.js';
import { type StatisticsRow, statisticsRow } from './rows.js';
import type { RunHistory } from './run-history.js';
import { brake } from './safety-brake.js';
import type { Selection } from './selection.js';
import type { StatisticsWindow } from './statistics.js';
import type { Entity, Outcome, StatisticsSource } from './statistics-source.js';
import { sweep, typicalSweepRequests } from './sweep.js';
import { walk } from './walk.js';

export interface PopulationOptions {
  api: RacingApi;
  database: Database;
  progress: Progress;
  window: StatisticsWindow;
  /** How many entities a walk gathers at once. */
  walkConcurrency: number;
  /** Passes the sweep's safety brake. */
  force: boolean;
  /** Takes the figures, the failures and the strategy. The rows bear its started_at as stats_updated_at. */
  report: Report;
  history: RunHistory;
  /** Aborted, with a FatalError, to stop asking the API; what is gathered then is still written. */
  stop: AbortController;
}

/** A type's share of the run. */
interface Job {
  type: EntityType;
  entities: Entity[];
  recentlyActive: number;
  checkpoint: Checkpoint;
  figures: TypeStatistics;
}

/** Gathers the statistics of the selected entities, writes them, and keeps checkpoints and figures. */
export class Population {
  private readonly options: PopulationOptions;
  private readonly jobs: readonly Job[];

  /** Enters the selected types into the report. */
  constructor(options: PopulationOptions, selections: readonly (Selection & { checkpoint: Checkpoint })[]) {
    this.options = options;
    this.jobs = selections.map(({ type, entities, checkpoint, skipped, recentlyActive }) => {
      const total = entities.length;
      const figures = { total, processed: 0, successful: 0, failed: 0, skipped, duration: 0, rate: 0 };
      options.report.statistics[type.name] = figures;
      return { type, entities, recentlyActive, checkpoint, figures };
    });
  }

  /** Throws a FatalError when the run ends before its end; what was written by then stays written. */
  async run(plan: Plan): Promise<void> {
    const { api, report, stop } = this.options;
    try {
      await this.populateBy(plan.strategy);
    } catch (error) {
      const refused = error instanceof FatalError && error.exitCode === exitCodes.apiRefused;
      const begun = api.answers > 0 || report.failures.length > 0 || stop.signal.aborted;
      if (!refused || plan.alternative === undefined || begun) throw error;
      this.options.progress.log(
        `Cannot ${plan.strategy}, so trying to ${plan.alternative}: ${error.message}`,
      );
      await this.populateBy(plan.alternative);
    }
  }

  private async populateBy(strategy: Strategy): Promise<void> {
    const { api, window, walkConcurrency: concurrency, stop, report } = this.options;
    const startedAtMs = performance.now();
    report.strategy = strategy;
    const source = strategy === 'sweep' ? await this.sweepAll() : walk({ api, window, concurrency, stop });
    const gatheredInMs = performance.now() - startedAtMs;
    for (const job of this.jobs) {
      // What a sweep has gathered is still written when the run is stopped; a walk has gathered nothing more.
      if (strategy === 'walk') stop.signal.throwIfAborted();
      await this.populateType(source, job, performance.now() - gatheredInMs);
    }
    stop.signal.throwIfAborted();
    for (const { type, figures } of this.jobs) {
      // Success is claimed only for what is accounted for.
      if (figures.processed !== figures.total) {
        throw new Error(`${type.name}: ${figures.processed} of ${figures.total} entities are accounted for`);
      }
    }
  }

  private async sweepAll(): Promise<StatisticsSource> {
    const { api, window, progress, force } = this.options;
    const types = this.jobs.map(({ type }) => type);
    const phase = progress.phase('sweeping', typicalSweepRequests);
    const swept = await sweep(api, types, window, (pages) => {
      phase.update({ done: pages, total: Math.max(typicalSweepRequests, pages + 1) });
    });
    progress.log(`Swept ${formatCount(swept.races)} races.`);
    if (!force) brake(swept, this.jobs, window);
    return swept.source;
  }

  private async populateType(source: StatisticsSource, job: Job, startedAtMs: number): Promise<void> {
    const { type, checkpoint, figures } = job;
    const batches = inBatches(this.watched(source, job), source.batchSize);
    const written = mapConcurrently(batches, source.writesInFlight, (batch) => this.write(type, batch));
    try {
      for await (const { ids, failures } of written) {
        for (const failure of failures) this.fail(failure);
        figures.successful += ids.length;
        figures.failed += failures.length;
        figures.processed = figures.successful + figures.failed;
        checkpoint.add(ids);
        checkpoint.save();
      }
    } finally {
      const seconds = (performance.now() - startedAtMs) / 1000;
      figures.duration = rounded(seconds, 2);
      figures.rate = seconds > 0 ? rounded(figures.processed / seconds, 3) : 0;
    }
  }

  /** The outcomes as they pass, counted for those who watch. */
  private async *watched(source: StatisticsSource, { type, entities }: Job): AsyncGenerator<Outcome> {
    const label = source.strategy === 'walk' ? `walking ${type.name}` : `writing ${type.name}`;
    const phase = this.options.progress.phase(label, entities.length);
    let done = 0;
    let failed = 0;
    for await (const outcome of source.outcomes(type, entities)) {
      yield outcome;
      done += 1;
      if ('failure' in outcome) failed += 1;
      phase.update({ done, failed });
    }
  }

  private async write(type: EntityType, batch: Outcome[]): Promise<{ ids: string[]; failures: Failure[] }> {
    const updatedAt = this.options.report.started_at;
    const failures: Failure[] = [];
    const rows: StatisticsRow[] = [];
    for (const outcome of batch) {
      if ('failure' in outcome) failures.push(failureOf(type, outcome.entity, outcome.failure));
      else rows.push(statisticsRow(type, outcome.entity.id, outcome.statistics, updatedAt));
    }
    const reasons =
      rows.length > 0 ? await this.options.database.writeStatistics(type, rows) : new Map<string, string>();
    for (const outcome of batch) {
      if ('failure' in outcome) continue;
      const reason = reasons.get(outcome.entity.id);
      if (reason !== undefined) failures.push(failureOf(type, outcome.entity, reason));
      else this.options.history.written(type, outcome.entity, outcome.statistics);
    }
    return { ids: rows.map(({ id }) => id).filter((id) => !reasons.has(id)), failures };
  }

  private fail(failure: Failure): void {
    this.options.report.failures.push(failure);
    this.options.progress.log(`${failure.entity_type} ${failure.id} ${failure.name}: ${failure.reason}`);
  }
}

/** Names, ids and reasons come from outside and go to terminals. */
function failureOf(type: EntityType, entity: Entity, reason: string): Failure {
  return {
    entity_type: type.name,
    id: printable(entity.id),
    name: printable(entity.name),
    reason: printable(reason),
  };
}
