import { makeSeason, type Season } from '../demo/season.js';

/** The usual races, run by `scale` times as many entities: so any scale takes the same number of requests. */
export function makeWorldSeason(scale: number): Season {
  const today = new Date().toISOString().slice(0, 10);
  const usual = makeSeason({ today });
  if (scale === 1) return usual;
  const larger = makeSeason({
    today,
    jockeys: scale * usual.jockeys.length,
    trainers: scale * usual.trainers.length,
    owners: scale * usual.owners.length,
  });
  const races = usual.races.map((race, index) => ({
    ...race,
    runners: larger.races[index]?.runners ?? race.runners,
  }));
  return { ...larger, races };
}
