import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { exitCodes } from '../src/errors.js';
import { type CoolingOff, createCoolingOff } from '../src/pace.js';

const { signal } = new AbortController();
/** Lets everything run that waits for nothing but its turn. */
const settle = () => new Promise((resolve) => setImmediate(resolve));
const minutes = (count: number) => count * 60_000;

let nowMs: number;
let lines: string[];
let coolingOff: CoolingOff;
beforeEach(() => {
  nowMs = 1_000_000;
  lines = [];
  coolingOff = createCoolingOff({
    clock: () => nowMs,
    sleep: async (ms) => {
      await settle();
      nowMs += ms;
    },
    tell: (event) => event.kind === 'line' && lines.push(event.line),
  });
});
afterEach(() => vi.restoreAllMocks());

/** Starts a request, which must be possible. */
function start(): number {
  const request = coolingOff.start();
  if (request === undefined) throw new Error('The request has to wait');
  return request;
}

/** A request that is refused, which begins a pause. */
function refuse(retryAfterMs?: number): void {
  coolingOff.refused(start(), retryAfterMs);
}

/** Probes an API that refuses everything until it has recovered; returns when, in ms since the pause began. */
async function probeUntil(recoveredAtMs: number, retryAfterMs?: number): Promise<number[]> {
  const beganAtMs = nowMs;
  const probes: number[] = [];
  refuse(retryAfterMs);
  for (;;) {
    await coolingOff.wait(signal);
    const request = start();
    probes.push(nowMs - beganAtMs);
    if (nowMs - beganAtMs < recoveredAtMs) {
      coolingOff.refused(request, retryAfterMs);
    } else {
      coolingOff.answered(request);
      return probes;
    }
  }
}

describe.each([0, 0.5, 0.999])('with jitter %d, the probes of a pause', (random) => {
  beforeEach(() => {
    vi.spyOn(Math, 'random').mockReturnValue(random);
  });

  it('are at most six in any thirty minutes, and grow apart', async () => {
    const probes = await probeUntil(minutes(70));
    for (const from of [0, ...probes]) {
      const inHalfAnHour = probes.filter((at) => at >= from && at <= from + minutes(30));
      expect(inHalfAnHour.length).toBeLessThanOrEqual(6);
    }
    const waits = [0, ...probes].slice(0, -1).map((at, index) => (probes[index] ?? 0) - at);
    expect(waits.slice(0, 5)).toEqual(waits.slice(0, 5).toSorted((a, b) => a - b));
    expect(Math.max(...waits)).toBeLessThanOrEqual(minutes(16));
  });

  it.each([
    [5, 0.5],
    [30, 2],
  ])('find out soon that %i minutes are over', async (length, tolerance) => {
    const recoveredAtMs = (await probeUntil(minutes(length))).at(-1);
    expect(recoveredAtMs).toBeLessThanOrEqual(minutes(length + tolerance));
  });

  it('go on for 90 minutes', async () => {
    await probeUntil(minutes(85));
    expect(nowMs - 1_000_000).toBeLessThanOrEqual(minutes(90));
  });

  it('end the run, resumable, when they were all refused for 90 minutes', async () => {
    await expect(probeUntil(Number.POSITIVE_INFINITY)).rejects.toMatchObject({
      exitCode: exitCodes.apiUnavailable,
      message: expect.stringContaining('--resume'),
    });
    expect(nowMs - 1_000_000).toBeLessThanOrEqual(minutes(90));
    expect(nowMs - 1_000_000).toBeGreaterThanOrEqual(minutes(60));
  });
});

