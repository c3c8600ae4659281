import type { SeasonRunner } from './season.js';
import { horseName } from './season-names.js';
import { hashText, makeRandom, pick, type Random, wholeNumber } from './season-random.js';

/** What the runners of a race have in common. */
export interface RaceFacts {
  /** £ or € */
  currency: string;
  /** Winner's time in seconds. */
  winningTime: number;
  /** Lengths between two finishers. */
  gap: number;
  /** The winner's prize, in the race's currency. */
  prize: number;
  isFlat: boolean;
}

const PRICES: [fraction: string, decimal: string][] = [
  ['6/4F', '2.50'],
  ['5/2', '3.50'],
  ['4/1', '5.00'],
  ['15/2', '8.50'],
  ['10/1', '11.00'],
  ['16/1', '17.00'],
  ['28/1', '29.00'],
  ['66/1', '67.00'],
];
const STARTS = [
  'Held up in rear',
  'Led',
  'Tracked leaders',
  'Slowly into stride and in rear',
  'Prominent',
  'Midfield',
];
const MIDDLES = [
  'headway on outer over 2f out - challenging when not fluent last',
  'pushed along and lost position over 3f out - soon ridden',
  'not clear run and switched right 2f out - stayed on inside final furlong',
  'went third after 2 out - every chance approaching final furlong',
  'ridden and hung left over 1f out - kept on one pace',
];
const FINISHES = [
  'ridden clear final furlong',
  'weakened inside final furlong',
  'ran on towards finish',
  'no extra close home',
  'no impression on leaders',
];
const MOVES = ['(op 13/2)', '(tchd 11/2)', '(jockey said gelding stopped quickly)', ''];

/** Tells a runner in full. The same horse always runs as the same number for the same owner and trainer. */
export function renderRunner(
  runner: SeasonRunner,
  index: number,
  raceId: string,
  facts: RaceFacts,
  nameOf: (id: string) => string,
) {
  const random = makeRandom(hashText(raceId) + index);
  const price = pick(random, PRICES);
  const weight = wholeNumber(random, 118, 166);
  const finished = /^(\d+|WON)$/.test(runner.position);
  const lengthsBehind = facts.gap * index;
  const rating = wholeNumber(random, 45, 150);
  const horse = makeRandom(hashText(runner.owner_id + runner.trainer_id) + index);
  // Field by field, also in simulated-race.ts: spreading parts into one object took five times as long.
  return {
    horse_id: makeId('hrs', horse),
    horse: horseName(horse),
    sp: price[0],
    sp_dec: price[1],
    bsp: (Number(price[1]) * (1 + random() / 4)).toFixed(2),
    number: `${index + 1}`,
    position: runner.position,
    draw: facts.isFlat ? `${wholeNumber(random, 1, 16)}` : '',
    btn: finished ? `${index === 0 ? 0 : facts.gap}` : '',
    ovr_btn: finished ? `${lengthsBehind}` : '',
    age: `${wholeNumber(horse, 2, 11)}`,
    sex: pick(horse, ['G', 'G', 'F', 'M', 'C', 'H']),
    weight: `${Math.floor(weight / 14)}-${weight % 14}`,
    weight_lbs: `${weight}`,
    headgear: pick(random, ['', '', '', 'b', 'p', 't', 'v', 'h']),
    time: finished ? raceTime(facts.winningTime + lengthsBehind / 5) : '',
    or: `${rating}`,
    rpr: finished ? `${rating + wholeNumber(random, -12, 9)}` : '',
    tsr: finished ? `${Math.max(1, rating - wholeNumber(random, 10, 40))}` : '',
    prize: finished && index < 4 ? `${facts.currency}${Math.round(facts.prize / 2 ** index)}` : '',
    jockey: nameOf(runner.jockey_id),
    jockey_claim_lbs: pick(random, ['0', '0', '0', '3', '5', '7']),
    jockey_id: runner.jockey_id,
    trainer: nameOf(runner.trainer_id),
    trainer_id: runner.trainer_id,
    owner: nameOf(runner.owner_id),
    owner_id: runner.owner_id,
    sire: horseName(horse),
    sire_id: makeId('sir', horse),
    dam: horseName(horse),
    dam_id: makeId('dam', horse),
    damsire: horseName(horse),
    damsire_id: makeId('dsi', horse),
    comment: renderComment(random),
    silk_url: `https://www.url-for-silk.com/svg/${wholeNumber(random, 100_000, 999_999)}.svg`,
  };
}

/** Seconds as the API writes them: 5:44.90 */
export function raceTime(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, '0')}`;
}

function makeId(prefix: string, random: Random): string {
  return `${prefix}_${wholeNumber(random, 1_000_000, 9_999_999)}`;
}

function renderComment(random: Random): string {
  const parts = [pick(random, STARTS), pick(random, MIDDLES), pick(random, MIDDLES), pick(random, FINISHES)];
  return `${parts.join(' - ')}${pick(random, MOVES)}`;
}
