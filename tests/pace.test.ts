import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { exitCodes, FatalError } from '../src/errors.js';
import { createPace, type HttpAnswer, type Pace, type PaceOptions } from '../src/pace.js';

/** Lets everything run that waits for nothing but its turn. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
const until = (holds: () => boolean) => vi.waitUntil(holds, { timeout: 60_000, interval: 1 });
const minutes = (count: number) => count * 60_000;
const names = (count: number) => Array.from({ length: count }, (_, index) => `${index}`);
const answer = (status: number, retryAfterMs?: number): HttpAnswer => ({ status, retryAfterMs, body: '' });

/** The clock goes on in pauses alone. */
let nowMs: number;
let lines: string[];
let requestsTold: number;
let stop: AbortController;
let pace: Pace;
/** The names of requests that have started, and that have ended, in this order. */
let started: string[];
let ended: string[];
let answers: Map<string, (outcome: HttpAnswer | Error) => void>;

beforeEach(() => {
  nowMs = 0;
  lines = [];
  requestsTold = 0;
  stop = new AbortController();
  started = [];
  ended = [];
  answers = new Map();
  startPace();
});
afterEach(() => {
  stop.abort();
  vi.restoreAllMocks();
});

function startPace(more: Partial<PaceOptions> = {}): void {
  pace = createPace({
    requestsPerSecond: 2,
    takeTurn: async (signal) => signal.throwIfAborted(),
    clock: () => nowMs,
    sleep: async (ms, signal) => {
      await settle();
      signal.throwIfAborted();
      nowMs += ms;
    },
    tell: (event) => {
      if (event.kind === 'line') lines.push(event.line);
      if (event.kind === 'request') requestsTold += 1;
    },
    signal: stop.signal,
    ...more,
  });
}

/** Asks for a request that the test answers; resolves with its status or its error's message. */
async function request(name: string): Promise<number | string> {
  const send = () => {
    started.push(name);
    return new Promise<HttpAnswer>((resolve, reject) => {
      answers.set(name, (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome)));
    });
  };
  try {
    return (await pace.run(send)).status;
  } catch (error) {
    return (error as Error).message;
  } finally {
    ended.push(name);
  }
}

/** Asks for as many requests; returns when those have started that can. */
async function requests(count: number): Promise<Promise<number | string>[]> {
  const outcomes = names(count).map(request);
  await settle();
  return outcomes;
}

async function land(name: string, outcome: HttpAnswer | Error): Promise<void> {
  answers.get(name)?.(outcome);
  await settle();
}

const untilStarted = (count: number) => until(() => started.length >= count);

/** Turns that are taken only when the test grants them. */
function heldTurns(): (() => void)[] {
  const turns: (() => void)[] = [];
  startPace({ takeTurn: () => new Promise((resolve) => turns.push(resolve)) });
  return turns;
}

describe('requests', () => {
  it('start in the order in which they were asked for, and end as they are answered', async () => {
    const outcomes = await requests(5);
    expect({ started, requestsTold }).toEqual({ started: names(5), requestsTold: 5 });
    await land('3', answer(200));
    await land('0', new Error('connection reset'));
    expect(ended).toEqual(['3', '0']);
    expect(await outcomes[0]).toBe('connection reset');
    await requests(1);
    expect({ started: started.length, lines, nowMs }).toEqual({ started: 6, lines: [], nowMs: 0 });
  });

  it('start only when the budget lets them, one by one', async () => {
    const turns = heldTurns();
    await requests(3);
    for (const count of [0, 1, 2, 3]) {
      expect(started).toEqual(names(count));
      expect(turns).toHaveLength(Math.min(3, count + 1));
      turns.at(-1)?.();
      await settle();
    }
  });

  it.each([
    [0.5, 8],
    [2, 20],
    [5, 50],
    [1000, 64],
  ])('at %d a second are at most %i in flight', async (requestsPerSecond, most) => {
    startPace({ requestsPerSecond });
    expect(pace.maxInFlight).toBe(most);
    await requests(most + 3);
    expect(started).toHaveLength(most);
    await land('1', answer(500));
    expect(started).toHaveLength(most + 1);
    await land('2', new Error('reset'));
    expect(started).toHaveLength(most + 2);
  });
});

