import { formatCount, formatDuration, formatEntities } from './format.js';
import { typicalSweepRequests } from './sweep.js';

export type Strategy = 'walk' | 'sweep';

/** How a run will gather its statistics. */
export interface Plan {
  strategy: Strategy;
  /** What to try when the account may not do the first; only when the user left the choice to us. */
  alternative: Strategy | undefined;
  /** One line for people: what will be done, how many requests, how long. */
  description: string;
}

/** Chooses the strategy with fewer requests, unless one is prescribed. `entities` is their number, of all types. */
export function planRun(wish: Strategy | 'auto', entities: number, requestsPerSecond: number): Plan {
  const cheaper: Strategy = entities <= typicalSweepRequests ? 'walk' : 'sweep';
  const strategy = wish === 'auto' ? cheaper : wish;
  const seconds = (requests: number) => formatDuration(requests / requestsPerSecond);
  const rate = `at ${requestsPerSecond} requests/s`;
  const description =
    strategy === 'sweep'
      ? `${formatEntities(entities)}: sweeping about ${typicalSweepRequests} pages, about ${seconds(typicalSweepRequests)} ${rate} (walking: at least ${seconds(entities)})`
      : `${formatEntities(entities)}: walking, at least ${formatCount(entities)} requests, ${seconds(entities)} ${rate} (sweeping: about ${typicalSweepRequests} pages, ${seconds(typicalSweepRequests)})`;
  const other: Strategy = strategy === 'walk' ? 'sweep' : 'walk';
  return { strategy, alternative: wish === 'auto' ? other : undefined, description };
}
