import { makeSeason } from '../demo/season.js';
import { startSimulatedRacingApi } from '../demo/simulator.js';
import type { SimulatorSettings } from './simulator.js';

const settings: SimulatorSettings = JSON.parse(process.argv[2] ?? '');
const { season, username, password, failEvery } = settings;
const api = await startSimulatedRacingApi({
  season: makeSeason(season),
  username,
  password,
  requestsPerSecond: Number.POSITIVE_INFINITY,
});
if (failEvery !== undefined) {
  api.options.intercept = (call, response, next) =>
    call.number % failEvery === 0 ? void response.writeHead(500).end() : next();
}
process.on('message', () => process.send?.({ calls: api.calls.map(({ at, path }) => ({ at, path })) }));
process.on('disconnect', () => process.exit());
process.send?.({ url: api.url });
