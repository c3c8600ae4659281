import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createFileLock, lockTypes, readLockHolder } from '../src/files/locks.js';
import { jockeys } from './faults.js';
import { ownFolder, until } from './watching.js';

const onLinux = process.platform === 'linux';
const deadPid = spawnSync(process.execPath, ['-e', '']).pid;

const folder = ownFolder();
let path: string;
beforeEach(() => {
  path = folder('run.lock');
});

/** Makes the lock file, or the one beside it, as old as that; older than 0 is from the future. */
function age(seconds: number, file = path): void {
  const then = Date.now() / 1000 - seconds;
  utimesSync(file, then, then);
}

/** A lock file that says that `pid` holds it. */
function writeHolder(pid: number | undefined, process_start: string | null | undefined): void {
  writeFileSync(path, JSON.stringify({ token: 'of another', pid, process_start, done: 5 }));
}

/** Fails unless a new lock can be had, which leaves no other file behind. */
function expectFree(): void {
  expect(readLockHolder(path)).toBeUndefined();
  expect(createFileLock(path).tryAcquire()).toBeUndefined();
  expect(readLockHolder(path)).toMatchObject({ pid: process.pid });
  expect(readdirSync(folder())).toEqual(['run.lock']);
}

describe('a lock', () => {
  it('is held by the first, and the second is told by whom, until that releases it', () => {
    const [first, second] = [createFileLock(path), createFileLock(path)];
    expect(first.tryAcquire({ since: 'now' })).toBeUndefined();
    expect(second.tryAcquire()).toMatchObject({ pid: process.pid, since: 'now' });
    expect(readLockHolder(path)).toMatchObject({ pid: process.pid, since: 'now' });
    second.release();
    expect([first.isOurs(), second.isOurs()]).toEqual([true, false]);
    first.release();
    expect(readLockHolder(path)).toBeUndefined();
    expect(second.tryAcquire()).toBeUndefined();
    first.release();
    expect(second.isOurs()).toBe(true);
    second.release();
    expect(readdirSync(folder())).toEqual([]);
  });

  it('stays its holder’s when the note is updated, which nobody else can do', () => {
    const [first, second] = [createFileLock(path), createFileLock(path)];
    first.tryAcquire({ done: 0 });
    first.update({ done: 17 });
    second.update({ done: 99 });
    expect(first.isOurs()).toBe(true);
    expect(second.tryAcquire()).toMatchObject({ done: 17, pid: process.pid });
    expect(readdirSync(folder())).toEqual(['run.lock']);
    first.release();
    first.update({ done: 18 });
    expect(readdirSync(folder())).toEqual([]);
  });

  it('of a folder that does not exist throws', () => {
    const missing = folder('missing/run.lock');
    expect(() => createFileLock(missing).tryAcquire()).toThrow(/ENOENT/);
    expect(readLockHolder(missing)).toBeUndefined();
  });

  it('is taken over when it is stale, though its holder lives, who then does not release it', () => {
    const [first, second] = [createFileLock(path, 5_000), createFileLock(path, 5_000)];
    first.tryAcquire();
    age(4);
    expect(second.tryAcquire()).toMatchObject({ pid: process.pid });
    age(6);
    // Without a limit it is never stale.
    expect(createFileLock(path).tryAcquire()).toMatchObject({ pid: process.pid });
    expect(second.tryAcquire()).toBeUndefined();
    expect([first.isOurs(), second.isOurs()]).toEqual([false, true]);
    first.release();
    first.update({ done: 1 });
    expect(second.isOurs()).toBe(true);
  });

  it('is had in spite of a process that died while it cleared the lock of a dead one', async () => {
    writeHolder(deadPid, null);
    writeFileSync(`${path}.clearing`, '');
    age(60, `${path}.clearing`);
    expectFree();
  });
});

describe('the lock of another process', () => {
  let other: ChildProcess;
  beforeEach(async () => {
    other = spawn('sleep', ['60']);
    await once(other, 'spawn');
  });
  afterEach(() => other.kill('SIGKILL'));

  /** proc(5): state is the 3rd field, starttime the 22nd. */
  const processField = (pid: number | undefined, number: number) =>
    readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[number - 1];

  it.runIf(onLinux)('is held while that lives, and free as soon as it is dead', async () => {
    writeHolder(other.pid, processField(other.pid, 22));
    expect(createFileLock(path).tryAcquire()).toMatchObject({ pid: other.pid, done: 5 });
    expect(readLockHolder(path)).toMatchObject({ done: 5 });
    other.kill('SIGKILL');
    await once(other, 'exit');
    expectFree();
  });

  it('is held if nobody knows when that started, and free if its pid was used before it started', () => {
    writeHolder(other.pid, null);
    expect(createFileLock(path).tryAcquire()).toMatchObject({ pid: other.pid });
    writeHolder(other.pid, '1');
    expectFree();
  });

  it.runIf(onLinux)('is free when that is dead and its parent does not care', async () => {
    // The second sleep, which takes the shell's place, never asks for the end of the first one.
    const careless = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60']);
    try {
      const zombie = Number(String((await once(careless.stdout, 'data'))[0]));
      const nameOf = (pid: number | undefined) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
      await until('the second sleep', () => nameOf(careless.pid) === 'sleep');
      process.kill(zombie, 'SIGKILL');
      await until('a zombie', () => processField(zombie, 3) === 'Z');
      writeHolder(zombie, processField(zombie, 22));
      expectFree();
    } finally {
      careless.kill('SIGKILL');
    }
  });
});

