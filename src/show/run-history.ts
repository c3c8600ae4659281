import type { EntityType, EntityTypeName } from '../entity-types.js';
import type { RunEvent, Tell, Written } from '../events.js';
import { printable } from '../format.js';
import { columnOf } from '../statistics.js';
import type { Leader, Sample } from './page/html-report.js';

const mostSamples = 1_000;
const mostLeaders = 10;

/** What a run's page shows beyond the report: how it went over time, and who is the most successful. */
export interface RunHistory {
  take: Tell;
  readonly samples: readonly Sample[];
  readonly leaders: Partial<Record<EntityTypeName, readonly Leader[]>>;
}

export function startHistory(): RunHistory {
  const samples: Sample[] = [];
  const leaders: Record<EntityTypeName, Leader[]> = { jockeys: [], trainers: [], owners: [] };
  const startedAtMs = performance.now();
  let requests = 0;
  let intervalSeconds = 0.5;
  let current: Pick<Sample, 'phase' | 'done' | 'total'> | undefined;

  /** Keeps where a phase stands: its start, its end, and so many moments between as a long run can afford. */
  function observe({ phase, done, total }: NonNullable<typeof current>): void {
    const seconds = (performance.now() - startedAtMs) / 1000;
    const last = samples.at(-1);
    const tells = last === undefined || last.phase !== phase || done >= total;
    if (!tells && seconds - last.seconds < intervalSeconds) return;
    samples.push({ seconds, phase, done, total, requests });
    if (samples.length <= mostSamples) return;
    intervalSeconds *= 2;
    const kept = samples.filter((_, index) => index % 2 === 0);
    samples.splice(0, samples.length, ...kept);
  }

  function take(event: RunEvent): void {
    if (event.kind === 'request') requests += 1;
    else if (event.kind === 'batch') {
      const winners = event.written.filter(({ row }) => row.recent_30d_wins !== 0);
      for (const one of winners) enter(leaders[event.type.name], leaderOf(event.type, one));
    } else if (event.kind === 'phase') {
      current = { phase: event.label, done: 0, total: event.total };
      observe(current);
    } else if (event.kind === 'step' && current !== undefined) {
      current = { phase: current.phase, done: event.done, total: event.total ?? current.total };
      observe(current);
    }
  }

  return { take, samples, leaders };
}

function leaderOf(type: EntityType, { entity, row }: Written): Leader {
  const figure = (column: string) => Number(row[columnOf(type, column)] ?? 0);
  return {
    id: printable(entity.id),
    name: printable(entity.name),
    wins: figure('recent_30d_wins'),
    runs: figure('recent_30d_{runs}'),
    winRate: figure('recent_30d_win_rate'),
  };
}

/** Keeps the leader if it is among the most successful of the last 30 days. */
function enter(leaders: Leader[], leader: Leader): void {
  const isFull = leaders.length === mostLeaders;
  if (isFull && leader.wins < (leaders.at(-1)?.wins ?? 0)) return;
  leaders.push(leader);
  leaders.sort((a, b) => b.wins - a.wins || a.runs - b.runs || (a.id < b.id ? -1 : 1));
  leaders.splice(mostLeaders);
}
