import type { EntityType, EntityTypeName } from './entity-types.js';
import { printable } from './format.js';
import type { Leader, Sample } from './page/html-report.js';
import type { PhaseNote } from './progress.js';
import type { Statistics } from './statistics.js';
import type { Entity } from './statistics-source.js';

const mostSamples = 1_000;
const mostLeaders = 10;

/** What a run's page shows beyond the report: how it went over time, and who is the most successful. */
export class RunHistory {
  readonly samples: Sample[] = [];
  readonly leaders: Partial<Record<EntityTypeName, Leader[]>> = {};
  private readonly startedAtMs = performance.now();
  private readonly requests: () => number;
  private intervalSeconds = 0.5;

  /** `requests` tells how many API requests were started so far. */
  constructor(requests: () => number) {
    this.requests = requests;
  }

  /** Keeps where a phase stands: its start, its end, and so many moments between as a long run can afford. */
  observe({ label, done, total }: PhaseNote): void {
    const seconds = (performance.now() - this.startedAtMs) / 1000;
    const last = this.samples.at(-1);
    const tells = last === undefined || last.phase !== label || done >= total;
    if (!tells && seconds - last.seconds < this.intervalSeconds) return;
    this.samples.push({ seconds, phase: label, done, total, requests: this.requests() });
    if (this.samples.length > mostSamples) this.thinOut();
  }

  /** Keeps an entity whose statistics were written, if it is among the most successful of the last 30 days. */
  written(type: EntityType, entity: Entity, statistics: Statistics): void {
    const { recent30dWins: wins, recent30dRuns: runs, recent30dWinRate: winRate } = statistics;
    this.leaders[type.name] ??= [];
    const leaders = this.leaders[type.name] ?? [];
    if (wins === 0 || (leaders.length === mostLeaders && wins < (leaders.at(-1)?.wins ?? 0))) return;
    leaders.push({ id: printable(entity.id), name: printable(entity.name), wins, runs, winRate });
    leaders.sort((a, b) => b.wins - a.wins || a.runs - b.runs || (a.id < b.id ? -1 : 1));
    leaders.splice(mostLeaders);
  }

  private thinOut(): void {
    this.intervalSeconds *= 2;
    const kept = this.samples.filter((_, index) => index % 2 === 0);
    this.samples.splice(0, this.samples.length, ...kept);
  }
}
