// The simulated Racing API, in a process of its own: nothing but the calls themselves keeps it from noting when they come.
import { startSimulatedRacingApi } from '../demo/simulator.js';
import { makeWorldSeason } from './season.js';
import { startSlowNetwork } from './slow-network.js';
import type { Calls, WorldOptions } from './world.js';

const { scale, requestsPerSecond, latencyMs, apiNetwork }: WorldOptions = JSON.parse(process.argv[2] ?? '{}');
const credentials = { username: 'bench', password: 'bench-password' };
const season = makeWorldSeason(scale);
const api = await startSimulatedRacingApi({ season, ...credentials, requestsPerSecond, latencyMs });

let rejectedBefore = 0;
process.on('message', () => {
  const calls = api.calls.splice(0);
  const rejected = api.rejected - rejectedBefore;
  rejectedBefore = api.rejected;
  const answer: Calls = {
    arrivalsMs: calls.map(({ at }) => at),
    paths: calls.map(({ url }) => url.pathname + url.search),
    rejected,
  };
  process.send?.(answer);
});
process.on('disconnect', () => process.exit());

process.send?.({
  RACING_API_BASE_URL: apiNetwork ? await startSlowNetwork(api.url, apiNetwork) : api.url,
  RACING_API_USERNAME: credentials.username,
  RACING_API_PASSWORD: credentials.password,
});
