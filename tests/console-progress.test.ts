import { WriteStream } from 'node:tty';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { abilitiesOf, columnsOf, createScreen, type ScreenOptions } from '../src/show/screen.js';

const eraseLine = '\r\u001b[2K';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }));
afterEach(() => void vi.useRealTimers());

/** A screen, a terminal's unless `columns` is null, with an output that a test reads and a clock that it sets. */
function watch(columns: number | null | undefined, more: Partial<ScreenOptions> = {}) {
  let written = '';
  let nowMs = 0;
  let phase = { label: '', total: 0 };
  const write = (text: string) => {
    written += text;
  };
  const { take, close } = createScreen({
    output: columns === null ? { write } : { write, isTTY: true, columns },
    isAnimated: columns !== null,
    isColored: false,
    isVerbose: false,
    clock: () => nowMs,
    now: () => new Date(Date.parse('2026-07-01T05:00:00Z') + nowMs),
    ...more,
  });
  /** Of each line everything that ever stood on it. */
  const drawings = () => written.split('\n').map((line) => line.split(eraseLine).filter(Boolean));
  /** What stands on the lines after all overwriting. */
  const screen = () => written.split('\n').map((line) => line.split(eraseLine).at(-1) ?? '');
  const pass = (ms: number) => {
    nowMs += ms;
    vi.advanceTimersByTime(ms);
  };
  return {
    written: () => written,
    drawings: () => drawings().flat(),
    screen: () => screen().filter(Boolean),
    last: () => screen().at(-1) ?? '',
    line: (line: string) => take({ kind: 'line', line }),
    phase: (label: string, total: number) => {
      phase = { label, total };
      take({ kind: 'phase', ...phase, done: 0 });
    },
    /** A step so many milliseconds and requests after the one before. */
    step: (done: number, afterMs = 0, requests = 0, more: { failed?: number; written?: number } = {}) => {
      nowMs += afterMs;
      for (let request = 0; request < requests; request += 1) take({ kind: 'request' });
      take({ kind: 'step', ...phase, done, ...more });
    },
    /** Time goes by and nothing happens. */
    pass,
    take,
    close,
  };
}

it.each([[''], ['2026-07-01T05:00:00Z ']])('a table is as wide as there is room, after "%s"', (time) => {
  const screen = watch(time.length + 28, { isAnimated: time === '' });
  screen.take({ kind: 'table', title: 'first:', rows: [['Maximilian of Hohenlohe', 'jky_1', '2026-06-30']] });
  expect(screen.written()).toBe(`${time}first:\n${time}Maximilian of Hohen…  jky_1\n`);
});

