import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFileLock, readLockHolder } from '../src/files/file-lock.js';

const deadPid = spawnSync(process.execPath, ['-e', '']).pid;

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lock-'));
  path = join(folder, 'run.lock');
});
afterEach(() => rmSync(folder, { recursive: true }));

const held = () => JSON.parse(readFileSync(path, 'utf8'));

/** Makes the lock file as old as that. */
function age(seconds: number): void {
  const then = Date.now() / 1000 - seconds;
  utimesSync(path, then, then);
}

describe('a lock', () => {
  it('is held by the first, and the second is told by whom', () => {
    const [first, second] = [createFileLock(path), createFileLock(path)];
    expect(first.tryAcquire({ since: 'now' })).toBeUndefined();
    expect(second.tryAcquire()).toMatchObject({ pid: process.pid, since: 'now' });
    expect([first.isOurs(), second.isOurs()]).toEqual([true, false]);
    expect(readLockHolder(path)).toMatchObject({ pid: process.pid, since: 'now' });
  });

  it('is free after its release, which only its holder can do', () => {
    const [first, second] = [createFileLock(path), createFileLock(path)];
    first.tryAcquire();
    second.release();
    expect(first.isOurs()).toBe(true);
    first.release();
    expect(readLockHolder(path)).toBeUndefined();
    expect(second.tryAcquire()).toBeUndefined();
    first.release();
    expect(second.isOurs()).toBe(true);
    second.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('stays ours when its note is updated, and only then', () => {
    const [first, second] = [createFileLock(path), createFileLock(path)];
    first.tryAcquire({ done: 0 });
    first.update({ done: 17 });
    second.update({ done: 99 });
    expect(first.isOurs()).toBe(true);
    expect(held()).toMatchObject({ done: 17, pid: process.pid });
    expect(second.tryAcquire()).toMatchObject({ done: 17 });
    expect(readdirSync(folder)).toEqual(['run.lock']);
    first.release();
    first.update({ done: 18 });
    expect(existsSync(path)).toBe(false);
  });

  it('of a folder that does not exist throws', () => {
    expect(() => createFileLock(join(folder, 'missing', 'run.lock')).tryAcquire()).toThrow(/ENOENT/);
    expect(readLockHolder(join(folder, 'missing', 'run.lock'))).toBeUndefined();
  });
});

describe('the lock of another process', () => {
  let other: ChildProcess;
  beforeEach(async () => {
    other = spawn('sleep', ['60']);
    await once(other, 'spawn');
  });
  afterEach(() => other.kill('SIGKILL'));

  /** A lock file that says that `pid` holds it. */
  function writeHolder(pid: number | undefined, process_start: string | null): void {
    writeFileSync(path, JSON.stringify({ token: 'of another', pid, process_start, done: 5 }));
  }

  it.runIf(process.platform === 'linux')(
    'is held while that lives, and free as soon as it is dead',
    async () => {
      // proc(5): starttime is the 22nd field.
      const start = readFileSync(`/proc/${other.pid}/stat`, 'utf8').split(' ')[21] ?? '';
      writeHolder(other.pid, start);
      expect(createFileLock(path).tryAcquire()).toMatchObject({ pid: other.pid, done: 5 });
      expect(readLockHolder(path)).toMatchObject({ done: 5 });
      other.kill('SIGKILL');
      await once(other, 'exit');
      expect(readLockHolder(path)).toBeUndefined();
      expect(createFileLock(path).tryAcquire()).toBeUndefined();
      expect(held()).toMatchObject({ pid: process.pid });
    },
  );

  it('is held while that lives, also if nobody knows when it started', () => {
    writeHolder(other.pid, null);
    expect(createFileLock(path).tryAcquire()).toMatchObject({ pid: other.pid });
  });

  it('is free when its pid is used again by one that started later', () => {
    writeHolder(other.pid, '1');
    expect(readLockHolder(path)).toBeUndefined();
    expect(createFileLock(path).tryAcquire()).toBeUndefined();
    expect(readdirSync(folder)).toEqual(['run.lock']);
  });

  it('is free when there is no process of its pid', () => {
    writeHolder(deadPid, null);
    expect(readLockHolder(path)).toBeUndefined();
    expect(createFileLock(path).tryAcquire()).toBeUndefined();
  });

  it.runIf(process.platform === 'linux')(
    'is free when that is dead and its parent does not care',
    async () => {
      // The second sleep, which takes the shell's place, never asks for the end of the first one.
      const careless = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60']);
      try {
        const zombie = Number(String((await once(careless.stdout, 'data'))[0]));
        const nameOf = (pid: number | undefined) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
        while (nameOf(careless.pid) !== 'sleep') await sleep(10);
        process.kill(zombie, 'SIGKILL');
        const fields = () => readFileSync(`/proc/${zombie}/stat`, 'utf8').split(' ');
        while (fields()[2] !== 'Z') await sleep(10);
        writeHolder(zombie, fields()[21] ?? '');
        expect(createFileLock(path).tryAcquire()).toBeUndefined();
      } finally {
        careless.kill('SIGKILL');
      }
    },
  );

  it('is free when it is stale, though that lives, which then does not release it', () => {
    const first = createFileLock(path, 5_000);
    first.tryAcquire();
    age(4);
    const second = createFileLock(path, 5_000);
    expect(second.tryAcquire()).toMatchObject({ pid: process.pid });
    age(6);
    expect(second.tryAcquire()).toBeUndefined();
    expect([first.isOurs(), second.isOurs()]).toEqual([false, true]);
    first.release();
    first.update({ done: 1 });
    expect(second.isOurs()).toBe(true);
  });

  it('is never stale without a limit', () => {
    createFileLock(path).tryAcquire();
    age(1_000_000);
    expect(createFileLock(path).tryAcquire()).toMatchObject({ pid: process.pid });
  });
});

it.each(['', '{"token": "torn', 'null', '17', '{"pid": 1}', '{"token": "t", "pid": "1"}'])(
  'a lock file that holds %j is held while it is fresh, and free when it stays so',
  (content) => {
    writeFileSync(path, content);
    expect(createFileLock(path).tryAcquire()).toBeDefined();
    expect(readFileSync(path, 'utf8')).toBe(content);
    expect(readLockHolder(path)).toBeUndefined();
    age(60);
    expect(createFileLock(path).tryAcquire()).toBeUndefined();
    expect(held()).toMatchObject({ pid: process.pid });
  },
);

describe('processes that race', () => {
  const source = new URL('../src/files/file-lock.ts', import.meta.url);
  const script = `
    import { createFileLock } from ${JSON.stringify(source)};
    process.on('message', ({ path, at }) => {
      const lock = createFileLock(path);
      while (Date.now() < at);
      process.send(lock.tryAcquire() === undefined);
    });
    process.send('ready');`;
  // Rare faults show in more races: LOCK_RACES=4000 takes a minute and a half.
  const rounds = Number(process.env.LOCK_RACES ?? 250);

  it.each([2, 3])(
    'for a dead lock: exactly one of %i wins',
    { timeout: 60_000 + 50 * rounds },
    async (count) => {
      const racers = Array.from({ length: count }, () =>
        spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
          cwd: fileURLToPath(new URL('..', import.meta.url)),
          stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        }),
      );
      try {
        await Promise.all(racers.map((racer) => once(racer, 'message')));
        const winners: number[] = [];
        for (let round = 0; round < rounds; round += 1) {
          const raced = join(folder, `${round}.lock`);
          writeFileSync(raced, JSON.stringify({ token: 'dead', pid: deadPid, process_start: '1' }));
          const answers = Promise.all(racers.map(async (racer) => (await once(racer, 'message'))[0]));
          for (const racer of racers) racer.send({ path: raced, at: Date.now() + 4 });
          winners.push((await answers).filter((won) => won === true).length);
        }
        expect(winners.filter((number) => number !== 1)).toEqual([]);
        expect(readdirSync(folder)).toHaveLength(rounds);
      } finally {
        for (const racer of racers) racer.kill('SIGKILL');
      }
    },
  );
});
