import type { EntityType, StatisticsColumns } from './entity-types.js';

/** A runner of a race, as far as the statistics need it. */
export interface Runner {
  position: string;
  jockey_id: string;
  trainer_id: string;
  owner_id: string;
}

/** A race, as far as the statistics need it; `date` is YYYY-MM-DD. */
export interface Race {
  race_id: string;
  date: string;
  region: string;
  runners: Runner[];
}

/** One entity's statistics: dates YYYY-MM-DD, rates in percent with two decimals; null where there is nothing. */
export interface Statistics extends Record<keyof StatisticsColumns, string | number | null> {
  lastDate: string | null;
  lastWinDate: string | null;
  daysSinceLast: number | null;
  daysSinceLastWin: number | null;
  recent14dRuns: number;
  recent14dWins: number;
  recent14dWinRate: number | null;
  recent30dRuns: number;
  recent30dWins: number;
  recent30dWinRate: number | null;
}

/** The days that count, all YYYY-MM-DD and included. */
export interface StatisticsWindow {
  start: string;
  recent30dStart: string;
  recent14dStart: string;
  today: string;
}

/** The API's region filter, and the regions whose races count. */
export const countedRegions = ['gb', 'ire'] as const;

const dayMs = 24 * 60 * 60 * 1000;

/** The UTC date (YYYY-MM-DD) of an instant in milliseconds since 1970. */
export function utcDate(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

/** The date (YYYY-MM-DD) that lies `days` after `date`; before it if negative. */
export function addDays(date: string, days: number): string {
  return utcDate(Date.parse(date) + days * dayMs);
}

function daysBetween(earlier: string, later: string): number {
  return Math.round((Date.parse(later) - Date.parse(earlier)) / dayMs);
}

/** The window of 365 days ago to `today` (a UTC date), and the starts of the recent days within it. */
export function statisticsWindow(today: string): StatisticsWindow {
  return {
    start: addDays(today, -365),
    recent30dStart: addDays(today, -29),
    recent14dStart: addDays(today, -13),
    today,
  };
}

/** wins / runs in percent, rounded half up to two decimals as SQL's round(numeric, 2) does; null without a run. */
export function winRate(wins: number, runs: number): number | null {
  if (runs === 0) return null;
  // In whole numbers: a binary fraction cannot hold a tie such as 3.125.
  return Math.floor((20_000 * wins + runs) / (2 * runs)) / 100;
}

interface Tally {
  lastDate: string;
  lastWinDate: string | null;
  recent14dRuns: number;
  recent14dWins: number;
  recent30dRuns: number;
  recent30dWins: number;
}

function emptyTally(): Tally {
  return {
    lastDate: '',
    lastWinDate: null,
    recent14dRuns: 0,
    recent14dWins: 0,
    recent30dRuns: 0,
    recent30dWins: 0,
  };
}

function isWin(position: string): boolean {
  return position === '1' || position === 'WON';
}

/** Folds races, each given once, into what the statistics of every entity of one type need. */
export class Tallies {
  private readonly byId = new Map<string, Tally>();
  private readonly runnerIdField: EntityType['runnerIdField'];
  private readonly window: StatisticsWindow;

  constructor(type: EntityType, window: StatisticsWindow) {
    this.runnerIdField = type.runnerIdField;
    this.window = window;
  }

  /** Counts every runner of a race of the window in GB or IRE, whatever its position; passes over other races. */
  count(race: Race): void {
    const { start, today, recent14dStart, recent30dStart } = this.window;
    const region = race.region.toLowerCase();
    if (race.date < start || race.date > today || !countedRegions.some((counted) => counted === region))
      return;
    for (const runner of race.runners) {
      const tally = this.tallyOf(runner[this.runnerIdField]);
      const win = isWin(runner.position);
      if (race.date > tally.lastDate) tally.lastDate = race.date;
      if (win && race.date > (tally.lastWinDate ?? '')) tally.lastWinDate = race.date;
      if (race.date >= recent14dStart) {
        tally.recent14dRuns += 1;
        if (win) tally.recent14dWins += 1;
      }
      if (race.date >= recent30dStart) {
        tally.recent30dRuns += 1;
        if (win) tally.recent30dWins += 1;
      }
    }
  }

  /** Adds what `other` has counted; its races must be others than ours. */
  add(other: Tallies): void {
    for (const [id, theirs] of other.byId) {
      const ours = this.tallyOf(id);
      if (theirs.lastDate > ours.lastDate) ours.lastDate = theirs.lastDate;
      if ((theirs.lastWinDate ?? '') > (ours.lastWinDate ?? '')) ours.lastWinDate = theirs.lastWinDate;
      ours.recent14dRuns += theirs.recent14dRuns;
      ours.recent14dWins += theirs.recent14dWins;
      ours.recent30dRuns += theirs.recent30dRuns;
      ours.recent30dWins += theirs.recent30dWins;
    }
  }

  /** Whether the entity has a run in what was counted. */
  has(id: string): boolean {
    return this.byId.has(id);
  }

  /** The entity's statistics; zeros and nulls for one without a run. */
  statistics(id: string): Statistics {
    const tally = this.byId.get(id) ?? emptyTally();
    const { recent14dRuns, recent14dWins, recent30dRuns, recent30dWins, lastWinDate } = tally;
    const lastDate = tally.lastDate || null;
    const { today } = this.window;
    return {
      lastDate,
      lastWinDate,
      daysSinceLast: lastDate === null ? null : daysBetween(lastDate, today),
      daysSinceLastWin: lastWinDate === null ? null : daysBetween(lastWinDate, today),
      recent14dRuns,
      recent14dWins,
      recent14dWinRate: winRate(recent14dWins, recent14dRuns),
      recent30dRuns,
      recent30dWins,
      recent30dWinRate: winRate(recent30dWins, recent30dRuns),
    };
  }

  private tallyOf(id: string): Tally {
    let tally = this.byId.get(id);
    if (tally === undefined) {
      tally = emptyTally();
      this.byId.set(id, tally);
    }
    return tally;
  }
}
