// The database with all entities, in a process of its own.
import { seedEntities, startEmbeddedDatabase } from '../demo/database.js';
import { startPostgrest } from '../tests/postgrest.js';
import { makeWorldSeason } from './season.js';
import { startSlowNetwork } from './slow-network.js';
import type { WorldOptions } from './world.js';

const { engine, scale, databaseNetwork }: WorldOptions = JSON.parse(process.argv[2] ?? '{}');
const database = await (engine === 'PostgREST' ? startPostgrest() : startEmbeddedDatabase());
await seedEntities(database, makeWorldSeason(scale));

process.on('message', async (sql: string) => process.send?.(await database.query(sql)));
process.on('disconnect', async () => {
  await database.close();
  process.exit();
});

process.send?.({
  SUPABASE_URL: databaseNetwork ? await startSlowNetwork(database.url, databaseNetwork) : database.url,
  SUPABASE_SERVICE_KEY: database.serviceKey,
});