describe('the phase under way', () => {
  const quarter = '1,000/4,000 25%';
  const time = '25m 00s left · 8m 20s so far';
  it.each([
    [
      140,
      { failed: 3, written: 950 },
      `walking █{6}░{18} ${quarter} · 3 failed · ${time} · 2.0 requests/s · 950 written`,
    ],
    [140, {}, `walking █{6}░{18} ${quarter} · ${time} · 2.0 requests/s`],
    [80, { failed: 3 }, `walking █{3}░{9} ${quarter} · 3 failed · ${time}`],
    [51, { failed: 3, written: 997 }, `walking ${quarter} · 3 failed · 25m 00s left`],
    [40, { failed: 3 }, `walking ${quarter} · 3 failed`],
    [30, {}, `walking ${quarter}`],
    [21, {}, 'walking 1,000/4,000'],
    [0, {}, `walking █{2}░{4} ${quarter} · ${time} · 2.0 requests/s`],
  ])('in %i columns, with %j, is "%s"', (columns, more, expected) => {
    const { phase, step, last } = watch(columns);
    phase('walking', 4_000);
    step(1_000, 500_000, 1_000, more);
    expect(last()).toMatch(new RegExp(`^${expected.replaceAll('.', '\\.')}$`));
    // The ^C that a terminal shows fits beside it.
    expect(last().length).toBeLessThanOrEqual((columns || 80) - 2);
  });

  it('is redrawn every second by itself, with the time', () => {
    const { phase, step, pass, last } = watch(100);
    phase('sweeping', 132);
    step(10, 5_000);
    for (const seconds of [6, 7, 8]) {
      pass(1_000);
      expect(last()).toContain(`10/132 7% `);
      expect(last()).toContain(` ${seconds}s so far`);
    }
  });

  it('is redrawn at most ten times a second', () => {
    const { phase, step, drawings } = watch(80);
    phase('writing', 2_000);
    for (let done = 1; done <= 1_000; done += 1) step(done, 1);
    expect(drawings().length).toBeLessThanOrEqual(12);
    expect(drawings().length).toBeGreaterThan(8);
  });

  it('whose size is not known yet has no bar', () => {
    const { phase, pass, last } = watch(80);
    phase('selecting', 0);
    pass(3_000);
    expect(last()).toBe('selecting 3s so far');
  });

  it('does not count pauses where it tells how long the rest takes', () => {
    const { phase, step, pass, last, take } = watch(140);
    phase('sweeping', 132);
    step(66, 30_000, 66);
    for (const seconds of [100, 200]) {
      take({ kind: 'pause', seconds, reason: 'refused (429)' });
      pass(seconds * 1_000);
      expect(last()).toContain(' 30s left ');
    }
    take({ kind: 'request' });
    step(88, 10_000);
    expect(last()).toContain(' 20s left ');
    take({ kind: 'pause', seconds: 100, reason: 'refused (429)' });
    phase('writing', 10);
    step(5, 3_000);
    expect(last()).toContain(' 3.0s left ');
  });

  it('tells of a pause, why, and how long it lasts still, until the next request', () => {
    const { phase, step, take, pass, last } = watch(100);
    phase('sweeping', 132);
    step(40, 20_000);
    take({ kind: 'pause', seconds: 240, reason: 'refused (429)' });
    expect(last()).toMatch(/paused for 4m 00s · refused \(429\) · 40\/132 30%/);
    pass(60_000);
    step(41, 1_000);
    expect(last()).toContain('paused for 2m 59s');
    take({ kind: 'request' });
    step(42, 1_000);
    expect(last()).not.toContain('paused');
  });

  it('tells of retries after three seconds, and for what, until it goes on', () => {
    const { phase, step, take, pass, last } = watch(100);
    phase('sweeping', 132);
    step(40, 20_000);
    take({ kind: 'waiting', seconds: 1, reason: 'the API answered 503' });
    pass(2_000);
    expect(last()).not.toContain('503');
    take({ kind: 'request' });
    take({ kind: 'waiting', seconds: 9, reason: 'the API answered 503' });
    pass(1_000);
    expect(last()).toMatch(/again in 8s · the API answered 503 · 40\/132 30%/);
    take({ kind: 'request' });
    pass(20_000);
    expect(last()).toMatch(/asked again · the API answered 503 · 40\/132/);
    step(41, 200);
    expect(last()).not.toContain('503');
  });

  it('tells of several retries the one that comes first', () => {
    const { phase, step, take, pass, last } = watch(100);
    phase('walking', 132);
    step(40, 20_000);
    for (const [seconds, reason] of [
      [20, 'HTTP 502'],
      [9, 'HTTP 503'],
      [30, 'HTTP 504'],
    ] as const) {
      take({ kind: 'waiting', seconds, reason });
    }
    pass(5_000);
    expect(last()).toContain('again in 4s · HTTP 503');
    pass(5_000);
    take({ kind: 'waiting', seconds: 7, reason: 'HTTP 500' });
    pass(1_000);
    expect(last()).toContain('again in 6s · HTTP 500');
  });

  it('tells of an answer that does not come after three seconds, also where there is room for little', () => {
    const { phase, step, take, pass, last } = watch(50);
    phase('sweeping', 132);
    step(40, 20_000);
    pass(8_000);
    expect(last()).not.toContain('answer');
    const answer = { kind: 'answer', request: 'GET /', status: 200, seconds: 1 } as const;
    take({ kind: 'request' });
    pass(2_000);
    take({ ...answer, from: 'API' });
    pass(8_000);
    expect(last()).not.toContain('answer');
    take({ kind: 'request' });
    pass(3_000);
    take({ ...answer, from: 'database' });
    take({ kind: 'request' });
    expect(last()).not.toContain('answer');
    pass(1_000);
    expect(last()).toMatch(/no answer for 4s · 40\/132 30%/);
    take({ kind: 'waiting', seconds: 9, reason: 'no complete answer in 20s' });
    pass(4_000);
    expect(last()).toBe('sweeping again in 5s · no complete answer in 20s');
    step(41, 200);
    expect(last()).not.toContain('answer');
  });

  it('tells the request rate of the last ten seconds', () => {
    const { phase, step, last } = watch(140);
    phase('walking', 4_000);
    const rates = Array.from({ length: 60 }, (_, second) => {
      step(second + 1, 1_000, second < 30 ? 2 : 0);
      return /[\d.]+(?= requests\/s)/.exec(last())?.[0];
    });
    expect([rates[29], rates[34], rates[59]]).toEqual(['2.0', '1.0', undefined]);
  });
});

