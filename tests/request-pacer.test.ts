import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { exitCodes, FatalError } from '../src/errors.js';
import { shareRequestBudget } from '../src/files/request-budget.js';
import { createPace, type HttpAnswer, type Pace, type PaceOptions } from '../src/pace.js';

/** Lets everything run that waits for nothing but its turn. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

function answer(status: number, retryAfterMs?: number): HttpAnswer {
  return { status, retryAfterMs, body: '' };
}

/** A pacer whose time passes only in pauses, and requests that the test answers. */
class Exchange {
  readonly started: string[] = [];
  readonly ended: string[] = [];
  readonly lines: string[] = [];
  readonly stop = new AbortController();
  readonly pace: Pace;
  told = 0;
  nowMs = 0;
  private readonly answers = new Map<string, (outcome: HttpAnswer | Error) => void>();

  constructor(requestsPerSecond: number, takeTurn?: PaceOptions['takeTurn']) {
    this.pace = createPace({
      clock: () => this.nowMs,
      sleep: async (ms, signal) => {
        await new Promise((resolve) => setImmediate(resolve));
        signal.throwIfAborted();
        this.nowMs += ms;
      },
      tell: (event) => {
        if (event.kind === 'line') this.lines.push(event.line);
        if (event.kind === 'request') this.told += 1;
      },
      requestsPerSecond,
      takeTurn: takeTurn ?? (async (signal) => signal.throwIfAborted()),
      signal: this.stop.signal,
    });
  }

  /** Asks for a request; resolves with its status or its error's message. */
  request(name: string): Promise<number | string> {
    const exchange = this.pace.run(() => {
      this.started.push(name);
      return new Promise((resolve, reject) => {
        this.answers.set(name, (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome)));
      });
    });
    return exchange
      .then(
        ({ status }) => status,
        (error: Error) => error.message,
      )
      .finally(() => this.ended.push(name));
  }

  async answer(name: string, outcome: HttpAnswer | Error): Promise<void> {
    this.answers.get(name)?.(outcome);
    await settle();
  }
}

const names = (count: number) => Array.from({ length: count }, (_, index) => `${index}`);

describe('requests', () => {
  it('start in the order in which they were asked for, whatever the order of the answers', async () => {
    const exchange = new Exchange(2);
    for (const name of names(5)) void exchange.request(name);
    await settle();
    expect(exchange.started).toEqual(names(5));
    expect(exchange.told).toBe(5);
    for (const name of ['3', '0', '4']) await exchange.answer(name, answer(200));
    expect(exchange.ended).toEqual(['3', '0', '4']);
  });

  it('start only when the budget lets them, one by one', async () => {
    const grants: (() => void)[] = [];
    const exchange = new Exchange(2, () => new Promise((resolve) => grants.push(() => resolve())));
    for (const name of names(3)) void exchange.request(name);
    for (const count of [0, 1, 2, 3]) {
      await settle();
      expect(exchange.started).toEqual(names(count));
      expect(grants).toHaveLength(Math.min(3, count + 1));
      grants.at(-1)?.();
    }
  });

  it.each([
    [0.5, 8],
    [2, 20],
    [5, 50],
    [1000, 64],
  ])('at %d a second are at most %i in flight', async (rate, most) => {
    const exchange = new Exchange(rate);
    expect(exchange.pace.maxInFlight).toBe(most);
    for (const name of names(most + 3)) void exchange.request(name);
    await settle();
    expect(exchange.started).toHaveLength(most);
    await exchange.answer('1', answer(500));
    expect(exchange.started).toHaveLength(most + 1);
    await exchange.answer('2', new Error('reset'));
    expect(exchange.started).toHaveLength(most + 2);
  });

  it('give back what sending them throws', async () => {
    const exchange = new Exchange(2);
    const outcome = exchange.request('a');
    await settle();
    await exchange.answer('a', new Error('connection reset'));
    expect(await outcome).toBe('connection reset');
    expect(exchange.lines).toEqual([]);
  });
});

