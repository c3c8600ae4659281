import {
  hashText,
  makeRandom,
  makeUnevenPick,
  ownerName,
  personName,
  pick,
  type Random,
  wholeNumber,
} from './random.js';

/** A jockey, a trainer or an owner. */
export interface SeasonEntity {
  /** `jky_`, `trn_` or `own_` and digits. */
  id: string;
  name: string;
}

/** What the statistics depend on; describeRace adds all else. */
export interface SeasonRunner {
  /** `1`, `2`, ...; now and then `WON`; for a non-finisher `PU`, `F`, `UR`, `RO`, `BD` or nothing. */
  position: string;
  jockey_id: string;
  trainer_id: string;
  owner_id: string;
}

/** As with the runners: only what is a race's own. */
export interface SeasonRace {
  race_id: string;
  /** YYYY-MM-DD */
  date: string;
  /** In capitals: `GB`, `IRE`, `FR`, ... */
  region: string;
  runners: SeasonRunner[];
}

/** As the API's paths name them. */
export type EntityType = 'jockeys' | 'trainers' | 'owners';

/** How many there are of each type, active or not. With fewer than 40 jockeys the fields get smaller. */
export interface SeasonOptions extends Partial<Record<EntityType, number>> {
  /** The UTC date (YYYY-MM-DD) to which the season is relative. */
  today: string;
  seed?: number;
  /** GB and IRE races from 365 days ago to today; a fifth as many are before, and as many abroad. */
  races?: number;
}

/** The entities of each type are in the order of their ids. */
export interface Season extends Record<EntityType, SeasonEntity[]> {
  today: string;
  /** Newest first. */
  races: SeasonRace[];
}

const homeRegions = ['GB', 'GB', 'IRE'];
const otherRegions = ['FR', 'USA', 'HK', 'AUS', 'UAE'];

/**
 * Races at home in the window, at home before it, and in other regions. Days are counted back from today; on
 * the edges, where windows of 14, 30 and 365 days end, there is always a race. Guests race nowhere else.
 */
const raceKinds = {
  home: { edges: [0, 13, 14, 29, 30, 365], first: 0, last: 365, regions: homeRegions, guestShare: 0 },
  past: { edges: [366], first: 366, last: 1095, regions: homeRegions, guestShare: 0.4 },
  abroad: { edges: [0], first: 0, last: 365, regions: otherRegions, guestShare: 0.7 },
};
type RaceKind = keyof typeof raceKinds;
const nonFinishes = ['PU', 'PU', 'PU', 'F', 'UR', 'RO', 'BD', ''];

