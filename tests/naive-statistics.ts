import type { SeasonRace } from '../demo/season.js';

type RunnerIdField = 'jockey_id' | 'trainer_id' | 'owner_id';

/** Dates are YYYY-MM-DD; dates, days and rates are null where there is nothing. */
export type NaiveStatistics = ReturnType<typeof naiveStatistics>;

/**
 * A second implementation of the statistics, kept as plain as possible, to compare the first with.
 * Takes any races, in any order, and filters them itself.
 */
export function naiveStatistics(races: readonly SeasonRace[], runnerIdField: RunnerIdField, id: string, today: string) {
  const runs = races
    .filter(({ region }) => region === 'GB' || region === 'IRE')
    .flatMap(({ date, runners }) => runners.map((runner) => ({ runner, date, daysAgo: daysBetween(date, today) })))
    .filter(({ runner, daysAgo }) => runner[runnerIdField] === id && daysAgo >= 0 && daysAgo <= 365)
    .sort((a, b) => a.daysAgo - b.daysAgo);
  const wins = runs.filter(({ runner }) => runner.position === '1' || runner.position === 'WON');
  const runs14 = runs.filter(({ daysAgo }) => daysAgo <= 13).length;
  const wins14 = wins.filter(({ daysAgo }) => daysAgo <= 13).length;
  const runs30 = runs.filter(({ daysAgo }) => daysAgo <= 29).length;
  const wins30 = wins.filter(({ daysAgo }) => daysAgo <= 29).length;
  return {
    lastDate: runs[0]?.date ?? null,
    lastWinDate: wins[0]?.date ?? null,
    daysSinceLast: runs[0]?.daysAgo ?? null,
    daysSinceLastWin: wins[0]?.daysAgo ?? null,
    recent14dRuns: runs14,
    recent14dWins: wins14,
    recent14dWinRate: naiveWinRate(wins14, runs14),
    recent30dRuns: runs30,
    recent30dWins: wins30,
    recent30dWinRate: naiveWinRate(wins30, runs30),
  };
}

/** The statistics of every entity that has a runner anywhere, by id: each computed from its own races as above. */
export function naiveStatisticsOfAll(
  races: readonly SeasonRace[],
  runnerIdField: RunnerIdField,
  today: string,
): Map<string, NaiveStatistics> {
  const racesById = new Map<string, SeasonRace[]>();
  for (const race of races) {
    for (const id of new Set(race.runners.map((runner) => runner[runnerIdField]))) {
      racesById.set(id, [...(racesById.get(id) ?? []), race]);
    }
  }
  return new Map([...racesById].map(([id, own]) => [id, naiveStatistics(own, runnerIdField, id, today)]));
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
