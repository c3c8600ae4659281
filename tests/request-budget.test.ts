import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { exitCodes } from '../src/errors.js';
import { createFileLock } from '../src/files/locks.js';
import { shareRequestBudget } from '../src/files/request-budget.js';

const { signal } = new AbortController();
const requestsPerSecond = 20;

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
const leaveAtOnce = () => ({ left: Promise.resolve() });

interface Noted {
  leftAtMs: number[];
  dueAtMs: number;
  refusedAtMs: number | null;
  spacingMs: number;
  pausedUntilMs: number;
}
const noted = (): Noted => JSON.parse(readFileSync(statePath, 'utf8'));
const note = (state: Partial<Noted>) =>
  writeFileSync(
    statePath,
    JSON.stringify({ leftAtMs: [], dueAtMs: 0, refusedAtMs: null, spacingMs: 0, pausedUntilMs: 0, ...state }),
  );

/** Returns when each request left, as the budget noted it for others. */
async function takes(budget: ReturnType<typeof openBudget>, count: number, lefts: number[] = []): Promise<number[]> {
  for (let take = 0; take < count; take += 1) {
    const askedAtMs = nowMs();
    await budget.takeTurn(leaveAtOnce, 0, signal);
    const leftAtMs = noted().leftAtMs.at(-1) ?? 0;
    expect(leftAtMs).toBeGreaterThanOrEqual(askedAtMs);
    expect(leftAtMs).toBeLessThanOrEqual(nowMs());
    lefts.push(leftAtMs);
  }
  return lefts;
}

/** Fails if more than `rate` left in any second. */
function expectRate(lefts: number[], count: number, rate = requestsPerSecond): void {
  expect(lefts).toHaveLength(count);
  const spans = lefts.slice(rate).map((at, index) => at - (lefts[index] ?? 0));
  expect(Math.min(...spans)).toBeGreaterThanOrEqual(1000);
}

