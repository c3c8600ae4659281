import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CoolingOff } from '../src/cooling-off.js';
import { RacingApi } from '../src/racing-api.js';
import { RequestPacer } from '../src/request-pacer.js';
import type { RunOptions } from '../src/run.js';
import { expectNaiveRows } from './watching.js';
import { password, startWorld, username, type World } from './world.js';

let world: World;

beforeAll(async () => {
  world = await startWorld({ season: { jockeys: 30, trainers: 20, owners: 40, races: 40 } });
});
beforeEach(() => world.reset());
afterAll(() => world.close());

const callsBefore = 9;

/**
 * After nine calls the API refuses everything for a time. Returns when it refused, in milliseconds since its first
 * refusal by the clock given.
 */
function ban(lastsMs: number, clock: () => number, refuse: (response: ServerResponse) => void): number[] {
  const refusals: number[] = [];
  let beganAtMs: number | undefined;
  world.api.options.intercept = (call, response, next) => {
    if (call.number <= callsBefore) return next();
    beganAtMs ??= clock();
    if (clock() - beganAtMs >= lastsMs) return next();
    refusals.push(clock() - beganAtMs);
    refuse(response);
  };
  return refusals;
}

const plain = (response: ServerResponse) =>
  void response.writeHead(429).end('{"detail":"Too Many Requests"}');
const withRetryAfter = (response: ServerResponse) =>
  void response.writeHead(429, { 'retry-after': '3' }).end();
const cloudflare = (response: ServerResponse) =>
  void response
    .writeHead(429, { 'content-type': 'text/html' })
    .end('<!DOCTYPE html><title>Access denied | api.theracingapi.com used Cloudflare</title>Error 1015');

const pauseLines = (text: string) => text.match(/refuses requests/g) ?? [];
const resumptionLines = (text: string) => text.match(/answers again/g) ?? [];

describe('the command', () => {
  it.each([
    { answer: '429', refuse: plain, lastsMs: 3_000 },
    { answer: '429 with Retry-After: 3', refuse: withRetryAfter, lastsMs: 1_500 },
    { answer: '429 as a Cloudflare page', refuse: cloudflare, lastsMs: 1_500 },
  ])('waits out a ban ($answer) without losing an entity', async ({ refuse, lastsMs }) => {
    const refusals = ban(lastsMs, () => performance.now(), refuse);
    const args = ['--all', '--strategy', 'walk', '--rate', '100'];
    const { code, stdout, stderr } = await world.run(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(pauseLines(stdout)).toHaveLength(1);
    expect(resumptionLines(stdout)).toHaveLength(1);
    // Those on their way when it began, then a probe after two seconds and the next after six more.
    const probes = refusals.filter((at) => at > 1_000);
    expect(probes.length).toBeLessThanOrEqual(1);
    if (refuse === withRetryAfter) expect(probes).toEqual([]);
    await expectNaiveRows(world);
  });
});

/**
 * A clock that runs faster than time, and a run whose waits for the API go by it. `onTheirWay` tells how many requests
 * had started when the run learned of the ban: no probes.
 */
function fastClock(speed: number) {
  const beganAtMs = performance.now();
  const clock = () => (performance.now() - beganAtMs) * speed;
  const run = async (options: Partial<RunOptions>) => {
    const lines: string[] = [];
    let startedBefore = 0;
    const stop = new AbortController();
    const coolingOff = new CoolingOff({
      clock,
      sleep: (ms, signal) => sleep(ms / speed, undefined, { signal }),
      log: (line) => {
        if (lines.length === 0) startedBefore = pacer.started;
        lines.push(line);
      },
    });
    const budget = { take: () => sleep(5) };
    const pacer = new RequestPacer({ requestsPerSecond: 100, budget, coolingOff, signal: stop.signal });
    const api = new RacingApi({
      baseUrl: world.api.url,
      username,
      password,
      pacer,
      signal: stop.signal,
      firstRetryMs: 5,
    });
    try {
      const report = await world.runHere(options, { api, pacer, stop });
      return { ...report, text: lines.join('\n'), onTheirWay: startedBefore - callsBefore };
    } finally {
      await api.close();
    }
  };
  return { clock, run };
}

const minutes = (count: number) => count * 60_000;

describe.each(['walk', 'sweep'] as const)('by a faster clock, a %s', (strategy) => {
  it.each([5, 30])(
    'waits out a ban of %i minutes with at most six probes in half an hour',
    async (length) => {
      const { clock, run } = fastClock(length * 50);
      const refusals = ban(minutes(length), clock, plain);
      const { exit_code, failures, text, onTheirWay } = await run({ strategy });
      expect({ exit_code, failures }).toEqual({ exit_code: 0, failures: [] });
      expect(pauseLines(text)).toHaveLength(1);
      expect(resumptionLines(text)).toHaveLength(1);
      const probes = refusals.slice(onTheirWay);
      expect(probes.filter((at) => at < minutes(30)).length).toBeLessThanOrEqual(6);
      const waits = probes.map((at, index) => at - (probes[index - 1] ?? 0));
      // The fourth wait is of 50 seconds.
      expect(Math.max(...waits)).toBeGreaterThanOrEqual(50_000);
      await expectNaiveRows(world);
    },
  );

  it('gives up after 90 minutes with exit code 4, and --resume does the rest', async () => {
    const { clock, run } = fastClock(4_000);
    const refusals = ban(Number.POSITIVE_INFINITY, clock, plain);
    const { exit_code, stopped_by, overall, text, onTheirWay } = await run({ strategy });
    expect(exit_code).toBe(4);
    expect(stopped_by).toContain('--resume');
    expect(pauseLines(text)).toHaveLength(1);
    expect(resumptionLines(text)).toEqual([]);
    const probes = refusals.slice(onTheirWay);
    expect(probes.filter((at) => at < minutes(30)).length).toBeLessThanOrEqual(6);
    // The last one comes at the ninetieth minute, by a clock of which a moment is half a minute.
    expect(probes.at(-1)).toBeLessThan(minutes(95));
    expect(overall.total_successful).toBe(strategy === 'walk' ? callsBefore : 0);

    world.api.options.intercept = undefined;
    const rest = await world.runHere({ strategy, resume: true });
    expect(rest.exit_code).toBe(0);
    expect(rest.overall.total_successful).toBe(90 - overall.total_successful);
    await expectNaiveRows(world);
  });
});