describe('a phase that ends', () => {
  it('becomes a line with its outcome, above the lines that follow', () => {
    const { take, line, phase, step, screen, close } = watch(80);
    line('before');
    phase('sweeping', 10);
    step(5, 1_000);
    line('in the middle');
    step(10, 500);
    line('Swept.');
    phase('writing', 10);
    step(10, 2_000, 0, { written: 7, failed: 3 });
    take({ kind: 'over' });
    line('after');
    close();
    const lines = ['✓ sweeping 10/10 in 1.5s', 'Swept.', '✓ writing 10/10 in 2.0s, 3 failed', 'after'];
    expect(screen()).toEqual(['before', 'in the middle', ...lines]);
  });

  it('half-way says so, but is silent where it goes on beside the next one', () => {
    const { take, phase, step, screen } = watch(80);
    phase('selecting', 54_429);
    step(12_000);
    phase('sweeping', 132);
    step(40, 20_000);
    take({ kind: 'over' });
    expect(screen()).toEqual(['✗ sweeping 40/132, stopped after 20s']);
  });

  it('before its size is known was stopped', () => {
    const { phase, close, screen } = watch(80);
    phase('selecting', 0);
    close();
    expect(screen()).toEqual(['✗ selecting, stopped after 0.0s']);
  });

  it('and goes on all the same is shown again', () => {
    const { take, phase, step, screen } = watch(80);
    phase('sweeping', 132);
    step(132, 66_000);
    step(133, 500);
    step(134, 500);
    take({ kind: 'over' });
    expect(screen()).toEqual(['✓ sweeping 132/132 in 1m 06s', '✓ sweeping 134/132 in 1m 07s']);
  });
});

it.each([30, 50, 80, 100])('in %i columns lines are broken between words alone', (columns) => {
  const { line, screen } = watch(columns);
  const plain = watch(columns, { isAnimated: false });
  plain.line('about 1m 06s at 2 requests a second, and so on to the end of the line');
  for (const shown of plain.screen()) expect(shown.length).toBeLessThan(columns);
  expect(plain.screen().join('\n')).toMatch(/1m 06s/);
  const path = 'logs/statistics_population_report_20260701_050000.json';
  const text = `  Report: ${path} The Racing API refuses the account (401, asked twice): wrong credentials.`;
  line(text);
  for (const shown of screen()) {
    expect(shown.length).toBeLessThan(columns);
    expect(shown).toMatch(/^ {2}\S/);
  }
  const words = (some: string) => some.replaceAll(/\s+/g, '');
  expect(words(screen().join(''))).toBe(words(text));
  expect(screen().join('\n')).not.toMatch(/[a-z0-9]\n {2}[a-z0-9]+\.json|crede\n/);
});

it('an outcome is coloured without a terminal too where that is asked for', () => {
  const { phase, step, written } = watch(null, { isColored: true });
  phase('sweeping', 132);
  step(132, 66_000);
  const plain = '2026-07-01T05:01:06Z sweeping 132/132 in 1m 06s\n';
  expect(stripVTControlCharacters(written())).toBe(plain);
  expect(written()).not.toBe(plain);
});

it.each([undefined, 0, 1])('is coloured only where it may be, with %s failed', (failed) => {
  const [plain, painted] = [watch(80), watch(80, { isColored: true })];
  for (const { phase, step } of [plain, painted]) {
    phase('writing', 2);
    step(1, 0, 0, { failed });
    step(2, 0, 0, { failed, written: 2 - (failed ?? 0) });
  }
  expect(plain.drawings().join()).not.toContain('\u001b');
  expect(painted.last()).toBe('');
  const marks = painted.screen();
  expect(marks.at(-1)).toContain(failed ? '\u001b[33m✓' : '\u001b[32m✓');
  expect(marks.map(stripVTControlCharacters)).toEqual(plain.screen());
});