describe('a 429 in the middle', () => {
  it('holds everything back until a single probe is answered', async () => {
    const exchange = new Exchange(2);
    const outcomes = names(3).map((name) => exchange.request(name));
    await settle();
    await exchange.answer('1', answer(429, 30_000));
    const pausedAtMs = exchange.nowMs;
    for (const name of ['3', '4', '5']) outcomes.push(exchange.request(name));
    await exchange.answer('0', answer(200));
    expect(exchange.started).toEqual(names(3));

    while (exchange.started.length < 4) await settle();
    expect(exchange.nowMs - pausedAtMs).toBeGreaterThanOrEqual(30_000);
    await settle();
    expect(exchange.started).toEqual(names(4));
    await exchange.answer('3', answer(200));
    expect(exchange.started).toEqual(names(6));
    for (const name of ['2', '4', '5']) await exchange.answer(name, answer(200));
    expect(await Promise.all(outcomes)).toEqual([200, 429, 200, 200, 200, 200]);
    expect(exchange.lines).toHaveLength(2);
  });

  it('also holds back the request that has just had its turn', async () => {
    const grants: (() => void)[] = [];
    const exchange = new Exchange(2, () => new Promise((resolve) => grants.push(() => resolve())));
    void exchange.request('0');
    void exchange.request('1');
    await settle();
    grants.shift()?.();
    await settle();
    expect(grants).toHaveLength(1);
    await exchange.answer('0', answer(429, 60_000));
    grants.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
    expect(exchange.started).toEqual(['0']);
    while (grants.length === 0) await settle();
    expect(exchange.nowMs).toBeGreaterThanOrEqual(60_000);
    grants.shift()?.();
    await settle();
    expect(exchange.started).toEqual(['0', '1']);
  });

  it('goes on when the probe meets no answer', async () => {
    const exchange = new Exchange(2);
    for (const name of names(3)) void exchange.request(name);
    await settle();
    await exchange.answer('0', answer(429));
    void exchange.request('3');
    await exchange.answer('1', answer(200));
    await exchange.answer('2', answer(200));
    while (exchange.started.length < 4) await settle();
    const probedAtMs = exchange.nowMs;
    void exchange.request('4');
    await exchange.answer('3', new Error('timeout'));
    while (exchange.started.length < 5) await settle();
    expect(exchange.nowMs - probedAtMs).toBeGreaterThanOrEqual(6_000);
  });

  it('ends the run when the API wants more patience than we have', async () => {
    const exchange = new Exchange(2);
    const outcome = exchange.request('0');
    await settle();
    await exchange.answer('0', answer(429, 3 * 3_600_000));
    expect(await outcome).toContain('--resume');
  });
});

describe('a stop is thrown as it is', () => {
  const reason = new FatalError(exitCodes.interrupted, 'Interrupted.');

  it('to those who wait for a pause', async () => {
    const exchange = new Exchange(2);
    const outcomes = [exchange.request('0'), exchange.request('1')];
    await settle();
    await exchange.answer('0', answer(429, 3_600_000));
    outcomes.push(exchange.request('2'), exchange.request('3'));
    exchange.stop.abort(reason);
    await exchange.answer('1', answer(200));
    expect(await Promise.all(outcomes)).toEqual([429, 200, 'Interrupted.', 'Interrupted.']);
  });

  it('to those who wait for the budget', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pacer-'));
    try {
      const exchange = new Exchange(2, shareRequestBudget(folder, 0.1));
      const outcomes = [exchange.request('0'), exchange.request('1'), exchange.request('2')];
      while (exchange.started.length === 0) await sleep(10);
      exchange.stop.abort(reason);
      expect(await Promise.all(outcomes.slice(1))).toEqual(['Interrupted.', 'Interrupted.']);
      expect(exchange.started).toEqual(['0']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
