/** The plural names by which the command line, the files and the API know the three entity types. */
export type EntityTypeName = 'jockeys' | 'trainers' | 'owners';

/** Everything that differs between jockeys, trainers and owners. */
export interface EntityType {
  /** Also the API's path segment: `/{name}/{id}/results`. */
  name: EntityTypeName;
  table: string;
  /** The runner's field that bears the entity's id. */
  runnerIdField: 'jockey_id' | 'trainer_id' | 'owner_id';
  columns: StatisticsColumns;
}

/** The database column of each statistic. */
export interface StatisticsColumns {
  lastDate: string;
  lastWinDate: string;
  daysSinceLast: string;
  daysSinceLastWin: string;
  recent14dRuns: string;
  recent14dWins: string;
  recent14dWinRate: string;
  recent30dRuns: string;
  recent30dWins: string;
  recent30dWinRate: string;
}

/** A jockey has rides; a trainer or an owner has runs, by runners. */
function statisticsColumns(appearance: 'ride' | 'runner', appearances: 'rides' | 'runs'): StatisticsColumns {
  return {
    lastDate: `last_${appearance}_date`,
    lastWinDate: 'last_win_date',
    daysSinceLast: `days_since_last_${appearance}`,
    daysSinceLastWin: 'days_since_last_win',
    recent14dRuns: `recent_14d_${appearances}`,
    recent14dWins: 'recent_14d_wins',
    recent14dWinRate: 'recent_14d_win_rate',
    recent30dRuns: `recent_30d_${appearances}`,
    recent30dWins: 'recent_30d_wins',
    recent30dWinRate: 'recent_30d_win_rate',
  };
}

export const entityTypes: readonly EntityType[] = [
  {
    name: 'jockeys',
    table: 'ra_jockeys',
    runnerIdField: 'jockey_id',
    columns: statisticsColumns('ride', 'rides'),
  },
  {
    name: 'trainers',
    table: 'ra_trainers',
    runnerIdField: 'trainer_id',
    columns: statisticsColumns('runner', 'runs'),
  },
  {
    name: 'owners',
    table: 'ra_owners',
    runnerIdField: 'owner_id',
    columns: statisticsColumns('runner', 'runs'),
  },
];
