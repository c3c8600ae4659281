import { offTime, type SeasonRace } from './season.js';
import { hashText, makeRandom, pick, type Random, wholeNumber } from './season-random.js';
import { type RaceFacts, raceTime, renderRunner } from './simulated-runner.js';

/** A race as the API tells it: ResultStandard, every field but `runners` a string. */
export type SimulatedRace = ReturnType<typeof renderRace>;

const COURSES: Record<string, string[]> = {
  GB: ['Ascot', 'Newmarket', 'York', 'Cheltenham', 'Kempton (AW)', 'Wolverhampton (AW)', 'Haydock', 'Ripon'],
  IRE: ['Ballinrobe (IRE)', 'Curragh (IRE)', 'Leopardstown (IRE)', 'Galway (IRE)', 'Dundalk (AW) (IRE)'],
  FR: ['Chantilly (FR)', 'Auteuil (FR)', 'Deauville (FR)'],
  USA: ['Saratoga (USA)', 'Keeneland (USA)'],
};
const FALLS = new Set(['PU', 'F', 'UR', 'BD', 'RO']);
const SPONSORS = ['J.J. Murphy Motors', 'Racing Club', 'Riverside Brewery', 'Members Day', 'Spring Festival'];
const AGES = ['2yo', '3yo', '3yo+', '4yo+', '5yo+'];
const GOINGS = ['Good', 'Good To Firm', 'Good To Soft', 'Soft', 'Heavy', 'Yielding', 'Standard'];
const YARDS_PER_FURLONG = 220;
const METRES_PER_YARD = 0.9144;

/** Tells a race in full, always in the same way. `nameOf` gives the name of a jockey, trainer or owner. */
export function renderRace(race: SeasonRace, nameOf: (id: string) => string) {
  const random = makeRandom(hashText(race.race_id));
  const type = pickType(race, random);
  const furlongs = type === 'Flat' ? wholeNumber(random, 5, 14) : wholeNumber(random, 16, 26);
  const facts: RaceFacts = {
    currency: race.region === 'IRE' || race.region === 'FR' ? '€' : '£',
    winningTime: furlongs * (12 + 2 * random()),
    gap: wholeNumber(random, 1, 12) / 4,
    prize: wholeNumber(random, 20, 400) * 100,
    isFlat: type === 'Flat',
  };
  const off = offTime(race.race_id);
  const yards = furlongs * YARDS_PER_FURLONG;
  const course = pick(random, COURSES[race.region] ?? [`Central Park (${race.region})`]);
  return {
    race_id: race.race_id,
    date: race.date,
    region: race.region,
    course,
    course_id: `crs_${1000 + (hashText(course) % 9000)}`,
    off: shortTime(off),
    off_dt: `${race.date}T${off}:00${utcOffset(race.date)}`,
    race_name: `${pick(random, SPONSORS)} Handicap${facts.isFlat ? '' : ` ${type}`}`,
    type,
    class: race.region === 'GB' ? `Class ${wholeNumber(random, 1, 6)}` : '',
    pattern: pick(random, ['', '', '', '', 'Listed', 'Group 3']),
    rating_band: `0-${wholeNumber(random, 12, 28) * 5}`,
    age_band: pick(random, AGES),
    sex_rest: pick(random, ['', '', '', 'F & M']),
    dist: milesAndFurlongs(furlongs),
    dist_y: `${yards}`,
    dist_m: `${Math.round(yards * METRES_PER_YARD)}`,
    dist_f: `${furlongs}f`,
    going: pick(random, GOINGS),
    surface: course.includes('(AW)') ? 'AW' : 'Turf',
    jumps: facts.isFlat ? '' : `${wholeNumber(random, 8, 20)} ${type === 'Chase' ? 'fences' : 'hurdles'}`,
    winning_time_detail: `${raceTime(facts.winningTime)} (slow by ${(10 * random()).toFixed(2)}s)`,
    comments: '',
    non_runners: pick(random, [
      '',
      '',
      'Distant Echo (vet certificate)',
      'Proud Comet (reserve), Quiet Tide (going)',
    ]),
    tote_win: money(facts.currency, 20, random),
    tote_pl: `${money(facts.currency, 5, random)} ${money(facts.currency, 8, random)}`,
    tote_ex: money(facts.currency, 200, random),
    tote_csf: money(facts.currency, 300, random),
    tote_tricast: money(facts.currency, 3000, random),
    tote_trifecta: money(facts.currency, 4000, random),
    runners: race.runners.map((runner, index) => renderRunner(runner, index, race.race_id, facts, nameOf)),
  };
}

/** Horses fall and are pulled up over jumps. */
function pickType(race: SeasonRace, random: Random): string {
  const overJumps = race.runners.some((runner) => FALLS.has(runner.position));
  return overJumps ? pick(random, ['Chase', 'Hurdle', 'Hurdle']) : 'Flat';
}

/** 20:25 as on a race card: 8:25 */
function shortTime(time: string): string {
  const [hours, minutes] = time.split(':');
  return `${((Number(hours) + 11) % 12) + 1}:${minutes}`;
}

/** Summer time, to the month. */
function utcOffset(date: string): string {
  const month = Number(date.slice(5, 7));
  return month > 3 && month < 11 ? '+01:00' : '+00:00';
}

/** 23 as 2m7f */
function milesAndFurlongs(furlongs: number): string {
  const miles = Math.floor(furlongs / 8);
  return `${miles > 0 ? `${miles}m` : ''}${furlongs % 8 > 0 ? `${furlongs % 8}f` : ''}`;
}

function money(currency: string, most: number, random: Random): string {
  return `${currency}${(1 + random() * most).toFixed(2)}`;
}
