import { existsSync, mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startTinyWorld } from './faults.js';
import { latestReport, until } from './watching.js';
import { type RunningCommand, sharedWorld } from './world.js';

const world = sharedWorld(startTinyWorld);

const walk = (...types: string[]) => ['--entities', ...types, '--strategy', 'walk', '--rate', '1000'];
const logs = (name = '') => join(world.folder, 'logs', name);
const lockPath = () => logs('run_jockeys.lock');

/** No answer comes until the returned function is called. */
function holdAnswers(): () => void {
  const held: (() => Promise<void>)[] = [];
  world.api.options.intercept = (_call, _response, next) => void held.push(next);
  return () => {
    world.api.options.intercept = undefined;
    for (const next of held) void next();
  };
}

/** A run that waits for its first answer. */
async function startWaiting(args = walk('jockeys')): Promise<{ running: RunningCommand; release: () => void }> {
  const release = holdAnswers();
  const running = world.start(args);
  await until('the first call', () => world.api.calls.length > 0);
  return { running, release };
}

/** The files of the working directory with their contents' times, the reports apart. */
function files(): string[] {
  return readdirSync(world.folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => !name.includes('statistics_population_report_') && name !== 'logs')
    .map((name) => `${name} ${statSync(join(world.folder, name)).mtimeMs}`)
    .sort();
}

describe('beside a run', () => {
  it('a second one for its type ends with code 11 and names it; one for other types works', async () => {
    const { running, release } = await startWaiting();
    const told = expect.stringMatching(`jockeys: pid ${running.child.pid}, began just now, [a-z ]+ \\d+ of [1-9]`);
    expect(await world.run(walk('owners', 'jockeys'))).toMatchObject({ code: 11, stderr: told });
    expect(world.api.calls).toHaveLength(1);
    // It has let go of the other type.
    const third = world.run(walk('owners'));
    await until('the call of another type', () => world.api.calls.length > 1);
    release();
    expect((await third).code).toBe(0);
    expect((await running.ended).code).toBe(0);
    expect(readdirSync(logs()).filter((name) => name.includes('run_'))).toEqual([]);
  });

  it('--dry-run and verify work, and change no file but their report (and the budget file of verify)', async () => {
    await world.runHere({ strategy: 'sweep' });
    world.api.calls.length = 0;
    // Without progress meanwhile the run itself changes no file.
    const { running, release } = await startWaiting(['--all', '--strategy', 'sweep', '--rate', '1000']);
    const isSelected = () => existsSync(logs('checkpoint_owners.json.previous'));
    const asksNoMore = () => world.api.calls.length === 2 && !existsSync(logs('request_budget.lock')) && isSelected();
    await until('its two requests', asksNoMore);
    const changeless = files();
    expect(await world.run(['--all', '--dry-run'])).toMatchObject({ code: 0 });
    expect(latestReport(world).mode).toBe('dry_run');
    expect(files()).toEqual(changeless);

    world.api.options.intercept = undefined;
    expect(await world.run(['verify', '--sample', '10', '--rate', '1000'])).toMatchObject({ code: 0 });
    const notBudget = (name: string) => !name.includes('request_budget');
    expect(files().filter(notBudget)).toEqual(changeless.filter(notBudget));
    release();
    expect((await running.ended).code).toBe(0);
  });
});

it.each([
  ['no lock', undefined],
  ['a torn lock', '{"tok'],
])('of several starts at the same moment exactly one runs (%s before)', async (_, lock) => {
  mkdirSync(logs());
  // A lock that cannot be read counts as held for an instant: it may just be being written.
  if (lock !== undefined) {
    writeFileSync(lockPath(), lock);
    const early = await world.run(walk('jockeys'));
    expect(early).toMatchObject({ code: 11, stderr: expect.stringContaining('just starting') });
    utimesSync(lockPath(), 0, 0);
  }
  const release = holdAnswers();
  const starts = Array.from({ length: 4 }, () => world.start(walk('jockeys')));
  const codes: (number | null)[] = [];
  for (const { ended } of starts) void ended.then(({ code }) => codes.push(code));
  await until('all but one to end', () => codes.length >= 3 && world.api.calls.length > 0);
  expect(world.api.calls).toHaveLength(1);
  release();
  await Promise.all(starts.map(({ ended }) => ended));
  expect(codes).toEqual([11, 11, 11, 0]);
});
