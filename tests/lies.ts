import { daysBefore, type SeasonRace, type SeasonRunner } from '../demo/season.js';
import type { SimulatedRacingApi } from '../demo/simulator.js';
import type { EntityType } from '../src/entity-types.js';
import { today } from './world.js';

/** What the API tells of a race to whoever asks by this URL: otherwise than it is, or not at all (undefined). */
export type Lie = (race: SeasonRace, url: URL) => SeasonRace | undefined;

const without =
  (isLeftOut: (race: SeasonRace, url: URL) => boolean): Lie =>
  (race, url) =>
    isLeftOut(race, url) ? undefined : race;
const rangeOf = ({ searchParams }: URL) => ({
  from: `${searchParams.get('start_date')}`,
  to: `${searchParams.get('end_date')}`,
});
const covers = ({ from, to }: ReturnType<typeof rangeOf>, date: string) => date >= from && date <= to;
const withRunners = (change: (runners: SeasonRunner[]) => SeasonRunner[]) => (race: SeasonRace) => ({
  ...race,
  runners: change(race.runners),
});

export const truth: Lie = (race) => race;
export const nothing = without(() => true);
export const withoutRegion = (left: string) => without(({ region }) => region === left);
export const withoutDays = (from: string, to = from) => without(({ date }) => date >= from && date <= to);
export const withoutLast = (days: number) => withoutDays(daysBefore(today, days - 1), today);
/** The whole answer to a query that reaches over this day is empty: `results: null`, `total: 0`. */
export const withoutWindow = (day: string) => without((_, url) => covers(rangeOf(url), day));
export const withoutEveryTenth = without(({ race_id }) => race_id.endsWith('3'));
export const withoutPositions = withRunners((runners) => runners.map((runner) => ({ ...runner, position: '' })));
/** Of each race no more than the first third, the winner among them. */
export const withFewRunners = withRunners((runners) => runners.slice(0, Math.floor(runners.length / 3)));

/** The races of Ireland are told as of a region that does not count. */
export const relabelled: Lie = (race) => (race.region === 'IRE' ? { ...race, region: 'ROI' } : race);
export const withoutOwners = withRunners((runners) => runners.map((runner) => ({ ...runner, owner_id: '' })));

/** Whether a runner is of the entity whose races are asked for; any is where all races are. */
function isAskedFor(path: string): (runner: SeasonRunner) => boolean {
  const [, id] = /^\/v1\/\w+\/(.+)\/results$/.exec(path) ?? [];
  return ({ jockey_id, trainer_id, owner_id }) =>
    id === undefined || jockey_id === id || trainer_id === id || owner_id === id;
}

/**
 * Has the API tell a lie in answers that add up: always, or only in so many readings of each race, counted by the
 * first pages that its day is part of.
 */
export function tellLie(api: SimulatedRacingApi, lie: Lie, readings = Number.POSITIVE_INFINITY): void {
  const firstPages = new Map<string, ReturnType<typeof rangeOf>[]>();
  api.options.intercept = ({ path, url }, response) => {
    const asked = [...(firstPages.get(path) ?? [])];
    if (url.searchParams.get('skip') === '0') asked.push(rangeOf(url));
    firstPages.set(path, asked);
    const isOver = (date: string) => asked.filter((range) => covers(range, date)).length > readings;
    const isOwn = isAskedFor(path);
    const races = api.races.filter(({ date, runners }) => covers(rangeOf(url), date) && runners.some(isOwn));
    const told = races.flatMap((race) => (isOver(race.date) ? race : (lie(race, url) ?? [])));
    // A walk reads no others.
    const { status, body } = api.answer(url, told.map(withRunners((runners) => runners.filter(isOwn))));
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
}

const isHome = ({ region }: SeasonRace) => region === 'GB' || region === 'IRE';
const idsOf = ({ runners }: SeasonRace) =>
  runners.flatMap(({ jockey_id, trainer_id, owner_id }) => [jockey_id, trainer_id, owner_id]);

/** Races of GB and IRE on these days. */
export function homeRaces(api: SimulatedRacingApi, from: string, to: string): SeasonRace[] {
  return api.races.filter((race) => isHome(race) && race.date >= from && race.date <= to);
}

/** Whether all who take part in the race have others in the year up to that day. */
export function isSpare(api: SimulatedRacingApi, race: SeasonRace, day: string): boolean {
  const others = homeRaces(api, daysBefore(day, 365), day).filter(({ race_id }) => race_id !== race.race_id);
  const active = new Set(others.flatMap(idsOf));
  return idsOf(race).every((id) => active.has(id));
}

/** An objection: the winner comes last, the second wins. */
export function disqualify(race: SeasonRace): SeasonRace {
  const [winner, second, ...others] = race.runners;
  if (winner === undefined || second === undefined) return race;
  const last = { ...winner, position: 'DSQ' };
  return { ...race, runners: [{ ...second, position: '1' }, ...others, last] };
}

/** The second has won too. */
export function deadHeat(race: SeasonRace): SeasonRace {
  const runners = race.runners.map((runner, index) => (index === 1 ? { ...runner, position: '1' } : runner));
  return { ...race, runners };
}

/** Two entities turn out to be one: its id replaces the other's in all races. */
export function merge(api: SimulatedRacingApi, { runnerIdField }: EntityType, from: string, into: string): void {
  const isOfFrom = (runner: SeasonRunner) => runner[runnerIdField] === from;
  const change = (runner: SeasonRunner) => (isOfFrom(runner) ? { ...runner, [runnerIdField]: into } : runner);
  for (const { race_id } of api.races.filter(({ runners }) => runners.some(isOfFrom))) {
    api.amend(race_id, (race) => ({ ...race, runners: race.runners.map(change) }));
  }
}

/** Takes changes of the API's races back. */
export function restoreRaces(api: SimulatedRacingApi, races: readonly SeasonRace[]): void {
  const [right, found] = [new Set(races), new Set(api.races)];
  for (const race of found) if (!right.has(race)) api.withdraw(race.race_id);
  for (const race of right) if (!found.has(race)) api.publish(race);
}