describe('requests leave', () => {
  it('the first at once, then so many a second', async () => {
    await takes(openBudget(0.01), 1);
    rmSync(statePath);
    expectRate(await takes(openBudget(), 23), 23);
  });

  it('by the rate of all budgets of one folder, and each gets its share', async () => {
    const lefts: number[] = [];
    const takeShare = async () => {
      const budget = openBudget(9);
      let share = 0;
      for (; lefts.length < 14; share += 1) await takes(budget, 1, lefts);
      return share;
    };
    const shares = await Promise.all([takeShare(), takeShare(), takeShare()]);
    expectRate(lefts, lefts.length, 9);
    expect(Math.min(...shares)).toBeGreaterThanOrEqual(2);
  });

  it('when several are asked for at once', async () => {
    const budget = openBudget(4);
    const lefts: number[] = [];
    await Promise.all([1, 2, 3].map(() => takes(budget, 2, lefts)));
    expectRate(lefts, 6, 4);
  });

  it('evenly, also the first of them', async () => {
    const startMs = nowMs();
    const lefts = await takes(openBudget(10), 5);
    const gaps = lefts.slice(1).map((at, index) => at - (lefts[index] ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(50);
    // Where the first leaves late, those after it keep to their turns.
    expect((lefts.at(-1) ?? 0) - startMs).toBeGreaterThanOrEqual(4 * 100 - 50);
  });

  it('by the rate of the one that comes later', async () => {
    const lefts = await takes(openBudget(500), 1);
    const [first = 0, second = 0] = await takes(openBudget(1), 1, lefts);
    expect(second - first).toBeGreaterThanOrEqual(1000);
  });

  // It may come too late on a busy machine.
  it('sooner after one that left late, but no more in a second', { retry: 3 }, async () => {
    // Due 500 ms after the first, the second left 30 ms late.
    const startMs = nowMs();
    note({ leftAtMs: [startMs - 530, startMs], dueAtMs: startMs - 30 });
    const [third = 0] = await takes(openBudget(2), 1);
    expect(third - startMs).toBeGreaterThanOrEqual(470);
    expect(third - startMs).toBeLessThan(500);
  });

  it('one at a time: the next one is due by when the bytes have left', async () => {
    const [one, other] = [openBudget(4), openBudget(4)];
    let leave = () => {};
    const left = new Promise<void>((resolve) => (leave = resolve));
    const first = one.takeTurn(() => ({ left }), 0, signal);
    const starts: number[] = [];
    const second = other.takeTurn(
      () => {
        starts.push(nowMs());
        return leaveAtOnce();
      },
      0,
      signal,
    );
    await sleep(400);
    expect(starts).toEqual([]);
    leave();
    await Promise.all([first, second]);
    expect((starts[0] ?? 0) - (noted().leftAtMs[0] ?? 0)).toBeGreaterThanOrEqual(200);
  });

  it('or do not: what did not start is not noted', async () => {
    expect(await openBudget().takeTurn(() => undefined, 0, signal)).toBeUndefined();
    expect(noted().leftAtMs).toEqual([]);
    expect(existsSync(lockPath)).toBe(false);
  });
});

describe('a refusal', () => {
  const allowed = (rate = 2) => openBudget(rate).allowedPerSecond();

  it('pauses all processes, for long only the one that was told to', async () => {
    await openBudget().refused(300, signal);
    const pausedAtMs = nowMs();
    const [first = 0] = await takes(openBudget(), 1);
    expect(first - pausedAtMs).toBeGreaterThanOrEqual(290);
    await openBudget().refused(3_600_000, signal);
    expect(noted().pausedUntilMs - nowMs()).toBeLessThanOrEqual(5_000);
  });

  it('widens the spacing by a tenth if another came within a minute before', async () => {
    for (const expected of [2, 2 / 1.1, 2 / 1.21]) {
      await openBudget(2).refused(0, signal);
      expect(allowed()).toBeCloseTo(expected);
    }
    note({ ...noted(), refusedAtMs: nowMs() - 60_001 });
    await openBudget(2).refused(0, signal);
    expect(allowed()).toBeCloseTo(2 / 1.21 / 0.98);
  });

  it.each([
    [9, 216],
    [11, 200],
  ])(
    '%i minutes ago gives requests that arrive unevenly by 80 ms a spacing of at least %i ms',
    async (minutes, leastMs) => {
      note({ leftAtMs: [nowMs()], dueAtMs: nowMs(), refusedAtMs: nowMs() - minutes * 60_000 });
      await openBudget(5).takeTurn(leaveAtOnce, 80, signal);
      const [first = 0, second = 0] = noted().leftAtMs;
      expect(second - first).toBeGreaterThanOrEqual(leastMs);
      expect(noted().dueAtMs - first).toBeLessThan(leastMs + 10);
    },
  );

  it('teaches nothing about the rate when it is the first: another process may ask faster', async () => {
    await openBudget(2).refused(0, signal);
    expect(allowed(5)).toBeCloseTo(5);
    await openBudget(2).refused(0, signal);
    expect(allowed(5)).toBeCloseTo(2 / 1.1);
  });

  it.each([
    [59_000, 1.25],
    [61_000, 1.25 / 0.98],
    [121_000, 1.25 / 0.98 ** 2],
    [3_600_000, 2],
  ])('%i ms ago, the spacing is a fiftieth narrower for each minute, down to the rate', (agoMs, expected) => {
    note({ refusedAtMs: nowMs() - agoMs, spacingMs: 800 * 1.005 });
    expect(allowed()).toBeCloseTo(expected);
    expect(allowed(0.5)).toBeCloseTo(0.5);
  });

  it('counts for the requests of all processes', async () => {
    note({ leftAtMs: [nowMs()], dueAtMs: nowMs(), refusedAtMs: nowMs(), spacingMs: 300 });
    const [first = 0] = await takes(openBudget(500), 1);
    expect(first - (noted().leftAtMs[0] ?? 0)).toBeGreaterThanOrEqual(250);
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

  // The clock begins anew when the machine does.
  const farAhead = '{"leftAtMs": [], "dueAtMs": 1e15, "refusedAtMs": null, "spacingMs": 0, "pausedUntilMs": 0}';
  const future = '{"leftAtMs": [1e15], "dueAtMs": 1e15, "refusedAtMs": 1e15, "spacingMs": 9000, "pausedUntilMs": 1e15}';
  it.each(['', 'torn', '\u0000\u0000', '1e15', future, farAhead])(
    'counts as a request that starts now when it is %j',
    async (state) => {
      writeFileSync(statePath, state);
      const [first = 0, second = 0] = await takes(openBudget(5), 1, [nowMs()]);
      expect(second - first).toBeGreaterThanOrEqual(180);
    },
  );
});

describe('a stop', () => {
  it('books no turn', async () => {
    const budget = openBudget(0.1);
    await expect(budget.takeTurn(leaveAtOnce, 0, AbortSignal.abort(new Error('Stopped')))).rejects.toThrow('Stopped');
    expect(existsSync(statePath)).toBe(false);
  });

  it('ends the wait for the next start, and leaves the lock to others', async () => {
    const slow = openBudget(0.1);
    await slow.takeTurn(leaveAtOnce, 0, signal);
    const before = noted().leftAtMs;
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error('Stopped')), 100);
    await expect(slow.takeTurn(leaveAtOnce, 0, stop.signal)).rejects.toThrow('Stopped');
    expect(existsSync(lockPath)).toBe(false);
    expect(noted().leftAtMs).toEqual(before);
  });

  it('ends the wait for the lock of another', async () => {
    const other = createFileLock(lockPath);
    other.tryAcquire();
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error('Stopped')), 100);
    await expect(openBudget(0.1).takeTurn(leaveAtOnce, 0, stop.signal)).rejects.toThrow('Stopped');
    expect(other.isOurs()).toBe(true);
  });
});

it.each([
  ['is missing', () => rmSync(folder, { recursive: true })],
  ['cannot be written', () => mkdirSync(statePath)],
])('a folder that %s ends the run with the exit code for files', async (_, spoil) => {
  const budget = openBudget();
  spoil();
  await expect(budget.takeTurn(leaveAtOnce, 0, signal)).rejects.toMatchObject({ exitCode: exitCodes.filesUnusable });
});
