import { subscribe } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { expectNaiveRows } from './watching.js';
import type { HereOptions } from './world.js';
import { startWorld, type World } from './world.js';

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

const plain = (response: ServerResponse) => void response.writeHead(429).end('{"detail":"Too Many Requests"}');
const withRetryAfter = (response: ServerResponse) => void response.writeHead(429, { 'retry-after': '3' }).end();
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

const minutes = (count: number) => count * 60_000;

const onTheirWay = new Set<unknown>();
const channels = {
  'undici:request:create': (request: unknown) => onTheirWay.add(request),
  'undici:request:trailers': (request: unknown) => onTheirWay.delete(request),
  'undici:request:error': (request: unknown) => onTheirWay.delete(request),
};
for (const [name, note] of Object.entries(channels)) {
  subscribe(name, (message) => {
    const { request } = message as { request: { origin: string } };
    if (request.origin === new URL(world.api.url).origin) note(request);
  });
}

/** A ban by a clock that goes on only when the run waits and no request is on its way. */
function banOf(lastsMs: number): { refusals: number[]; time: NonNullable<HereOptions['time']> } {
  let nowMs = 0;
  const sleep = async (ms: number, signal: AbortSignal) => {
    while (onTheirWay.size > 0) await setTimeout(1);
    await setImmediate(undefined, { signal });
    nowMs += ms;
  };
  return { refusals: ban(lastsMs, () => nowMs, plain), time: { clock: () => nowMs, sleep } };
}

/** Without the refusals of requests that were on their way when the ban began. */
function probesOf(refusals: readonly number[]): number[] {
  return refusals.filter((at) => at > 0);
}

describe.each(['walk', 'sweep'] as const)('by a clock of its own, a %s', (strategy) => {
  it.each([5, 30])('waits out a ban of %i minutes with at most six probes in half an hour', async (length) => {
    const { refusals, time } = banOf(minutes(length));
    const { exit_code, failures, lines } = await world.runHere({ strategy }, { time });
    const text = lines.join('\n');
    expect({ exit_code, failures }).toEqual({ exit_code: 0, failures: [] });
    expect(pauseLines(text)).toHaveLength(1);
    expect(resumptionLines(text)).toHaveLength(1);
    const probes = probesOf(refusals);
    expect(probes.filter((at) => at < minutes(30)).length).toBeLessThanOrEqual(6);
    const waits = probes.map((at, index) => at - (probes[index - 1] ?? 0));
    // The fourth wait is of 50 seconds.
    expect(Math.max(...waits)).toBeGreaterThanOrEqual(50_000);
    await expectNaiveRows(world);
  });

  it('gives up after 90 minutes with exit code 4, and --resume does the rest', async () => {
    const { refusals, time } = banOf(Number.POSITIVE_INFINITY);
    const { exit_code, stopped_by, overall, lines } = await world.runHere({ strategy }, { time });
    const text = lines.join('\n');
    expect(exit_code).toBe(4);
    expect(stopped_by).toContain('--resume');
    expect(pauseLines(text)).toHaveLength(1);
    expect(resumptionLines(text)).toEqual([]);
    const probes = probesOf(refusals);
    expect(probes.filter((at) => at < minutes(30)).length).toBeLessThanOrEqual(6);
    expect(probes.at(-1)).toBeGreaterThan(minutes(89));
    expect(probes.at(-1)).toBeLessThan(minutes(91));
    expect(overall.total_successful).toBe(strategy === 'walk' ? callsBefore : 0);

    world.api.options.intercept = undefined;
    const rest = await world.runHere({ strategy, resume: true });
    expect(rest.exit_code).toBe(0);
    expect(rest.overall.total_successful).toBe(90 - overall.total_successful);
    await expectNaiveRows(world);
  });
});
