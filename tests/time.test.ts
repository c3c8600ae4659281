import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { type Fault, html, status, typeNamed, wholeTables } from './faults.js';
import { expectNaiveRows } from './watching.js';
import { type HereOptions, preloaded, sharedWorld, startWorld } from './world.js';

const world = sharedWorld(() => startWorld({ season: { jockeys: 14, trainers: 6, owners: 10, races: 90 } }));

const callsBefore = { walk: 9, sweep: 3 };
const minutes = (count: number) => count * 60_000;
const strategies = ['walk', 'sweep'] as const;

/** After some calls the API refuses all for a time; when it did, and the first call after it, by the clock given. */
function ban(strategy: keyof typeof callsBefore, lastsMs: number, clock: () => number, refuse: Fault = status(429)) {
  const found = { refusedAtMs: [] as number[], overAtMs: 0 };
  let beganAtMs: number | undefined;
  world.api.options.intercept = (call, response, next) => {
    if (call.number <= callsBefore[strategy]) return next();
    beganAtMs ??= clock();
    const sinceMs = clock() - beganAtMs;
    if (sinceMs < lastsMs) {
      found.refusedAtMs.push(sinceMs);
      return void refuse(response, { results: null, total: 0 }, call);
    }
    found.overAtMs ||= sinceMs;
    return next();
  };
  return found;
}

const pauseLines = (text: string) => text.match(/refuses requests \(429/g) ?? [];
const resumptionLines = (text: string) => text.match(/answers again after/g) ?? [];

const onTheirWay = new Set<unknown>();
const channels = {
  'undici:request:create': (request: unknown) => onTheirWay.add(request),
  'undici:request:trailers': (request: unknown) => onTheirWay.delete(request),
  'undici:request:error': (request: unknown) => onTheirWay.delete(request),
};
for (const [name, note] of Object.entries(channels)) {
  const take = (message: unknown) => {
    const { request } = message as { request: { origin: string } };
    if (request.origin === new URL(world.api.url).origin) note(request);
  };
  subscribe(name, take);
  afterAll(() => void unsubscribe(name, take));
}

/** A time that goes on only when the run waits and no request is on its way. */
function ownTime(): NonNullable<HereOptions['time']> {
  let nowMs = 0;
  const sleep = async (ms: number, signal: AbortSignal) => {
    while (onTheirWay.size > 0) await setTimeout(1);
    await setImmediate(undefined, { signal });
    nowMs += ms;
  };
  return { clock: () => nowMs, sleep };
}

describe.each(strategies)('a ban (429) in a %s', (strategy) => {
  const inHalfAnHour: Fault = (response) =>
    response.writeHead(429, { 'retry-after': new Date(Date.now() + minutes(30)).toUTCString() }).end();
  const bans: [string, Fault, number, number][] = [
    ['without Retry-After, as a page of Cloudflare', html(429), 1, 1_000],
    ['with Retry-After in seconds', status(429, { 'retry-after': '1800' }), 1, minutes(30)],
    ['with Retry-After as a date', inHalfAnHour, 1, minutes(30) - 1_000],
    ['of 30 minutes', status(429), minutes(30), minutes(30)],
  ];

  it.each(bans)('%s is waited out with few probes, and no entity is lost', async (_, refuse, lastsMs, pauseMs) => {
    const time = ownTime();
    const found = ban(strategy, lastsMs, time.clock, refuse);
    const { exit_code, failures, lines } = await world.runHere({ strategy }, { time });
    expect({ exit_code, failures }).toEqual({ exit_code: 0, failures: [] });
    expect(found.overAtMs).toBeGreaterThanOrEqual(pauseMs);
    expect(found.overAtMs).toBeLessThanOrEqual(pauseMs * 1.1);
    const probes = found.refusedAtMs.filter((at) => at > 0);
    expect(probes.length).toBeLessThanOrEqual(6);
    const text = lines.join('\n');
    // A short one is shown in the bar.
    const told = pauseMs < 5_000 ? 0 : 1;
    expect([pauseLines(text).length, resumptionLines(text).length]).toEqual([told, told]);
    await expectNaiveRows(world);
  });

  it('that does not end is given up after 90 minutes with exit code 4, and --resume does the rest', async () => {
    const time = ownTime();
    const { refusedAtMs } = ban(strategy, Number.POSITIVE_INFINITY, time.clock);
    const { exit_code, stopped_by, overall, lines } = await world.runHere({ strategy }, { time });
    const resumable = ' With --resume the next run leaves out what is written.';
    const end = `no other program uses the account.${strategy === 'walk' ? resumable : ''}`;
    expect({ exit_code, stopped_by }).toEqual({ exit_code: 4, stopped_by: expect.stringContaining(end) });
    expect(stopped_by?.endsWith(end)).toBe(true);
    const text = lines.join('\n');
    expect([pauseLines(text).length, resumptionLines(text).length]).toEqual([1, 0]);
    expect(refusedAtMs.filter((at) => at > 0 && at < minutes(30)).length).toBeLessThanOrEqual(6);
    expect(refusedAtMs.at(-1)).toBe(minutes(90));
    expect(overall.total_successful).toBe(strategy === 'walk' ? callsBefore.walk : 0);

    world.api.options.intercept = undefined;
    const rest = await world.runHere({ strategy, resume: true });
    expect(rest.exit_code).toBe(0);
    expect(rest.overall.total_successful).toBe(30 - overall.total_successful);
    await expectNaiveRows(world);
  });
});

describe('the command', () => {
  it('waits out a ban in real time', async () => {
    const { refusedAtMs } = ban('walk', 1_000, () => performance.now());
    const { code, stderr } = await world.run(['--all', '--strategy', 'walk', '--rate', '100']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(refusedAtMs.length).toBeGreaterThanOrEqual(1);
    await expectNaiveRows(world);
  });

  it('asks at most twice and ends with 4, one line and no stack trace when it would wait for over 90 minutes', async () => {
    world.api.options.intercept = (_, response) => void response.writeHead(429, { 'retry-after': '6000' }).end();
    const before = await wholeTables(world);
    const { code, stderr } = await world.run(['--all']);
    expect(stderr).toMatch(
      /^The Racing API still refuses requests \(429\).*run again later, when no other program uses the account\.\n$/,
    );
    expect(code).toBe(4);
    expect(world.api.calls.length).toBeLessThanOrEqual(2);
    expect(await wholeTables(world)).toEqual(before);
  });

  it('keeps the day of its start and writes the same rows when the clock jumps', async () => {
    // Once the run has begun, it is a day and a half later and earlier in turns.
    const preload = `
      import { existsSync } from 'node:fs';
      const RealDate = Date;
      let turns = 0;
      const jump = () => existsSync('logs/run_jockeys.lock') ? (turns++ % 2 ? 1 : -1) * 36 * 3600 * 1000 : 0;
      globalThis.Date = class extends RealDate {
        constructor(...parts) { parts.length > 0 ? super(...parts) : super(RealDate.now() + jump()); }
        static now() { return RealDate.now() + jump(); }
      };`;
    const types = ['--entities', 'jockeys', 'owners', '--rate', '1000', '--strategy', 'walk'];
    const { code, stderr } = await world.run(types, preloaded(preload));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    await expectNaiveRows(world, world.api.races, [typeNamed('jockeys'), typeNamed('owners')]);
  });
});
