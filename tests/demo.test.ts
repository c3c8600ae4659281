import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { busiestRows, seedEntities, startEmbeddedDatabase } from '../demo/database.js';
import { makeSeason } from '../demo/season.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The demo on the command that is built already. */
function demo(...args: string[]) {
  return spawnSync(process.execPath, ['--import', 'tsx', 'demo/demo.ts', ...args], { cwd: root, encoding: 'utf8' });
}

it.each([
  [['--help'], 0, 'Usage: populate-all-statistics', ''],
  [['help', 'status'], 0, 'Usage: populate-all-statistics status', ''],
  [['status'], 0, 'Files: ', ''],
  [['stauts'], 2, '', "error: unknown command 'stauts'. Did you mean status?"],
  [['--limit', '0'], 2, '', "error: option '--limit <n>'"],
])('%j ends with %i and starts nothing', (args, code, stdout, stderr) => {
  const ended = demo(...args);
  expect(ended.status).toBe(code);
  expect(ended.stdout).toContain(stdout);
  expect(ended.stderr).toContain(stderr);
  // It says so before it starts the database.
  expect(ended.stdout).not.toContain('Real here');
});

it('shows the busiest rows, and tells of the columns that there is room for', async () => {
  const database = await startEmbeddedDatabase();
  onTestFinished(() => database.close());
  await seedEntities(database, makeSeason({ today: '2026-07-01', jockeys: 40, trainers: 30, owners: 120, races: 1 }));
  expect(await busiestRows(database, 80)).toBe('');
  await database.query('update ra_jockeys set stats_updated_at = now(), recent_30d_rides = 8');
  const linesIn = async (columns: number) => (await busiestRows(database, columns)).split('\n');
  const told = async (columns: number) => (await linesIn(columns)).slice(5).join(' ');
  expect(await linesIn(80)).toHaveLength(6);
  expect(await told(80)).toBe('The busiest rows of each table; rides, wins, % won: of the last 30 days.');
  expect(await told(40)).toBe('The busiest rows of each table; rides, wins: of the last 30 days.');
  expect(await told(30)).toBe('The busiest rows of each table.');
});
