import { makeSeason, type SeasonOptions } from '../demo/season.js';
import { startSimulatedRacingApi } from '../demo/simulator.js';

/** What the process is told in its only argument. */
export interface SimulatorSettings {
  season: SeasonOptions;
  username: string;
  password: string;
  /** Every such call is answered with 500. */
  failEvery: number;
}

/** A call as it arrived: when, in milliseconds of a clock of its own, and for what. */
export interface Arrival {
  at: number;
  path: string;
}

const { season, failEvery, ...account }: SimulatorSettings = JSON.parse(process.argv[2] ?? '');
const requestsPerSecond = Number.POSITIVE_INFINITY;
const api = await startSimulatedRacingApi({ season: makeSeason(season), ...account, requestsPerSecond });
api.options.intercept = (call, response, next) =>
  call.number % failEvery === 0 ? void response.writeHead(500).end() : next();
process.on('message', () => process.send?.(api.calls.map(({ at, path }): Arrival => ({ at, path }))));
process.on('disconnect', () => process.exit());
process.send?.(api.url);