it('the lock of another user’s process, which may not be asked for a sign of life, is held', () => {
  writeHolder(process.pid, null);
  const spy = vi.spyOn(process, 'kill').mockImplementation(() => {
    throw Object.assign(new Error('kill EPERM'), { code: 'EPERM' });
  });
  onTestFinished(() => spy.mockRestore());
  expect(createFileLock(path).tryAcquire()).toMatchObject({ pid: process.pid });
});

// In one language and time zone, whoever asks.
const inAllWords = `C UTC -o lstart= -p ${process.pid}`;
it.each([
  ['echo " $LC_ALL $TZ $* "', inAllWords, '1', false],
  ['echo " $LC_ALL $TZ $* "', inAllWords, inAllWords, true],
  ['echo', null, '1', true],
  ['exit 1', null, '1', true],
])('without /proc, where ps does %j, a process started at %j, and one of %j is held: %j', (ps, start, other, held) => {
  writeFileSync(folder('ps'), `#!/bin/sh\n${ps}\n`, { mode: 0o755 });
  for (const [name, value] of Object.entries({ PATH: folder(), LC_ALL: 'xx', TZ: 'xx' })) vi.stubEnv(name, value);
  vi.stubGlobal('process', Object.create(process, { platform: { value: 'elsewhere' } }));
  onTestFinished(() => {
    vi.unstubAllGlobals();
    vi.unstubAllEnvs();
  });
  createFileLock(path).tryAcquire();
  expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ pid: process.pid, process_start: start });
  writeHolder(process.pid, other);
  expect(readLockHolder(path) !== undefined).toBe(held);
});

it.each(['', '{"token": "torn', '{"pid": 1}'])(
  'a lock file that holds %j is held while it is fresh, and free when it stays so',
  (content) => {
    for (const seconds of [0, -1]) {
      writeFileSync(path, content);
      age(seconds);
      expect(createFileLock(path).tryAcquire()).toEqual({ token: '', pid: 0, process_start: null });
      expect(createFileLock(path).isOurs()).toBe(false);
      expect(readFileSync(path, 'utf8')).toBe(content);
    }
    // From the future: written before the clock was set back.
    for (const seconds of [60, -60]) {
      writeFileSync(path, content);
      age(seconds);
      expectFree();
    }
  },
);

// Rare faults show in more races: LOCK_RACES=4000 takes a minute.
const rounds = Number(process.env.LOCK_RACES ?? 250);
const racer = `
  import { createFileLock } from ${JSON.stringify(new URL('../src/files/locks.ts', import.meta.url))};
  process.on('message', ({ path, at }) => {
    const lock = createFileLock(path);
    while (Date.now() < at);
    process.send(lock.tryAcquire() === undefined);
  });
  process.send('ready');`;

it('of three processes that race for a dead lock exactly one wins', { timeout: 60_000 + 50 * rounds }, async () => {
  const racers = Array.from({ length: 3 }, () =>
    spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', racer], {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    }),
  );
  const answersOfAll = () => Promise.all(racers.map(async (one) => (await once(one, 'message'))[0]));
  try {
    await answersOfAll();
    const winners: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const raced = folder(`${round}.lock`);
      writeFileSync(raced, JSON.stringify({ token: 'dead', pid: deadPid, process_start: '1' }));
      const answers = answersOfAll();
      for (const one of racers) one.send({ path: raced, at: Date.now() + 4 });
      winners.push((await answers).filter((won) => won === true).length);
    }
    expect(winners.filter((number) => number !== 1)).toEqual([]);
    expect(readdirSync(folder())).toHaveLength(rounds);
  } finally {
    for (const one of racers) one.kill('SIGKILL');
  }
});

describe.runIf(onLinux)('a lock of another pid namespace', () => {
  const foreign = (ageS: number) => {
    const holder = { token: 'of another', pid: deadPid, process_start: '1', pid_namespace: 'pid:[1]' };
    writeFileSync(path, JSON.stringify(holder));
    age(ageS);
  };

  it.each([0, 59])('is held for a minute after its last sign of life, though its pid is nobody here: %i s', (ageS) => {
    foreign(ageS);
    expect(createFileLock(path).tryAcquire()).toMatchObject({ pid_namespace: 'pid:[1]' });
    expect(readLockHolder(path)).toMatchObject({ token: 'of another' });
  });

  it('is free after a minute without one, and sooner where that was asked for', () => {
    foreign(61);
    expectFree();
    foreign(6);
    expect(createFileLock(path, 5_000).tryAcquire()).toBeUndefined();
  });
});

it('a run gives signs of life in its lock', () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const { release } = lockTypes(folder(), [jockeys], new Date().toISOString());
  const lock = folder('run_jockeys.lock');
  utimesSync(lock, 0, 0);
  vi.advanceTimersByTime(10_000);
  expect(statSync(lock).mtimeMs).toBeGreaterThan(0);
  release();
  expect(readdirSync(folder())).toEqual([]);
});
