import { makeUnevenPick, pick, type Random, wholeNumber } from './season-random.js';

/** A jockey, a trainer or an owner. */
export interface SeasonEntity {
  /** `jky_`, `trn_` or `own_` and digits. */
  id: string;
  name: string;
}

/** Races at home in the window, at home before it, and in other regions. */
export type RaceKind = 'home' | 'past' | 'abroad';

/** All jockeys, all trainers or all owners, and who of them takes part in a race. */
export interface Circle {
  /** In the order of their ids. */
  entities: SeasonEntity[];
  /** How many can appear in races at home. */
  regulars: number;
  /** Draws the id of one that appears in a race of this kind. */
  draw: (kind: RaceKind, random: Random) => string;
}

export interface CircleOptions {
  idPrefix: string;
  /** The smallest number of an id; all ids have as many digits as it has. */
  firstNumber: number;
  count: number;
  /** The part of all, from 0 to 1, that races at home. A tenth races abroad alone, a tenth only did before. */
  regularShare: number;
  /** See makeUnevenPick: the smaller, the busier are the busiest. */
  evenness: number;
  makeName: (random: Random) => string;
}

/** A prime number: steps of any size modulo a prime visit every number once, so ids are scattered but unique. */
const ID_COUNT = 799_999;
const ID_STEP = 104_729;

/** Makes the entities of one type. Their activity has nothing to do with the order of their ids. */
export function makeCircle(options: CircleOptions, random: Random): Circle {
  const { count, regularShare, makeName } = options;
  const start = wholeNumber(random, 1, ID_COUNT);
  const entities = Array.from({ length: count }, (_, index) => ({
    id: `${options.idPrefix}${options.firstNumber + ((start + index * ID_STEP) % ID_COUNT)}`,
    name: makeName(random),
  }));
  const ids = entities.map((entity) => entity.id);
  const regulars = Math.ceil(count * regularShare);
  const tenth = Math.ceil(count / 10);
  const drawRegular = makeUnevenPick(ids.slice(0, regulars), Math.min(options.evenness, regulars / 15));
  const onlyAbroad = ids.slice(regulars, regulars + tenth);
  const onlyPast = ids.slice(regulars + tenth, regulars + 2 * tenth);
  const drawOf = (others: string[], share: number, stream: Random) =>
    others.length > 0 && stream() < share ? pick(stream, others) : drawRegular(stream);
  return {
    entities: entities.sort((a, b) => (a.id < b.id ? -1 : 1)),
    regulars,
    draw: (kind, stream) => {
      if (kind === 'abroad') return drawOf(onlyAbroad, 0.7, stream);
      return kind === 'past' ? drawOf(onlyPast, 0.4, stream) : drawRegular(stream);
    },
  };
}
