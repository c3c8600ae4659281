import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { exitCodes } from '../src/errors.js';
import { createFileLock } from '../src/files/file-lock.js';
import { shareRequestBudget } from '../src/files/request-budget.js';

const { signal } = new AbortController();
const requestsPerSecond = 20;
const intervalMs = 1000 / requestsPerSecond;

let folder: string;
let statePath: string;
let lockPath: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'budget-'));
  statePath = join(folder, 'request_budget');
  lockPath = `${statePath}.lock`;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const nowMs = () => Number(process.hrtime.bigint()) / 1e6;
const openBudget = (rate = requestsPerSecond) => shareRequestBudget(folder, rate);

/** Returns when each request started, as the budget noted it for others. */
async function takes(budget: ReturnType<typeof openBudget>, count: number, starts: number[] = []): Promise<number[]> {
  for (let take = 0; take < count; take += 1) {
    const askedAtMs = nowMs();
    await budget(signal);
    const startedAtMs = Number(readFileSync(statePath, 'utf8'));
    expect(startedAtMs).toBeGreaterThanOrEqual(askedAtMs);
    expect(startedAtMs).toBeLessThanOrEqual(nowMs());
    starts.push(startedAtMs);
  }
  return starts;
}

function expectSpaced(starts: number[], count: number, spaceMs = intervalMs): void {
  expect(starts).toHaveLength(count);
  const spaces = starts.slice(1).map((at, index) => at - (starts[index] ?? 0));
  expect(Math.min(...spaces)).toBeGreaterThanOrEqual(spaceMs);
}

describe('the starts of requests are spaced', () => {
  it('evenly, and the first one comes at once', async () => {
    await takes(openBudget(0.01), 1);
    rmSync(statePath);
    expectSpaced(await takes(openBudget(), 8), 8);
  });

  it('over all budgets of one folder, and each gets its share', async () => {
    const starts: number[] = [];
    const takeShare = async () => {
      const budget = openBudget(9);
      let share = 0;
      for (; starts.length < 12; share += 1) await takes(budget, 1, starts);
      return share;
    };
    const shares = await Promise.all([takeShare(), takeShare(), takeShare()]);
    expectSpaced(starts, starts.length, 1000 / 9);
    expect(Math.min(...shares)).toBeGreaterThanOrEqual(2);
  });

  it('when several are asked for at once', async () => {
    const budget = openBudget();
    const starts: number[] = [];
    await Promise.all([1, 2, 3, 4].map(() => takes(budget, 2, starts)));
    expectSpaced(starts, 8);
  });

  it('by the rate of the one that comes later', async () => {
    const starts = await takes(openBudget(500), 1);
    expectSpaced(await takes(openBudget(4), 1, starts), 2, 250);
  });
});

describe('what an earlier process left', () => {
  it('is no obstacle when it died while it held the lock', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    writeFileSync(lockPath, JSON.stringify({ token: 'dead', pid, process_start: '1' }));
    await takes(openBudget(), 2);
    expect(existsSync(lockPath)).toBe(false);
  });

  it('is no obstacle for long when it was stopped while it held the lock', async () => {
    createFileLock(lockPath).tryAcquire();
    const then = Date.now() / 1000 - 10;
    utimesSync(lockPath, then, then);
    await takes(openBudget(), 1);
  });

  // The clock begins anew when the machine does: an interval is the longest wait.
  it.each(['', 'torn', '\u0000\u0000', '1e15'])('counts as a request that starts now when it is %j', async (state) => {
    writeFileSync(statePath, state);
    expectSpaced(await takes(openBudget(), 2, [nowMs()]), 3);
  });
});

describe('a stop', () => {
  it('ends the wait for the next start, and leaves the lock to others', async () => {
    const slow = openBudget(0.1);
    await slow(signal);
    const before = readFileSync(statePath, 'utf8');
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error('Stopped')), 100);
    await expect(slow(stop.signal)).rejects.toThrow('Stopped');
    expect(existsSync(lockPath)).toBe(false);
    expect(readFileSync(statePath, 'utf8')).toBe(before);
  });

  it('ends the wait for the lock of another', async () => {
    const other = createFileLock(lockPath);
    other.tryAcquire();
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error('Stopped')), 100);
    await expect(openBudget(0.1)(stop.signal)).rejects.toThrow('Stopped');
    expect(other.isOurs()).toBe(true);
  });
});

it.each([
  ['is missing', () => rmSync(folder, { recursive: true })],
  ['cannot be written', () => mkdirSync(statePath)],
])('a folder that %s ends the run with the exit code for files', async (_, spoil) => {
  const budget = openBudget();
  spoil();
  await expect(budget(signal)).rejects.toMatchObject({ exitCode: exitCodes.filesUnusable });
});
