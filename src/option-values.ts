import { InvalidArgumentError } from 'commander';
import { type EntityType, entityTypes } from './entity-types.js';

/** A count from 1 up. */
export function positiveInteger(value: string): number {
  if (!/^\d+$/.test(value) || Number(value) < 1 || !Number.isSafeInteger(Number(value))) {
    throw new InvalidArgumentError('It must be a whole number from 1 up.');
  }
  return Number(value);
}

const durationUnitsMs = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time such as 30m, 12h or 7d. */
export function duration(value: string): { text: string; ms: number } {
  const [, count, unit] = /^(\d+)([mhd])$/.exec(value) ?? [];
  const ms = Number(count) * durationUnitsMs[unit as keyof typeof durationUnitsMs];
  if (!(ms > 0)) throw new InvalidArgumentError('It must be a whole number of m, h or d: 30m, 12h, 7d.');
  return { text: value, ms };
}

/** A rate from one request in ten seconds to a thousand a second. */
export function requestsPerSecond(value: string): number {
  const rate = /^\d+(\.\d+)?$/.test(value) ? Number(value) : 0;
  // 0.1 is a request in ten seconds; 1000 is the budget's resolution.
  if (rate < 0.1 || rate > 1000) throw new InvalidArgumentError('It must be a number from 0.1 to 1000.');
  return rate;
}

/** Adds a named type to those named before, in their own order. */
export function entityTypeNames(value: string, previous: EntityType[] | undefined): EntityType[] {
  const type = entityTypes.find(({ name }) => name === value);
  if (type === undefined) {
    const meant = entityTypes.find(({ name }) => name[0] === value[0]?.toLowerCase());
    const names = entityTypes.map(({ name }) => name).join(', ');
    throw new InvalidArgumentError(meant ? `Did you mean ${meant.name}?` : `The types are ${names}.`);
  }
  const named = new Set([...(previous ?? []), type]);
  return entityTypes.filter((one) => named.has(one));
}