describe('Retry-After', () => {
  it('is waited for when it is longer than our own pause', async () => {
    const [first = 0, second = 0] = await probeUntil(minutes(12), minutes(10));
    expect(first).toBeGreaterThanOrEqual(minutes(10));
    expect(second - first).toBeGreaterThanOrEqual(minutes(10));
  });

  it('does not make our own pauses shorter', async () => {
    const [first = 0, second = 0, third = 0] = await probeUntil(minutes(1), 1);
    expect(first).toBeGreaterThanOrEqual(2_000);
    expect(second - first).toBeGreaterThanOrEqual(6_000);
    expect(third - second).toBeGreaterThanOrEqual(17_000);
  });

  it('of more than 90 minutes ends the run at once', () => {
    const request = start();
    expect(() => coolingOff.refused(request, minutes(91))).toThrow(
      expect.objectContaining({ exitCode: exitCodes.apiUnavailable }),
    );
  });
});

describe('a pause', () => {
  it('lets one probe start at a time', async () => {
    refuse();
    expect(coolingOff.start()).toBeUndefined();
    await coolingOff.wait(signal);
    const probe = start();
    expect(coolingOff.start()).toBeUndefined();
    coolingOff.refused(probe);
    expect(coolingOff.start()).toBeUndefined();
    await coolingOff.wait(signal);
    coolingOff.answered(start());
    expect([coolingOff.start(), coolingOff.start()]).not.toContain(undefined);
  });

  it('keeps others waiting while the probe is under way', async () => {
    refuse();
    await coolingOff.wait(signal);
    const probe = start();
    let over = false;
    const waiting = coolingOff.wait(signal).then(() => {
      over = true;
    });
    await settle();
    expect(over).toBe(false);
    coolingOff.answered(probe);
    await waiting;
  });

  it.each<[string, (request: number) => void]>([
    ['is answered', (request) => coolingOff.answered(request)],
    ['is refused', (request) => coolingOff.refused(request)],
    ['is refused with a short Retry-After', (request) => coolingOff.refused(request, 1)],
    ['meets no answer', (request) => coolingOff.unanswered(request)],
  ])('neither ends nor grows when a request from before it %s', async (_, land) => {
    const [first, second] = [start(), start()];
    const beganAtMs = nowMs;
    coolingOff.refused(first);
    nowMs += 1_500;
    land(second);
    expect(coolingOff.start()).toBeUndefined();
    await coolingOff.wait(signal);
    expect(nowMs - beganAtMs).toBeGreaterThanOrEqual(2_000);
    expect(nowMs - beganAtMs).toBeLessThanOrEqual(2_000 * 1.05);
    expect(lines).toHaveLength(1);
  });

  it('goes on when a probe meets no answer', async () => {
    refuse();
    await coolingOff.wait(signal);
    const probedAtMs = nowMs;
    coolingOff.unanswered(start());
    await coolingOff.wait(signal);
    expect(nowMs - probedAtMs).toBeGreaterThanOrEqual(6_000);
    expect(lines).toHaveLength(1);
  });

  it('is told in one line, and its end in another', async () => {
    await probeUntil(minutes(30));
    expect(lines).toEqual([
      expect.stringMatching(/429.*pause for 2\.\ds/),
      expect.stringMatching(/answers again after 3\dm/),
    ]);
  });

  it('begins with short waits again when there was an answer', async () => {
    await probeUntil(minutes(30));
    const [first = 0] = await probeUntil(1);
    expect(first).toBeLessThanOrEqual(2_000 * 1.05);
    expect(lines).toHaveLength(4);
  });

  it('is left when the run is stopped', async () => {
    const stop = new AbortController();
    const stopped = createCoolingOff({
      clock: () => nowMs,
      sleep: async (_, stopSignal) => {
        stop.abort(new Error('Stopped'));
        stopSignal.throwIfAborted();
      },
      tell: () => {},
    });
    stopped.refused(stopped.start() ?? 0);
    await expect(stopped.wait(stop.signal)).rejects.toThrow('Stopped');
  });
});

it('without a pause requests have consecutive numbers, and lost answers mean nothing', async () => {
  await coolingOff.wait(signal);
  const first = start();
  coolingOff.unanswered(first);
  expect(start()).toBe(first + 1);
  expect(lines).toEqual([]);
  expect(nowMs).toBe(1_000_000);
});