/** Makes a season that depends on nothing but the options. */
export function makeSeason(options: SeasonOptions): Season {
  const { today, seed = 1, races: homeRaces = 12_900 } = options;
  const random = makeRandom(seed);
  const circles: Circles = {
    jockeys: makeCircle(circleRules.jockeys, options.jockeys, random),
    trainers: makeCircle(circleRules.trainers, options.trainers, random),
    owners: makeCircle(circleRules.owners, options.owners, random),
  };
  const races: SeasonRace[] = [];
  for (const kind of ['home', 'past', 'abroad'] as const) {
    const { edges, first, last, regions } = raceKinds[kind];
    const count = kind === 'home' ? homeRaces : Math.ceil(homeRaces / 5);
    for (let number = 0; number < count; number++) {
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

/** All jockeys, all trainers or all owners, and who of them takes part in a race. */
interface Circle {
  /** In the order of their ids. */
  entities: SeasonEntity[];
  /** How many can appear in races at home. */
  regulars: number;
  /** Draws the id of one that appears in a race of this kind. */
  draw: (kind: RaceKind, random: Random) => string;
}
type Circles = Record<EntityType, Circle>;

/**
 * `first` is the smallest number of an id; all ids have as many digits. `regulars` is the part of all that
 * races at home; a tenth races abroad alone, a tenth only did before. These shares and the evenness (see
 * makeUnevenPick) give figures like those of a real year: top jockeys near 900 rides.
 */
const circleRules = {
  jockeys: { prefix: 'jky_', first: 100_000, count: 3483, regulars: 0.42, evenness: 44, makeName: personName },
  trainers: { prefix: 'trn_', first: 100_000, count: 2781, regulars: 0.42, evenness: 30, makeName: personName },
  owners: { prefix: 'own_', first: 1_000_000, count: 48_165, regulars: 0.35, evenness: 25, makeName: ownerName },
};

/** A prime: steps of any size modulo a prime visit every number once, so ids are scattered but unique. */
const idCount = 799_999;
const idStep = 104_729;

/** Makes the entities of one type. Their activity has nothing to do with the order of their ids. */
function makeCircle(
  rules: (typeof circleRules)['jockeys'],
  count: number | undefined = rules.count,
  random: Random,
): Circle {
  const start = wholeNumber(random, 1, idCount);
  const entities = Array.from({ length: count }, (_, index) => ({
    id: `${rules.prefix}${rules.first + ((start + index * idStep) % idCount)}`,
    name: rules.makeName(random),
  }));
  const ids = entities.map((entity) => entity.id);
  const regulars = Math.ceil(count * rules.regulars);
  const tenth = Math.ceil(count / 10);
  const drawRegular = makeUnevenPick(ids.slice(0, regulars), Math.min(rules.evenness, regulars / 15));
  const guests: Record<RaceKind, string[]> = {
    home: [],
    abroad: ids.slice(regulars, regulars + tenth),
    past: ids.slice(regulars + tenth, regulars + 2 * tenth),
  };
  return {
    entities: entities.sort((a, b) => (a.id < b.id ? -1 : 1)),
    regulars,
    draw: (kind, stream) => {
      const hasGuest = guests[kind].length > 0 && stream() < raceKinds[kind].guestShare;
      return hasGuest ? pick(stream, guests[kind]) : drawRegular(stream);
    },
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

/** One race in 80 is a dead heat and one in 120 has its winner as WON, so that any season has some. */
function makePositions(number: number, size: number, random: Random): string[] {
  const overJumps = random() < 0.4;
  const finishRate = overJumps ? 0.9 : 0.995;
  const positions: string[] = [];
  for (let index = 0; index < size; index++) {
    if (index < 2 || random() < finishRate) positions.push(`${positions.length + 1}`);
  }
  if (number % 80 === 40) positions[1] = '1';
  if (number % 120 === 60) positions[0] = 'WON';
  while (positions.length < size) positions.push(pick(random, nonFinishes));
  return positions;
}

/** The order of the API's results: the latest off time first, then by race id. */
export function newestFirst(a: SeasonRace, b: SeasonRace): number {
  const [offA, offB] = [offInstant(a), offInstant(b)];
  if (offA !== offB) return offA > offB ? -1 : 1;
  return a.race_id < b.race_id ? -1 : Number(a.race_id > b.race_id);
}

/** When a race is off, from 11:00 to 20:20, derived from its id. */
function offInstant({ race_id, date }: SeasonRace): string {
  const minutes = 11 * 60 + 5 * (hashText(race_id) % 113);
  return `${date}T${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:00+00:00`;
}

/** The date (YYYY-MM-DD) a number of days before another. */
export function daysBefore(date: string, days: number): string {
  return new Date(Date.parse(date) - days * 86_400_000).toISOString().slice(0, 10);
}

/**
 * Tells a race as the API does (ResultStandard in its OpenAPI description): the template and what is its own.
 * No key is new to the template, for that takes four times as long.
 * @param names What entities are called, by their ids.
 */
export function describeRace(race: SeasonRace, names: Record<EntityType, Map<string, string>>) {
  const off = offInstant(race);
  const hour = Number(off.slice(11, 13));
  return {
    ...templateRace,
    race_id: race.race_id,
    date: race.date,
    region: race.region,
    off: `${hour > 12 ? hour - 12 : hour}${off.slice(13, 16)}`,
    off_dt: off,
    runners: race.runners.map((runner, index) => ({
      ...templateRunner,
      ...runner,
      horse_id: `hrs_${hashText(race.race_id + index)}`,
      number: `${index + 1}`,
      jockey: names.jockeys.get(runner.jockey_id) ?? runner.jockey_id,
      trainer: names.trainers.get(runner.trainer_id) ?? runner.trainer_id,
      owner: names.owners.get(runner.owner_id) ?? runner.owner_id,
    })),
  };
}

/** The example of the API's OpenAPI description, as JSON; its comment is as long as they usually are. */
const templateRace: Record<string, string> = JSON.parse(`
{"race_id": "rac_11715730", "date": "2025-08-11", "region": "IRE", "course": "Ballinrobe (IRE)",
"course_id": "crs_4550", "off": "8:25", "off_dt": "2025-08-11T20:25:00+01:00",
"race_name": "J.J. Burke Peugeot Handicap Hurdle", "type": "Hurdle", "class": "", "pattern": "",
"rating_band": "0-100", "age_band": "4yo+", "sex_rest": "", "dist": "2m7f", "dist_y": "5058", "dist_m": "4625",
"dist_f": "23f", "going": "Good", "surface": "Turf", "jumps": "12 hurdles",
"winning_time_detail": "5m 44.90s (slow by 7.90s)", "comments": "",
"non_runners": "Diamonds Diva (reserve), Great Rainbow (reserve), Loughrask Rainbow (reserve)", "tote_win": "€8.50",
"tote_pl": "€2.30 €5.80 €4.20", "tote_ex": "€253.10", "tote_csf": "€300.55", "tote_tricast": "€5228.29",
"tote_trifecta": ""}`);
const templateRunner: Record<string, string> = JSON.parse(`
{"horse_id": "hrs_19359270", "horse": "Mephisto (IRE)", "sp": "15/2", "sp_dec": "8.50", "bsp": "11.26", "number": "2",
"position": "1", "draw": "", "btn": "0", "ovr_btn": "0", "age": "8", "sex": "G", "weight": "11-12",
"weight_lbs": "166", "headgear": "v", "time": "5:44.90", "or": "98", "rpr": "105", "tsr": "64", "prize": "€5900",
"jockey": "Shane Fitzgerald", "jockey_claim_lbs": "0", "jockey_id": "jky_302916", "trainer": "Gerard Keane",
"trainer_id": "trn_86382", "owner": "Restricted Movement Syndicate", "owner_id": "own_1204876",
"sire": "Kendargent (FR)", "sire_id": "sir_4514419", "dam": "Save Me The Waltz (FR)", "dam_id": "dam_4189605",
"damsire": "Halling", "damsire_id": "dsi_675241",
"comment": "Held up in rear - headway 3 out - went third after 2 out - challenging when not fluent last - \
led home turn - soon ridden - ridden clear final furlong - ran on towards finish(op 13/2)",
"silk_url": "https://www.url-for-silk.com/svg/456789.svg"}`);
