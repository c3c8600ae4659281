import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

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
