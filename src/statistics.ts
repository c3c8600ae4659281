import type { EntityType } from './entity-types.js';

/** A race, as far as the statistics need it; `date` is YYYY-MM-DD. */
export interface Race {
  race_id: string;
  date: string;
  region: string;
  runners: { position: string; jockey_id: string; trainer_id: string; owner_id: string }[];
}

/** The days that count, both YYYY-MM-DD and included. */
export interface StatisticsWindow {
  start: string;
  today: string;
}

/** An entity's id and its columns' values: dates YYYY-MM-DD, rates in percent; null where there is nothing. */
export interface StatisticsRow {
  id: string;
  [column: string]: string | number | null;
}

/** The API's region filter, and the regions whose races count. */
export const countedRegions = ['gb', 'ire'] as const;

/** A number told of an entity's runs, 0 without one: what a run gives, and how two such numbers become one. */
interface Measure {
  /** `day` counts the days since 1970, `daysAgo` those up to today. */
  of: (position: string, day: number, daysAgo: number) => number;
  join: (one: number, other: number) => number;
}

/** A column and how it comes from measures. In its name {run} and {runs} stand for the entity type's words. */
interface Statistic {
  column: string;
  from: readonly Measure[];
  value: (today: number, ...measured: number[]) => string | number | null;
}

const anyRun = () => true;

/** A position that counts as a win. */
export const win = (position: string) => position === '1' || position === 'WON';

const latestDay = (counts: (position: string) => boolean): Measure => ({
  of: (position, day) => (counts(position) ? day : 0),
  join: Math.max,
});

/** Today and the `days` - 1 days before it. */
const countOf = (counts: (position: string) => boolean, days: number): Measure => ({
  of: (position, _day, daysAgo) => (daysAgo < days && counts(position) ? 1 : 0),
  join: (one, other) => one + other,
});

const asDate = (_today: number, day = 0) => (day === 0 ? null : dateOf(day));
const asDaysAgo = (today: number, day = 0) => (day === 0 ? null : today - day);
const asCount = (_today: number, count = 0) => count;
const asRate = (_today: number, wins = 0, runs = 0) => winRate(wins, runs);

const lastRun = latestDay(anyRun);
const lastWin = latestDay(win);
const runs14d = countOf(anyRun, 14);
const wins14d = countOf(win, 14);
const runs30d = countOf(anyRun, 30);
const wins30d = countOf(win, 30);

/** Every statistic: its column, what it is tallied from, and how it is told. */
const statistics: readonly Statistic[] = [
  { column: 'last_{run}_date', from: [lastRun], value: asDate },
  { column: 'last_win_date', from: [lastWin], value: asDate },
  { column: 'days_since_last_{run}', from: [lastRun], value: asDaysAgo },
  { column: 'days_since_last_win', from: [lastWin], value: asDaysAgo },
  { column: 'recent_14d_{runs}', from: [runs14d], value: asCount },
  { column: 'recent_14d_wins', from: [wins14d], value: asCount },
  { column: 'recent_14d_win_rate', from: [wins14d, runs14d], value: asRate },
  { column: 'recent_30d_{runs}', from: [runs30d], value: asCount },
  { column: 'recent_30d_wins', from: [wins30d], value: asCount },
  { column: 'recent_30d_win_rate', from: [wins30d, runs30d], value: asRate },
];

/** A tally holds a number for each of these. */
const measures = [...new Set(statistics.flatMap(({ from }) => from))];

/** A type's own name for a column such as recent_30d_{runs}. */
export function columnOf({ words }: EntityType, name: string): string {
  return name.replace('{run}', words.run).replace('{runs}', words.runs);
}

/** The columns of the type's table that hold statistics. */
export function statisticsColumns(type: EntityType): string[] {
  return statistics.map(({ column }) => columnOf(type, column));
}

/** The column that holds the date of the last ride or run. */
export function lastDateColumn(type: EntityType): string {
  return columnOf(type, 'last_{run}_date');
}

const dayMs = 24 * 60 * 60 * 1000;
const dayOf = (date: string) => Date.parse(date) / dayMs;
const dateOf = (day: number) => utcDate(day * dayMs);

