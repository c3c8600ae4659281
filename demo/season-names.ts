import { pick, type Random, wholeNumber } from './season-random.js';

const FIRST_NAMES = (
  'Aoife Ben Billy Ciarán Clodagh Connor Daniel Darragh David Eimear Emma François Gavin Grace Harry Hollie ' +
  'Jack James Jean-Luc Joanna Kevin Laura Luke Mikael Niamh Oisín Paddy Rachael Rhys Ryan Seán Shane Sören ' +
  'Tadhg Tom William Zoë'
).split(' ');
const LAST_NAMES = (
  "Ashdown Barrow Byrne Carrick D'Arcy Dunmore Fairhurst Fitzgerald Garritty Hallam Jankowski Keane Kirkbride " +
  "Lacey MacMahon Marlowe McAllister Müller Nolan O'Brien O'Farrell ÓSúilleabháin Penhale Quennell Ravensworth " +
  "Saunderson Sheehan Smyth-Osbourne Tranter Underwood Vale Whitlock Wójcik Yarrow O’Shea N'Diaye"
).split(' ');
const FIRST_WORDS = (
  'Silver Restless Northern Gallant Hidden Crimson Whispering Bold Velvet Distant Golden Emerald Rolling Quiet ' +
  'Lucky Stormy Ivory Proud Wandering Midnight Scarlet Fearless Morning Ancient Dancing Electric Humble Kilkenny'
).split(' ');
const LAST_WORDS = (
  'Harbour Lad Dancer Legacy Waltz Arrow Frontier Lass Melody Fortune Bridge Spirit Tide Ranger Promise Falcon ' +
  'Jewel Thunder Meadow Parade Secret Warrior Echo Boy Castle Reign Lantern Comet'
).split(' ');
const COUNTRIES = ['GB', 'IRE', 'IRE', 'FR', 'USA', 'GER'];

/** A jockey's or trainer's name. */
export function personName(random: Random): string {
  return `${pick(random, FIRST_NAMES)} ${pick(random, LAST_NAMES)}`;
}

/** An owner's name: a person, a couple, a syndicate, a stud or a company. */
export function ownerName(random: Random): string {
  const last = pick(random, LAST_NAMES);
  const initial = String.fromCharCode(wholeNumber(random, 65, 90));
  return pick(random, [
    `${initial} ${last}`,
    `Mrs ${initial} ${last}`,
    `Mr & Mrs ${initial} ${last}`,
    `The ${pick(random, FIRST_WORDS)} ${pick(random, LAST_WORDS)} Partnership`,
    `${pick(random, FIRST_WORDS)} ${last} Syndicate`,
    `${last} Stud`,
    `${last}, ${pick(random, LAST_NAMES)} & Partner`,
    `${pick(random, LAST_WORDS)} Bloodstock Ltd`,
  ]);
}

/** A horse's name with its country of birth: `Distant Melody (IRE)`. */
export function horseName(random: Random): string {
  return `${pick(random, FIRST_WORDS)} ${pick(random, LAST_WORDS)} (${pick(random, COUNTRIES)})`;
}
