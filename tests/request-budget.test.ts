import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
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
afterEach(() => rmSync(folder, { recursive: true }));

const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

/** A start as the budget noted it, and as its caller saw it: never earlier. */
interface Start {
  notedAtMs: number;
  seenAtMs: number;
}

async function takes(
  budget: ReturnType<typeof shareRequestBudget>,
  count: number,
  starts: Start[] = [],
): Promise<Start[]> {
  for (let take = 0; take < count; take += 1) {
    const askedAtMs = nowMs();
    await budget(signal);
    const start = { notedAtMs: Number(readFileSync(statePath, 'utf8')), seenAtMs: nowMs() };
    expect(start.notedAtMs).toBeGreaterThanOrEqual(askedAtMs);
    starts.push(start);
  }
  return starts;
}

/** That each request was seen to start at least an interval after the one before was noted. */
function expectSpaced(starts: Start[], spaceMs = intervalMs): void {
  for (const [index, { notedAtMs }] of starts.entries()) {
    const next = starts[index + 1];
    if (next) expect(next.seenAtMs - notedAtMs).toBeGreaterThanOrEqual(spaceMs);
  }
}

describe('the starts of requests', () => {
  it('are spaced evenly, the first one at once included', async () => {
    const starts = await takes(shareRequestBudget(folder, requestsPerSecond), 8);
    expect(starts).toHaveLength(8);
    expectSpaced(starts);
  });

  it('are spaced over all budgets of one folder, and each gets its share', async () => {
    const starts: Start[] = [];
    const budgets = [1, 2, 3].map(() => shareRequestBudget(folder, requestsPerSecond));
    await Promise.all(budgets.map((budget) => takes(budget, 5, starts)));
    expect(starts).toHaveLength(15);
    expectSpaced(starts);
  });

  it('are spaced when several are asked for at once', async () => {
    const budget = shareRequestBudget(folder, requestsPerSecond);
    const starts: Start[] = [];
    await Promise.all([1, 2, 3, 4].map(() => takes(budget, 2, starts)));
    expectSpaced(starts);
  });

  it('are spaced by the rate of the one that comes later', async () => {
    const starts = await takes(shareRequestBudget(folder, 500), 1);
    await takes(shareRequestBudget(folder, 4), 1, starts);
    expectSpaced(starts, 250);
  });
});

describe('what an earlier process left', () => {
  it('is no obstacle when it died while it held the lock', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    writeFileSync(lockPath, JSON.stringify({ token: 'dead', pid, process_start: '1' }));
    await takes(shareRequestBudget(folder, requestsPerSecond), 2);
    expect(existsSync(lockPath)).toBe(false);
  });

  it('is no obstacle for long when it was stopped while it held the lock', async () => {
    createFileLock(lockPath).tryAcquire();
    const then = Date.now() / 1000 - 10;
    utimesSync(lockPath, then, then);
    await takes(shareRequestBudget(folder, requestsPerSecond), 1);
  });

  it.each(['', 'torn', '\u0000\u0000'])('counts as a request that starts now when it is %j', async (state) => {
    writeFileSync(statePath, state);
    const askedAtMs = nowMs();
    const [start] = await takes(shareRequestBudget(folder, requestsPerSecond), 1);
    expect((start?.seenAtMs ?? 0) - askedAtMs).toBeGreaterThanOrEqual(intervalMs);
  });

  it('delays by an interval at most when its clock was ahead of ours', async () => {
    writeFileSync(statePath, '1e15');
    const askedAtMs = nowMs();
    const starts = await takes(shareRequestBudget(folder, requestsPerSecond), 2);
    expect((starts[0]?.seenAtMs ?? 0) - askedAtMs).toBeGreaterThanOrEqual(intervalMs);
    expectSpaced(starts);
  });
});

describe('a stop', () => {
  it('ends the wait for the next start, and leaves the lock to others', async () => {
    const slow = shareRequestBudget(folder, 0.1);
    await slow(signal);
    const before = statSync(statePath).mtimeMs;
    const stop = new AbortController();
    const waiting = slow(stop.signal);
    setTimeout(() => stop.abort(new Error('Stopped')), 100);
    await expect(waiting).rejects.toThrow();
    expect(existsSync(lockPath)).toBe(false);
    expect(statSync(statePath).mtimeMs).toBe(before);
  });

  it('ends the wait for the lock of another', async () => {
    const other = createFileLock(lockPath);
    other.tryAcquire();
    const stop = new AbortController();
    const waiting = shareRequestBudget(folder, 0.1)(stop.signal);
    setTimeout(() => stop.abort(new Error('Stopped')), 100);
    await expect(waiting).rejects.toThrow();
    expect(other.isOurs()).toBe(true);
  });
});

it.each([
  ['is missing', () => rmSync(folder, { recursive: true })],
  ['cannot be written', () => mkdirSync(statePath)],
])('a folder that %s ends the run with the exit code for files', async (_, spoil) => {
  const budget = shareRequestBudget(folder, requestsPerSecond);
  spoil();
  await expect(budget(signal)).rejects.toMatchObject({ exitCode: exitCodes.filesUnusable });
  mkdirSync(folder, { recursive: true });
});
