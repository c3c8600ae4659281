/** A stream of numbers from 0 (included) to 1 (excluded), always the same for the same seed. */
export type Random = () => number;

/** Starts a stream from a 32-bit seed (the mulberry32 generator: small, fast and good enough for a demo). */
export function makeRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The 32-bit FNV-1a hash of a text: a seed for what is derived from an id. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

/** A whole number from `lowest` to `highest`, both included. */
export function wholeNumber(random: Random, lowest: number, highest: number): number {
  return lowest + Math.floor(random() * (highest - lowest + 1));
}

/** One item, each as likely as the others. Throws a RangeError when there is none. */
export function pick<T>(random: Random, items: readonly T[]): T {
  return itemAt(items, Math.floor(random() * items.length));
}

/**
 * Makes a pick that favours the first items: the item of rank r (from 0) has weight 1 / (r + evenness).
 * So a few are very busy and many hardly ever appear, as among jockeys, trainers and owners.
 */
export function makeUnevenPick<T>(items: readonly T[], evenness: number): (random: Random) => T {
  const bounds = new Float64Array(items.length);
  let sum = 0;
  for (let rank = 0; rank < items.length; rank++) {
    sum += 1 / (rank + evenness);
    bounds[rank] = sum;
  }
  return (random) => {
    const drawn = random() * sum;
    let low = 0;
    let high = items.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((bounds[middle] ?? 0) > drawn) high = middle;
      else low = middle + 1;
    }
    return itemAt(items, low);
  };
}

function itemAt<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new RangeError(`There is no item ${index} among ${items.length}.`);
  return item;
}

const firstNames = (
  'Aoife Ben Billy Ciarán Clodagh Connor Daniel Darragh David Eimear Emma François Gavin Grace Harry ' +
  'Hollie Jack James Jean-Luc Joanna Kevin Laura Luke Mikael Niamh Oisín Paddy Rachael Rhys Ryan Seán ' +
  'Shane Sören Tadhg Tom William Zoë'
).split(' ');
const lastNames = (
  "Ashdown Barrow Byrne Carrick D'Arcy Dunmore Fairhurst Fitzgerald Garritty Hallam Jankowski Keane " +
  "Kirkbride Lacey MacMahon Marlowe McAllister Müller Nolan O'Brien O'Farrell ÓSúilleabháin Penhale " +
  'Quennell Ravensworth Saunderson Sheehan Smyth-Osbourne Tranter Underwood Vale Whitlock Wójcik Yarrow ' +
  "O’Shea N'Diaye"
).split(' ');
const firstWords = (
  'Silver Restless Northern Gallant Hidden Crimson Whispering Bold Velvet Distant Golden Emerald Rolling ' +
  'Quiet Lucky Stormy Ivory Proud Wandering Midnight Scarlet Fearless Morning Ancient Dancing Electric ' +
  'Humble Kilkenny'
).split(' ');
const lastWords = (
  'Harbour Lad Dancer Legacy Waltz Arrow Frontier Lass Melody Fortune Bridge Spirit Tide Ranger Promise ' +
  'Falcon Jewel Thunder Meadow Parade Secret Warrior Echo Boy Castle Reign Lantern Comet'
).split(' ');

/** A jockey's or trainer's name. */
export function personName(random: Random): string {
  return `${pick(random, firstNames)} ${pick(random, lastNames)}`;
}

/** An owner's name: a person, a couple, a syndicate, a stud or a company. */
export function ownerName(random: Random): string {
  const last = pick(random, lastNames);
  const initial = String.fromCharCode(wholeNumber(random, 65, 90));
  return pick(random, [
    `${initial} ${last}`,
    `Mrs ${initial} ${last}`,
    `Mr & Mrs ${initial} ${last}`,
    `The ${pick(random, firstWords)} ${pick(random, lastWords)} Partnership`,
    `${pick(random, firstWords)} ${last} Syndicate`,
    `${last} Stud`,
    `${last}, ${pick(random, lastNames)} & Partner`,
    `${pick(random, lastWords)} Bloodstock Ltd`,
  ]);
}