describe('after a 429', () => {
  it('everything is held back until a single probe is answered', async () => {
    const outcomes = await requests(3);
    await land('1', answer(429, 30_000));
    outcomes.push(...['3', '4', '5'].map(request));
    await land('0', answer(200));
    expect(started).toEqual(names(3));

    await untilStarted(4);
    const probedAtMs = nowMs;
    expect(probedAtMs).toBeGreaterThanOrEqual(30_000);
    await until(() => nowMs >= probedAtMs + 60_000);
    expect(started).toEqual(names(4));
    await land('3', answer(200));
    await untilStarted(6);
    for (const name of ['2', '4', '5']) await land(name, answer(200));
    expect(await Promise.all(outcomes)).toEqual([200, 429, 200, 200, 200, 200]);
    expect(lines).toHaveLength(2);
  });

  it('also the request waits that has just had its turn', async () => {
    const turns = heldTurns();
    await requests(2);
    turns.shift()?.();
    await settle();
    await land('0', answer(429, 60_000));
    turns.shift()?.();
    await until(() => turns.length > 0);
    expect(started).toEqual(['0']);
    expect(nowMs).toBeGreaterThanOrEqual(60_000);
    turns.shift()?.();
    await settle();
    expect(started).toEqual(['0', '1']);
  });

  it('a probe that meets no answer makes the pause go on', async () => {
    await requests(1);
    await land('0', answer(429));
    void request('1');
    void request('2');
    await untilStarted(2);
    const probedAtMs = nowMs;
    await land('1', new Error('timeout'));
    await untilStarted(3);
    expect(nowMs - probedAtMs).toBeGreaterThanOrEqual(6_000);
    expect(lines).toHaveLength(1);
  });

  it.each([
    ['is answered', answer(200), 2_000],
    ['is refused', answer(429), 2_000],
    ['is refused with a short Retry-After', answer(429, 1), 2_000],
    ['is refused with a Retry-After of a minute', answer(429, 60_000), 60_000],
    ['is refused with a Retry-After of two hours', answer(429, minutes(120)), minutes(90)],
    ['meets no answer', new Error('reset'), 2_000],
  ])('a request on its way since before that %s: the pause lasts as long as it should', async (_, outcome, pauseMs) => {
    await requests(2);
    await land('0', answer(429));
    await land('1', outcome);
    void request('2');
    await untilStarted(3);
    expect(nowMs).toBeGreaterThanOrEqual(pauseMs);
    expect(nowMs).toBeLessThanOrEqual(pauseMs * 1.05);
    expect(lines).toHaveLength(1);
  });
});

describe('a stop is thrown as it is', () => {
  const interrupted = new FatalError(exitCodes.interrupted, 'Interrupted.');

  it('to those who wait for a pause', async () => {
    const outcomes = await requests(2);
    await land('0', answer(429, 3_600_000));
    outcomes.push(request('2'), request('3'));
    stop.abort(interrupted);
    await land('1', answer(200));
    expect(await Promise.all(outcomes)).toEqual([429, 200, 'Interrupted.', 'Interrupted.']);
  });

  it('to those who wait for the budget', async () => {
    const takeTurn = async (signal: AbortSignal) => {
      if (!signal.aborted) await once(signal, 'abort');
      throw signal.reason;
    };
    startPace({ takeTurn });
    const outcomes = await requests(2);
    stop.abort(interrupted);
    expect(await Promise.all(outcomes)).toEqual(['Interrupted.', 'Interrupted.']);
    expect(started).toEqual([]);
  });
});

/** Asks an API again and again that refuses until it has recovered; returns when, in ms since the first refusal. */
async function probeUntil(recoveredAtMs: number, retryAfterMs?: number): Promise<number[]> {
  const beganAtMs = nowMs;
  const probes: number[] = [];
  const refuses = () => nowMs - beganAtMs < recoveredAtMs;
  const send = async () => {
    probes.push(nowMs - beganAtMs);
    return refuses() ? answer(429, retryAfterMs) : answer(200);
  };
  while ((await pace.run(send)).status === 429);
  return probes.slice(1);
}

const waitsOf = (probes: number[]) => probes.map((at, index) => at - (probes[index - 1] ?? 0));

describe.each([0, 0.999])('with jitter %d, the probes of a pause', (random) => {
  beforeEach(() => void vi.spyOn(Math, 'random').mockReturnValue(random));

  it('are at most six in any thirty minutes, and grow apart', async () => {
    const probes = await probeUntil(minutes(70));
    for (const from of [0, ...probes]) {
      const inHalfAnHour = probes.filter((at) => at >= from && at <= from + minutes(30));
      expect(inHalfAnHour.length).toBeLessThanOrEqual(6);
    }
    expect(probes[0]).toBeCloseTo(2_000 * (1 + random / 20));
    const firstWaits = waitsOf(probes).slice(0, 5);
    expect(firstWaits).toEqual(firstWaits.toSorted((a, b) => a - b));
    expect(Math.max(...waitsOf(probes))).toBeLessThanOrEqual(minutes(16));
  });

  it.each([
    [5, 0.5],
    [30, 2],
  ])('find out soon that %i minutes are over', async (length, tolerance) => {
    const recoveredAtMs = (await probeUntil(minutes(length))).at(-1);
    expect(recoveredAtMs).toBeLessThanOrEqual(minutes(length + tolerance));
  });

  it('go on for 90 minutes, then end the run, resumable', async () => {
    await probeUntil(minutes(85));
    const beganAtMs = nowMs;
    await expect(probeUntil(Number.POSITIVE_INFINITY)).rejects.toMatchObject({
      exitCode: exitCodes.apiUnavailable,
      message: expect.stringContaining('--resume'),
    });
    expect(nowMs - beganAtMs).toBe(minutes(90));
  });
});

it('Retry-After is waited for when it is longer than our own pause, and makes none shorter', async () => {
  expect(waitsOf(await probeUntil(minutes(12), minutes(10)))).toEqual([minutes(10), minutes(10)]);
  const [first, second] = waitsOf(await probeUntil(minutes(1), 1));
  expect(first).toBeGreaterThanOrEqual(2_000);
  expect(second).toBeGreaterThanOrEqual(6_000);
});

it('a pause is told in one line, its end in another, and the next one begins with short waits again', async () => {
  await probeUntil(minutes(30));
  const told = [expect.stringMatching(/429.*pause for 2\.\ds/), expect.stringMatching(/answers again after 3\dm/)];
  expect(lines).toEqual(told);
  const [first] = await probeUntil(1);
  expect(first).toBeLessThanOrEqual(2_000 * 1.05);
  expect(lines).toHaveLength(4);
});
