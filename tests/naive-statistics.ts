import type { SeasonRace } from '../demo/season.js';
import type { EntityType } from '../src/entity-types.js';
import type { StatisticsRow } from '../src/statistics.js';
import { today } from './world.js';

/**
 * The row of an entity, without stats_updated_at, by a second implementation of the statistics, kept as plain as
 * possible, to compare the first with. Takes any races, in any order, and filters them itself.
 */
export function naiveRow(races: readonly SeasonRace[], type: EntityType, id: string, day: string): StatisticsRow {
  const [ride, rides] = type.name === 'jockeys' ? ['ride', 'rides'] : ['runner', 'runs'];
  const runs = races
    .filter(({ region }) => region === 'GB' || region === 'IRE')
    .map(({ date, runners }) => ({ date, runners, daysAgo: daysBetween(date, day) }))
    .filter(({ daysAgo }) => daysAgo >= 0 && daysAgo <= 365)
    .flatMap(({ runners, ...when }) => runners.map((runner) => ({ runner, ...when })))
    .filter(({ runner }) => runner[type.runnerIdField] === id)
    .sort((a, b) => a.daysAgo - b.daysAgo);
  const wins = runs.filter(({ runner }) => runner.position === '1' || runner.position === 'WON');
  const runs14 = runs.filter(({ daysAgo }) => daysAgo <= 13).length;
  const wins14 = wins.filter(({ daysAgo }) => daysAgo <= 13).length;
  const runs30 = runs.filter(({ daysAgo }) => daysAgo <= 29).length;
  const wins30 = wins.filter(({ daysAgo }) => daysAgo <= 29).length;
  return {
    id,
    [`last_${ride}_date`]: runs[0]?.date ?? null,
    last_win_date: wins[0]?.date ?? null,
    [`days_since_last_${ride}`]: runs[0]?.daysAgo ?? null,
    days_since_last_win: wins[0]?.daysAgo ?? null,
    [`recent_14d_${rides}`]: runs14,
    recent_14d_wins: wins14,
    recent_14d_win_rate: naiveWinRate(wins14, runs14),
    [`recent_30d_${rides}`]: runs30,
    recent_30d_wins: wins30,
    recent_30d_win_rate: naiveWinRate(wins30, runs30),
  };
}

/** The rows of these entities, by id, as of today or another day: each from its own races as above. */
export function naiveRows(races: readonly SeasonRace[], type: EntityType, ids: Iterable<string>, day = today) {
  const racesById = new Map<string, SeasonRace[]>();
  for (const race of races) {
    for (const id of new Set(race.runners.map((runner) => runner[type.runnerIdField]))) {
      const own = racesById.get(id) ?? [];
      own.push(race);
      racesById.set(id, own);
    }
  }
  return new Map(Array.from(ids, (id) => [id, naiveRow(racesById.get(id) ?? [], type, id, day)]));
}

function daysBetween(date: string, today: string): number {
  return (Date.parse(`${today}T00:00:00Z`) - Date.parse(`${date}T00:00:00Z`)) / 86_400_000;
}

/** Half up in hundredths of a percent, with whole numbers alone: floor(x + 1/2) is floor((2x + 1) / 2). */
export function naiveWinRate(wins: number, runs: number): number | null {
  if (runs === 0) return null;
  const hundredths = (2n * 10_000n * BigInt(wins) + BigInt(runs)) / (2n * BigInt(runs));
  return Number(hundredths) / 100;
}
