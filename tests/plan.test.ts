import { describe, expect, it } from 'vitest';
import { typicalSweepRequests } from '../src/gather.js';
import { planRun } from '../src/run.js';

describe('auto', () => {
  it.each([
    [1, 'walk'],
    [typicalSweepRequests, 'walk'],
    [typicalSweepRequests + 1, 'sweep'],
    [54_429, 'sweep'],
  ] as const)('takes for %i entities the strategy with fewer requests, %s', (entities, strategy) => {
    const plan = planRun({ strategy: 'auto', rate: 2 }, entities);
    expect(plan.strategy).toBe(strategy);
    expect(plan.alternative).toBe(strategy === 'walk' ? 'sweep' : 'walk');
  });
});

it.each([
  ['walk', 54_429],
  ['sweep', 1],
] as const)('%s, when it is asked for, has no alternative', (wish, entities) => {
  expect(planRun({ strategy: wish, rate: 2 }, entities)).toMatchObject({
    strategy: wish,
    alternative: undefined,
  });
});

describe('the description', () => {
  it.each([
    [
      'auto',
      54_429,
      2,
      '54,429 entities: sweeping about 135 pages, about 1m 08s at 2 requests/s (walking: at least 7h 33m)',
    ],
    [
      'auto',
      10,
      2,
      '10 entities: walking, at least 10 requests, 5.0s at 2 requests/s (sweeping: about 135 pages, 1m 08s)',
    ],
    [
      'walk',
      3_483,
      0.5,
      '3,483 entities: walking, at least 3,483 requests, 1h 56m at 0.5 requests/s (sweeping: about 135 pages, 4m 30s)',
    ],
    ['sweep', 1, 5, '1 entity: sweeping about 135 pages, about 27s at 5 requests/s (walking: at least 0.2s)'],
  ] as const)('of %s for %i entities at %d requests a second is one line', (wish, entities, rate, line) => {
    expect(planRun({ strategy: wish, rate }, entities).description).toBe(line);
  });
});
