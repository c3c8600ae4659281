import { type Circle, makeCircle, type RaceKind, type SeasonEntity } from './season-circles.js';
import { daysBefore } from './season-dates.js';
import { ownerName, personName } from './season-names.js';
import { hashText, makeRandom, pick, type Random, wholeNumber } from './season-random.js';

export type { SeasonEntity } from './season-circles.js';

/** What the statistics depend on. The simulated API derives all other fields of a runner when it is asked. */
export interface SeasonRunner {
  /** `1`, `2`, ...; now and then `WON`; for a non-finisher `PU`, `F`, `UR`, `RO`, `BD` or nothing. */
  position: string;
  jockey_id: string;
  trainer_id: string;
  owner_id: string;
}

/** As with the runners: only what cannot be derived from the id. */
export interface SeasonRace {
  race_id: string;
  /** YYYY-MM-DD */
  date: string;
  /** In capitals: `GB`, `IRE`, `FR`, ... */
  region: string;
  runners: SeasonRunner[];
}

export interface SeasonOptions {
  /** The UTC date (YYYY-MM-DD) to which the season is relative. */
  today: string;
  seed?: number;
  /** How many there are of each, active or not. With fewer than 40 jockeys the fields get smaller. */
  jockeys?: number;
  trainers?: number;
  owners?: number;
  /** GB and IRE races from 365 days ago to today. There are a fifth as many before, and as many in other regions. */
  races?: number;
}

export interface Season {
  today: string;
  /** In the order of their ids, as the two below. */
  jockeys: SeasonEntity[];
  trainers: SeasonEntity[];
  owners: SeasonEntity[];
  /** Newest first. */
  races: SeasonRace[];
}

interface Circles {
  jockeys: Circle;
  trainers: Circle;
  owners: Circle;
}

const HOME_REGIONS = ['GB', 'GB', 'IRE'];
const OTHER_REGIONS = ['FR', 'USA', 'HK', 'AUS', 'UAE'];
const NON_FINISHES = ['PU', 'PU', 'PU', 'F', 'UR', 'RO', 'BD', ''];

/** Days are counted back from today. The edges, where windows of 14, 30 and 365 days end, always see a race. */
const RACE_DAYS: Record<RaceKind, { edges: number[]; first: number; last: number; regions: string[] }> = {
  home: { edges: [0, 13, 14, 29, 30, 365], first: 0, last: 365, regions: HOME_REGIONS },
  past: { edges: [366], first: 366, last: 1095, regions: HOME_REGIONS },
  abroad: { edges: [0], first: 0, last: 365, regions: OTHER_REGIONS },
};

/** Makes a season that depends on nothing but the options. */
export function makeSeason(options: SeasonOptions): Season {
  const { today, seed = 1, races: homeRaces = 12_900 } = options;
  const random = makeRandom(seed);
  const circles = makeCircles(options, random);
  const raceCounts: Record<RaceKind, number> = {
    home: homeRaces,
    past: Math.ceil(homeRaces / 5),
    abroad: Math.ceil(homeRaces / 5),
  };
  const races: SeasonRace[] = [];
  for (const kind of ['home', 'past', 'abroad'] as const) {
    for (let number = 0; number < raceCounts[kind]; number++) {
      const { edges, first, last, regions } = RACE_DAYS[kind];
      races.push({
        race_id: `rac_${11_000_000 + races.length}`,
        date: daysBefore(today, edges[number] ?? wholeNumber(random, first, last)),
        region: pick(random, regions),
        runners: makeRunners(kind, number, circles, random),
      });
    }
  }
  return {
    today,
    jockeys: circles.jockeys.entities,
    trainers: circles.trainers.entities,
    owners: circles.owners.entities,
    races: races.sort(newestFirst),
  };
}

/** The shares and the evenness give figures like those of a real year: top jockeys near 900 rides. */
function makeCircles(options: SeasonOptions, random: Random): Circles {
  const { jockeys = 3483, trainers = 2781, owners = 48_165 } = options;
  const jockey = { idPrefix: 'jky_', firstNumber: 100_000, regularShare: 0.42, evenness: 44 };
  const trainer = { idPrefix: 'trn_', firstNumber: 100_000, regularShare: 0.42, evenness: 30 };
  const owner = { idPrefix: 'own_', firstNumber: 1_000_000, regularShare: 0.35, evenness: 25 };
  return {
    jockeys: makeCircle({ ...jockey, count: jockeys, makeName: personName }, random),
    trainers: makeCircle({ ...trainer, count: trainers, makeName: personName }, random),
    owners: makeCircle({ ...owner, count: owners, makeName: ownerName }, random),
  };
}

/** A jockey has one ride in a race; a trainer or an owner can have several runners. */
function makeRunners(kind: RaceKind, number: number, circles: Circles, random: Random): SeasonRunner[] {
  const size = Math.min(wholeNumber(random, 5, 16), circles.jockeys.regulars);
  const jockeyIds = new Set<string>();
  while (jockeyIds.size < size) jockeyIds.add(circles.jockeys.draw(kind, random));
  const positions = makePositions(number, size, random);
  return Array.from(jockeyIds, (jockeyId, index) => ({
    position: positions[index] ?? '',
    jockey_id: jockeyId,
    trainer_id: circles.trainers.draw(kind, random),
    owner_id: circles.owners.draw(kind, random),
  }));
}

/** One race in 80 is a dead heat and one in 120 has its winner as WON, so that any season has some of them. */
function makePositions(number: number, size: number, random: Random): string[] {
  const overJumps = random() < 0.4;
  const finishRate = overJumps ? 0.9 : 0.995;
  const finishers = Array.from({ length: size }, (_, index) => index < 2 || random() < finishRate).filter(
    Boolean,
  );
  const positions = finishers.map((_, index) => `${index + 1}`);
  if (number % 80 === 40) positions[1] = '1';
  if (number % 120 === 60) positions[0] = 'WON';
  while (positions.length < size) positions.push(pick(random, NON_FINISHES));
  return positions;
}

/** When a race is off, HH:MM from 11:00 to 20:20, derived from its id. */
export function offTime(raceId: string): string {
  const minutes = 11 * 60 + 5 * (hashText(raceId) % 113);
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}`;
}

/** The order of the API's results: the latest date first, then the latest off time, then the race id. */
export function newestFirst(a: SeasonRace, b: SeasonRace): number {
  if (a.date !== b.date) return a.date > b.date ? -1 : 1;
  const [offA, offB] = [offTime(a.race_id), offTime(b.race_id)];
  if (offA !== offB) return offA > offB ? -1 : 1;
  return a.race_id < b.race_id ? -1 : Number(a.race_id > b.race_id);
}