/** The UTC date (YYYY-MM-DD) of an instant in milliseconds since 1970. */
export function utcDate(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

/** A stored instant in milliseconds since 1970. A `timestamp` column tells no zone; it holds UTC. */
export function instantMs(stored: string): number {
  const hasZone = /(Z|[+-]\d\d(:?\d\d)?)$/.test(stored);
  return Date.parse(hasZone ? stored : `${stored}Z`);
}

/** The date (YYYY-MM-DD) that lies `days` after `date`; before it if negative. */
export function addDays(date: string, days: number): string {
  return dateOf(dayOf(date) + days);
}

/** How many days `end` lies after `start`; both YYYY-MM-DD. */
export function daysBetween(start: string, end: string): number {
  return dayOf(end) - dayOf(start);
}

/** The window of 365 days ago to `today` (a UTC date). */
export function statisticsWindow(today: string): StatisticsWindow {
  return { start: addDays(today, -365), today };
}

/** wins / runs in percent, rounded half up to two decimals as SQL's round(numeric, 2) does; null without a run. */
export function winRate(wins: number, runs: number): number | null {
  if (runs === 0) return null;
  // In whole numbers: a binary fraction cannot hold a tie such as 3.125.
  return Math.floor((20_000 * wins + runs) / (2 * runs)) / 100;
}

export function isWithin({ start, today }: StatisticsWindow, date: string): boolean {
  return date >= start && date <= today;
}

/** Whether a race counts: it is of GB or IRE and of the window. */
export function counts({ date, region }: Pick<Race, 'date' | 'region'>, window: StatisticsWindow): boolean {
  return isWithin(window, date) && countedRegions.some((counted) => counted === region.toLowerCase());
}

/** Folds races, each given once, into what the statistics of every entity of some types need. */
export class Tallies {
  private readonly window: StatisticsWindow;
  /** Of each type the tallies by the entity's id, each with a number for every measure. */
  private readonly byType: ReadonlyMap<EntityType, Map<string, number[]>>;

  constructor(types: readonly EntityType[], window: StatisticsWindow) {
    this.window = window;
    this.byType = new Map(types.map((type) => [type, new Map()]));
  }

  /** Counts every runner of a race that counts, whatever its position; passes over other races. */
  count(race: Race): void {
    if (!counts(race, this.window)) return;
    const day = dayOf(race.date);
    const daysAgo = dayOf(this.window.today) - day;
    for (const runner of race.runners) {
      const run = measures.map((measure) => measure.of(runner.position, day, daysAgo));
      for (const [type, byId] of this.byType) join(byId, runner[type.runnerIdField], run);
    }
  }

  /** The entities that have a run in what was counted. */
  ids(type: EntityType): Iterable<string> {
    return this.of(type).keys();
  }

  /** The date (YYYY-MM-DD) of the entity's last run; null without one. */
  lastDate(type: EntityType, id: string): string | null {
    const day = this.of(type).get(id)?.[measures.indexOf(lastRun)];
    return day === undefined ? null : dateOf(day);
  }

  /** The entity's row, without stats_updated_at; zeros and nulls for one without a run. */
  row(type: EntityType, id: string): StatisticsRow {
    const tally = this.of(type).get(id) ?? [];
    const today = dayOf(this.window.today);
    const row: StatisticsRow = { id };
    for (const { column, from, value } of statistics) {
      row[columnOf(type, column)] = value(today, ...from.map((measure) => tally[measures.indexOf(measure)] ?? 0));
    }
    return row;
  }

  private of(type: EntityType): Map<string, number[]> {
    const byId = this.byType.get(type);
    if (byId === undefined) throw new Error(`These tallies were not asked for ${type.name}`);
    return byId;
  }
}

function join(byId: Map<string, number[]>, id: string, more: readonly number[]): void {
  const tally = byId.get(id);
  if (tally === undefined) byId.set(id, [...more]);
  else for (const [at, { join }] of measures.entries()) tally[at] = join(tally[at] ?? 0, more[at] ?? 0);
}
