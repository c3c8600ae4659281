import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { exitCodes, FatalError } from '../src/errors.js';
import type { HttpAnswer } from '../src/exchange.js';
import { createPace, type Pace, type PaceOptions } from '../src/pace.js';
import { unlimitedBudget } from './world.js';

/** Lets everything run that waits for nothing but its turn. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
const until = (holds: () => boolean) => vi.waitUntil(holds, { timeout: 60_000, interval: 1 });
const minutes = (count: number) => count * 60_000;
const names = (count: number) => Array.from({ length: count }, (_, index) => `${index}`);
const answer = (status: number, retryAfterMs?: number, latencyMs = 250): HttpAnswer => ({
  status,
  retryAfterMs,
  latencyMs,
  body: '',
});

/** The clock goes on in pauses alone. */
let nowMs: number;
let lines: string[];
let requestsTold: number;
let pausesTold: number[];
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
  pausesTold = [];
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
    budget: unlimitedBudget(),
    connected: async () => {},
    clock: () => nowMs,
    sleep: async (ms, signal) => {
      await settle();
      signal.throwIfAborted();
      nowMs += ms;
    },
    tell: (event) => {
      if (event.kind === 'line') lines.push(event.line);
      if (event.kind === 'request') requestsTold += 1;
      if (event.kind === 'pause') pausesTold.push(event.seconds);
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
    return (await pace.run(send))?.status ?? 'held';
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
  const takeTurn: PaceOptions['budget']['takeTurn'] = (start) =>
    new Promise((resolve) => turns.push(() => resolve(start())));
  startPace({ budget: { ...unlimitedBudget(), takeTurn } });
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
    [5, 20],
    [1000, 20],
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
    const failedAtMs = nowMs;
    await land('1', new Error('timeout'));
    await untilStarted(3);
    // A difference of floating-point numbers may be a hair less.
    expect(Math.round(nowMs - failedAtMs)).toBeGreaterThanOrEqual(1_000);
    // It was not refused: the next one is as soon as after the first refusal.
    expect(nowMs - failedAtMs).toBeLessThan(2_000);
    expect({ pausesTold, lines }).toEqual({ pausesTold: [expect.closeTo(1, 0)], lines: [] });
  });

  it.each([
    ['is answered', answer(200), 1_000],
    ['is refused', answer(429), 1_000],
    ['is refused with a short Retry-After', answer(429, 1), 1_000],
    ['is refused with a Retry-After of a minute', answer(429, 60_000), 60_000],
    ['is refused with a Retry-After of two hours', answer(429, minutes(120)), minutes(90)],
    ['meets no answer', new Error('reset'), 1_000],
  ])('a request on its way since before that %s: the pause lasts as long as it should', async (_, outcome, pauseMs) => {
    await requests(2);
    await land('0', answer(429));
    await land('1', outcome);
    void request('2');
    await untilStarted(3);
    expect(nowMs).toBeGreaterThanOrEqual(pauseMs);
    expect(nowMs).toBeLessThanOrEqual(pauseMs * 1.05);
    expect(pausesTold).toHaveLength(1);
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

  it('to those who have not asked the budget yet', async () => {
    let asked = 0;
    const takeTurn: PaceOptions['budget']['takeTurn'] = async (_start, _unevenMs, signal) => {
      asked += 1;
      if (!signal.aborted) await once(signal, 'abort');
      throw signal.reason;
    };
    startPace({ budget: { ...unlimitedBudget(), takeTurn } });
    const outcomes = await requests(5);
    stop.abort(interrupted);
    await Promise.all(outcomes);
    expect(asked).toBe(1);
  });

  it('to those who wait for the budget', async () => {
    const takeTurn: PaceOptions['budget']['takeTurn'] = async (_start, _unevenMs, signal) => {
      if (!signal.aborted) await once(signal, 'abort');
      throw signal.reason;
    };
    startPace({ budget: { ...unlimitedBudget(), takeTurn } });
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
  while ((await pace.run(send))?.status === 429);
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
    expect(probes[0]).toBeCloseTo(1_000 * (1 + random / 20));
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

  it('go on for 90 minutes, then end the run', async () => {
    await probeUntil(minutes(85));
    const beganAtMs = nowMs;
    await expect(probeUntil(Number.POSITIVE_INFINITY)).rejects.toMatchObject({
      exitCode: exitCodes.apiUnavailable,
      message: expect.stringContaining('run again later'),
    });
    expect(nowMs - beganAtMs).toBeCloseTo(minutes(90));
  });
});

it('Retry-After is waited for when it is longer than our own pause, and makes none shorter', async () => {
  const rounded = (probes: number[]) => waitsOf(probes).map(Math.round);
  expect(rounded(await probeUntil(minutes(12), minutes(10)))).toEqual([minutes(10), minutes(10)]);
  const [first, second] = rounded(await probeUntil(minutes(1), 1));
  expect(first).toBeGreaterThanOrEqual(1_000);
  expect(second).toBeGreaterThanOrEqual(4_000);
});

it('a long pause is told in one line, its end in another, and the next one begins with short waits again', async () => {
  await probeUntil(minutes(30));
  const told = [expect.stringMatching(/429.*pause for 1[56]s/), expect.stringMatching(/answers again after 3\dm/)];
  expect(lines).toEqual(told);
  const [first] = await probeUntil(1);
  expect(first).toBeLessThanOrEqual(1_000 * 1.05);
  // A short one is shown in the bar.
  expect(lines).toHaveLength(2);
  expect(pausesTold.at(-1)).toBeCloseTo(1, 1);
});

describe('what refusals teach', () => {
  let noted: number[];
  let uneven: number;
  let allowed: number;
  const send = (outcome: HttpAnswer) => pace.run(async () => outcome);
  beforeEach(() => {
    noted = [];
    allowed = 2;
    const refused = async (pauseMs: number) => void noted.push(pauseMs);
    const takeTurn: PaceOptions['budget']['takeTurn'] = async (start, unevenMs) => {
      uneven = unevenMs;
      return start();
    };
    startPace({ budget: { takeTurn, refused, allowedPerSecond: () => allowed } });
  });

  it('is noted for all with the pause, each refusal that begins or prolongs one', async () => {
    const outcomes = await requests(3);
    for (const name of ['0', '1']) await land(name, answer(429));
    await land('2', new Error('reset'));
    expect(noted).toEqual([expect.closeTo(1_000, -2)]);
    await send(answer(429));
    expect(noted).toHaveLength(2);
    expect(noted[1]).toBeGreaterThanOrEqual(4_000);
    await Promise.all(outcomes);
  });

  it.each([
    ['even', () => 250, 0],
    ['even but for a few', (at: number) => (at % 10 === 0 ? 900 : 250), 0],
    ['up to 30 ms late', (at: number) => 250 + (at % 4) * 10, 60],
    ['up to a second late', (at: number) => 250 + (at % 4) * 333, 80],
  ])('includes how unevenly the last requests arrive: %s', async (_, latency, unevenMs) => {
    for (let at = 0; at < 40; at += 1) await send(answer(200, undefined, at * 100));
    for (let at = 0; at < 31; at += 1) await send(answer(200, undefined, latency(at)));
    expect(uneven).toBe(unevenMs);
  });

  it('is told once, when nothing has been refused for ten seconds', async () => {
    await send(answer(429));
    allowed = 1.28;
    await send(answer(200));
    expect(lines).toEqual([]);
    nowMs += 10_000;
    for (const _ of [1, 2]) await send(answer(200));
    expect(lines).toEqual(['The API allows about 1.3 requests/s; going on at that.']);
    await send(answer(429));
    nowMs += 10_000;
    await send(answer(200));
    expect(lines).toHaveLength(1);
  });

  it('is told of an earlier run at its first answer, and not at all when it is little', async () => {
    allowed = 1.9;
    await send(answer(200));
    expect(lines).toEqual([]);
    allowed = 1;
    startPace({ budget: { ...unlimitedBudget(), allowedPerSecond: () => allowed } });
    await send(answer(200));
    expect(lines).toHaveLength(1);
  });
});

it('a request that is held when its turn has come is not sent, and the next one is', async () => {
  const held = pace.run(
    async () => answer(200),
    () => true,
  );
  expect(await held).toBeUndefined();
  expect(requestsTold).toBe(0);
  await requests(1);
  expect(started).toEqual(['0']);
});

it('a turn is taken when a connection is open, and is over when the bytes have left', async () => {
  let open = () => {};
  const connected = () => new Promise<void>((resolve) => (open = resolve));
  const left: string[] = [];
  const takeTurn: PaceOptions['budget']['takeTurn'] = async (start) => {
    const begun = start();
    await begun?.left;
    left.push('left');
    return begun;
  };
  startPace({ connected, budget: { ...unlimitedBudget(), takeTurn } });
  let leave = () => {};
  const sent = pace.run((hasLeft) => {
    leave = hasLeft;
    started.push('sent');
    return new Promise(() => {});
  });
  sent.catch(() => {});
  await settle();
  expect(started).toEqual([]);
  open();
  await settle();
  expect({ started, left }).toEqual({ started: ['sent'], left: [] });
  leave();
  await settle();
  expect(left).toEqual(['left']);
});