describe('elsewhere', () => {
  it('every line bears the time, nothing is overwritten, and what stands still tells why', () => {
    const { line, phase, step, take, pass, written } = watch(null);
    phase('walking', 2);
    take({ kind: 'waiting', seconds: 20, reason: 'the API answered 503' });
    pass(5_000);
    step(2, 56_000);
    line('one\n\ntwo');
    const time = '2026-07-01T05:01:01Z';
    const first = '2026-07-01T05:00:05Z walking again in 15s · the API answered 503 · 0/2 0% · 5s so far';
    expect(written()).toBe(`${first}\n${time} walking 2/2 in 1m 01s\n${time} one\n\n${time} two\n`);
  });

  it.each([
    [0.5, [14_400], '06Z walking 3/14,400', '12Z walking 6/14,400'],
    [2.5, [3_483, 68_517], '04Z walking 10/3,483 0% · 23m 09s left · 4s so far · 2.5', '08Z walking 20/3,483'],
    [100, [2_880_000], '01Z walking 100/2,880,000', '02Z walking 200/2,880,000'],
  ])('at %d steps a second ten steps or five seconds get a line, 8 hours some hundred', (rate, totals, ...first) => {
    const { phase, step, written } = watch(null);
    for (const total of totals) {
      phase('walking', total);
      for (let done = 1; done <= total; done += 1) step(done, 1000 / rate, 1);
    }
    const lines = written().split('\n').slice(0, -1);
    expect(lines.slice(0, 2)).toEqual(first.map((line) => expect.stringContaining(`2026-07-01T05:00:${line}`)));
    expect(lines.length).toBeLessThan(1_000);
    expect(lines.length).toBeGreaterThan(200);
    expect(lines.filter((line) => /walking ([\d,]+)\/\1 in /.test(line))).toHaveLength(totals.length);
    expect(written()).not.toMatch(/[^\P{Cc}\n]/u);
  });
});

it('--verbose has a line for each request and each retry', () => {
  for (const isVerbose of [true, false]) {
    const { take, screen } = watch(80, { isVerbose });
    take({ kind: 'answer', from: 'API', request: 'GET /v1/results?skip=100', status: 503, seconds: 0.251 });
    take({ kind: 'waiting', seconds: 1.4, reason: 'the API answered 503' });
    const lines = ['GET /v1/results?skip=100: 503 in 0.25s', 'Again in 1.4s: the API answered 503'];
    expect(screen()).toEqual(isVerbose ? lines : []);
  }
});

describe('a terminal', () => {
  const { getColorDepth } = WriteStream.prototype;
  const stream = Object.assign(Object.create(process.stdout), { isTTY: true, getColorDepth });
  afterEach(() => void vi.unstubAllEnvs());

  it.each<[Record<string, string>, boolean]>([
    [{ TERM: 'xterm' }, true],
    [{ TERM: 'xterm', CI: '' }, true],
    [{ TERM: 'xterm', CI: 'false' }, true],
    [{ TERM: 'dumb' }, false],
    [{ TERM: 'xterm', CI: 'true' }, false],
  ])('with %j is drawn anew: %s', (environment, isAnimated) => {
    expect(abilitiesOf(stream, environment)).toMatchObject({ output: stream, isAnimated });
  });

  it.each<[Record<string, string>, boolean]>([
    [{ FORCE_COLOR: '1' }, true],
    [{ FORCE_COLOR: '1', NO_COLOR: '' }, true],
    [{ NO_COLOR: '1' }, false],
  ])('with %j has colours: %s', (environment, isColored) => {
    for (const name of ['FORCE_COLOR', 'NO_COLOR']) vi.stubEnv(name, environment[name]);
    expect(abilitiesOf(stream, {})).toMatchObject({ isColored });
  });

  it('has the columns that it says, or 80, and a file has no end', () => {
    const write = () => {};
    expect([50, 0, undefined].map((columns) => columnsOf({ write, isTTY: true, columns }))).toEqual([49, 79, 79]);
    expect(columnsOf({ write, columns: 50 })).toBe(Number.POSITIVE_INFINITY);
  });
});
