// The simulated Racing API and the embedded database, as the process that startWorld of world-process.ts starts.
import { seedEntities, startEmbeddedDatabase } from '../demo/database.js';
import { makeSeason, type Season } from '../demo/season.js';
import { startSimulatedRacingApi } from '../demo/simulator.js';
import { type Network, startSlowNetwork } from './slow-network.js';
import type { Answer, Calls, Question, Started, WorldOptions } from './world-process.js';

const { scale, requestsPerSecond, latencyMs, apiNetwork, databaseNetwork }: WorldOptions = JSON.parse(
  process.argv[2] ?? '{}',
);
const credentials = { username: 'bench', password: 'bench-password' };

const season = makeWorldSeason(new Date().toISOString().slice(0, 10));
const database = await startEmbeddedDatabase();
await seedEntities(database, season);
const api = await startSimulatedRacingApi({ season, ...credentials, requestsPerSecond, latencyMs });

/** The usual races, run by `scale` times as many entities: so any scale takes the same number of requests. */
function makeWorldSeason(today: string): Season {
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

let rejectedBefore = 0;
function takeCalls(): Calls {
  const calls = api.calls.splice(0);
  const rejected = api.rejected - rejectedBefore;
  rejectedBefore = api.rejected;
  return {
    arrivalsMs: calls.map(({ at }) => at),
    paths: calls.map(({ url }) => url.pathname + url.search),
    rejected,
  };
}

process.on('message', async (question: Question) => {
  const answer: Answer = question === 'calls' ? takeCalls() : await database.query(question.sql);
  process.send?.(answer);
});
process.on('disconnect', () => process.exit());

function through(network: Network | undefined, url: string): string | Promise<string> {
  return network === undefined ? url : startSlowNetwork(url, network);
}

const started: Started = {
  RACING_API_BASE_URL: await through(apiNetwork, api.url),
  RACING_API_USERNAME: credentials.username,
  RACING_API_PASSWORD: credentials.password,
  SUPABASE_URL: await through(databaseNetwork, database.url),
  SUPABASE_SERVICE_KEY: database.serviceKey,
};
process.send?.(started);
