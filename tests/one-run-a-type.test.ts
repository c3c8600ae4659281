import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { latestReport, until } from './watching.js';
import { type RunningCommand, startWorld, type World } from './world.js';

let world: World;

beforeAll(async () => {
  world = await startWorld({ season: { jockeys: 40, trainers: 20, owners: 20, races: 60 } });
});
beforeEach(() => world.reset());
afterAll(() => world.close());

const walk = (...types: string[]) => ['--entities', ...types, '--strategy', 'walk', '--rate', '100'];
const lockPath = () => join(world.folder, 'logs', 'run_jockeys.lock');

/** No answer comes until the returned function is called. */
function holdAnswers(): () => void {
  const { options } = world.api;
  const held: (() => Promise<void>)[] = [];
  options.intercept = (_call, _response, next) => void held.push(next);
  return () => {
    options.intercept = undefined;
    for (const next of held) void next();
  };
}

/** A run that waits for its first answer. */
async function startWaiting(...types: string[]): Promise<{ running: RunningCommand; release: () => void }> {
  const release = holdAnswers();
  const running = world.start(walk(...types));
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
  it('a second one for its type ends with code 11, names it and asks the API nothing', async () => {
    const { running, release } = await startWaiting('jockeys');
    const second = await world.run(walk('jockeys', 'owners'));
    expect(second.code).toBe(11);
    expect(second.stderr).toMatch(
      new RegExp(`jockeys: pid ${running.child.pid}, since 20\\d\\d-\\d\\d-\\d\\dT[\\d:.]+Z, .*\\d+ of \\d+`),
    );
    expect(world.api.calls).toHaveLength(1);
    // It has let go of the other type.
    const third = world.run(walk('owners'));
    await until('the call of another type', () => world.api.calls.length > 1);
    release();
    expect((await third).code).toBe(0);
    expect((await running.ended).code).toBe(0);
  });

  it('the second one tells how far the first is', async () => {
    const running = world.start(['--entities', 'jockeys', '--strategy', 'walk', '--rate', '8']);
    await until('some calls', () => world.api.calls.length >= 25);
    const second = await world.run(walk('jockeys'));
    const [, phase, done] = /, (walking jockeys) (\d+) of 40/.exec(second.stderr) ?? [];
    expect(phase).toBe('walking jockeys');
    expect(Number(done)).toBeGreaterThan(0);
    expect((await running.ended).code).toBe(0);
  });

  it('--dry-run and verify work, and change no file but their report (and the budget file of verify)', async () => {
    await world.run(['--all', '--strategy', 'sweep', '--rate', '1000']);
    const release = holdAnswers();
    // Without progress meanwhile the run itself changes no file.
    const running = world.start(['--all', '--strategy', 'sweep', '--rate', '1000']);
    const before = world.api.calls.length;
    await until('its first call', () => world.api.calls.length > before);
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

  it.each([
    { args: ['--all', '--dry-run'], left: [] },
    { args: ['verify', '--sample', '5', '--rate', '1000'], left: ['request_budget'] },
  ])('$args.0 works in an empty directory and leaves nothing but its report', async ({ args, left }) => {
    await world.runHere({ strategy: 'sweep' });
    rmSync(join(world.folder, 'logs'), { recursive: true });
    expect(await world.run(args)).toMatchObject({ code: 0, stderr: '' });
    const found = readdirSync(join(world.folder, 'logs'));
    expect(found.filter((name) => !name.startsWith('statistics_population_report_'))).toEqual(left);
  });
});

describe('the lock of a run that is no more', () => {
  it('is free right after SIGKILL', async () => {
    const { running, release } = await startWaiting('jockeys');
    running.child.kill('SIGKILL');
    await running.ended;
    expect(readdirSync(join(world.folder, 'logs'))).toContain('run_jockeys.lock');
    release();
    expect((await world.run(walk('jockeys'))).code).toBe(0);
  });

  it('is free when its pid now belongs to another process', async () => {
    const { running, release } = await startWaiting('jockeys');
    running.child.kill('SIGKILL');
    await running.ended;
    release();
    const sleeper = spawn('sleep', ['60']);
    try {
      const lock = JSON.parse(readFileSync(lockPath(), 'utf8'));
      writeFileSync(lockPath(), JSON.stringify({ ...lock, pid: sleeper.pid }));
      expect((await world.run(walk('jockeys'))).code).toBe(0);
    } finally {
      sleeper.kill();
    }
  });

  it.each(['no lock', 'a dead lock', 'a torn lock'])(
    'of several starts at the same moment exactly one runs (%s before)',
    async (before) => {
      mkdirSync(join(world.folder, 'logs'));
      if (before === 'a dead lock')
        writeFileSync(lockPath(), '{"token":"dead","pid":4194000,"process_start":"1"}');
      if (before === 'a torn lock') writeFileSync(lockPath(), '{"tok');
      const release = holdAnswers();
      // A lock that cannot be read counts as held for an instant: it may just be being written.
      if (before === 'a torn lock') {
        expect((await world.run(walk('jockeys'))).code).toBe(11);
        utimesSync(lockPath(), 0, 0);
      }
      const starts = Array.from({ length: 4 }, () => world.start(walk('jockeys')));
      const codes: (number | null)[] = [];
      for (const { ended } of starts) void ended.then(({ code }) => codes.push(code));
      await until('all but one to end', () => codes.length >= 3 && world.api.calls.length > 0);
      expect(world.api.calls).toHaveLength(1);
      release();
      await Promise.all(starts.map(({ ended }) => ended));
      expect(codes).toEqual([11, 11, 11, 0]);
    },
  );
});
