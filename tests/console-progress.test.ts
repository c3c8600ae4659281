import { stripVTControlCharacters } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createScreen } from '../src/show/progress.js';

afterEach(() => void vi.unstubAllEnvs());

const eraseLine = '\r\u001b[2K';
const startedAt = Date.parse('2026-07-01T05:00:00Z');

/** A screen, a terminal's unless `columns` is null, with an output that a test reads and a clock that it sets. */
function watch(columns: number | null | undefined, color = false) {
  let written = '';
  let nowMs = 0;
  const write = (text: string) => {
    written += text;
  };
  const { take, close } = createScreen({
    output: columns === null ? { write } : { write, isTTY: true, columns },
    clock: () => nowMs,
    now: () => new Date(startedAt + nowMs),
    color,
  });
  /** What stands on the lines after all overwriting. */
  const screen = () => written.split('\n').flatMap((line) => line.split(eraseLine).at(-1) || []);
  return {
    written: () => written,
    screen,
    last: () => screen().at(-1) ?? '',
    /** Everything that ever stood on a line. */
    drawings: () =>
      written
        .replaceAll(eraseLine, '\n')
        .split('\n')
        .filter((text) => text !== ''),
    line: (line: string) => take({ kind: 'line', line }),
    phase: (label: string, total: number) => take({ kind: 'phase', label, total }),
    /** A step so many milliseconds and requests after the one before. */
    step: (done: number, afterMs = 0, requests = 0, more: { failed?: number; total?: number } = {}) => {
      nowMs += afterMs;
      for (let request = 0; request < requests; request += 1) take({ kind: 'request' });
      take({ kind: 'step', done, ...more });
    },
    over: () => take({ kind: 'over' }),
    close,
  };
}

describe('a bar', () => {
  it.each([80, 50, 20, 5])('in a terminal of %i columns is redrawn on one line, and never wider', (columns) => {
    const { phase, step, over, drawings, screen, last } = watch(columns);
    phase('walking jockeys', 54_429);
    for (let done = 0; done <= 54_429; done += 54_429 / 9)
      step(done, 3_000_000, 100, { failed: Math.floor(done / 1000) });
    over();
    expect(drawings().length).toBeGreaterThan(9);
    expect(Math.max(...drawings().map((line) => line.length))).toBeLessThan(columns);
    expect(screen()).toHaveLength(1);
    expect('walking jockeys').toContain(last().slice(0, 4));
  });

  it.each([
    [140, 3, '█{6}░{18} 1,000/4,000 25% · 25m 00s left · 997 ok · 3 failed · 2.00/s · 2.00 req/s'],
    [140, 0, '█{6}░{18} 1,000/4,000 25% · 25m 00s left · 2.00/s · 2.00 req/s · 1,000 ok · 0 failed'],
    [undefined, undefined, '█{3}░{8} 1,000/4,000 25% · 25m 00s left · 2.00/s · 2.00 req/s'],
    [80, 3, '█{3}░{10} 1,000/4,000 25% · 25m 00s left · 997 ok · 3 failed'],
    [50, 3, '1,000/4,000 25% · 25m 00s left'],
    [40, 3, '1,000/4,000 25% · 997 ok'],
    [38, undefined, '█{2}░{4} 1,000/4,000 25%'],
  ])('of %s columns with %s failed shows the most telling figures', (columns, failed, expected) => {
    const { phase, step, last } = watch(columns);
    phase('walking owners', 4_000);
    step(1_000, 500_000, 1_000, { failed });
    expect(last()).toMatch(new RegExp(`^walking owners ${expected.replaceAll('.', '\\.')}$`));
  });

  it('tells the request rate of the last ten seconds', () => {
    const { phase, step, last } = watch(140);
    phase('walking owners', 4_000);
    const rates = Array.from({ length: 60 }, (_, second) => {
      step(second + 1, 1_000, second < 30 ? 2 : 0);
      return /[\d.]+(?= req\/s)/.exec(last())?.[0];
    });
    expect([rates[29], rates[34], rates[59]]).toEqual(['2.00', '1.00', undefined]);
  });

  it.each([
    [undefined, '\u001b[32m'],
    [0, '\u001b[32m'],
    [1, '\u001b[33m'],
  ])('is coloured only where it may be, with %s failed', (failed, colour) => {
    // Otherwise Node would look at the tests' own output.
    vi.stubEnv('FORCE_COLOR', '1');
    const [plain, painted] = [watch(80), watch(80, true)];
    for (const { phase, step } of [plain, painted]) {
      phase('writing', 2);
      step(2, 0, 0, { failed });
    }
    expect(plain.drawings().join()).not.toContain('\u001b');
    expect(painted.last()).toContain(colour);
    expect(stripVTControlCharacters(painted.last())).toBe(plain.last());
  });

  it('goes on below a line that is told meanwhile', () => {
    const { line, phase, step, close, screen, last } = watch(80);
    line('before');
    phase('sweeping', 100);
    step(50, 1_000);
    line('in the middle');
    expect(last()).toMatch(/^sweeping █{12}░{12} 50\/100 50%/);
    step(100, 1_000);
    close();
    line('after');
    const bar = expect.stringMatching(/^sweeping █{24} 100\/100 100%/);
    expect(screen()).toEqual(['before', 'in the middle', bar, 'after']);
  });

  it('has a line of its own for each phase', () => {
    const { phase, step, over, close, screen, written } = watch(80);
    for (const label of ['sweeping', 'writing']) {
      phase(label, 10);
      step(10);
    }
    over();
    step(11);
    close();
    expect(screen()).toEqual(['sweeping █', 'writing █'].map((bar) => expect.stringContaining(bar)));
    expect(written().split('\n')).toHaveLength(3);
  });

  it('is redrawn a few times a second, and at its end', () => {
    const { phase, step, drawings, last } = watch(80);
    phase('writing', 1_000);
    for (let done = 1; done <= 1_000; done += 1) step(done, 1);
    expect(drawings().length).toBeLessThanOrEqual(12);
    expect(drawings().length).toBeGreaterThan(8);
    expect(last()).toContain('1,000/1,000 100%');
  });

  it.each([
    [1_399, 1_400, '1,399/1,400 99%'],
    [0, 0, '0/0 100%'],
    [9, 8, '9/8 100%'],
  ])('of %i of a total that turns out to be %i shows %s', (done, total, expected) => {
    const { phase, step, last } = watch(80);
    phase('sweeping', 135);
    step(done, 60_000, 0, { total });
    expect(last()).toContain(expected);
  });
});

describe('elsewhere', () => {
  it('every line bears the time, and nothing is overwritten', () => {
    const { line, step, close, written } = watch(null);
    step(0, 61_000);
    line('one\n\ntwo');
    close();
    expect(written()).toBe('2026-07-01T05:01:01Z one\n\n2026-07-01T05:01:01Z two\n');
  });

  /** The lines of phases with so many steps a second, each step a request. */
  function linesOf(totals: number[], stepsPerSecond: number): string[] {
    const { phase, step, written } = watch(null);
    for (const total of totals) {
      phase('walking', total);
      for (let done = 1; done <= total; done += 1) step(done, 1000 / stepsPerSecond, 1);
    }
    expect(written()).not.toMatch(/[^\P{Cc}\n]/u);
    return written().split('\n').slice(0, -1);
  }

  it.each([
    ['ten steps', 2.5, '04Z walking 10/54,429 0% · 6h 02m left · 2.50/s · 2.50 req/s', '08Z walking 20/54,429'],
    ['five seconds', 0.5, '06Z walking 3/54,429', '12Z walking 6/54,429'],
    ['a second', 100, '01Z walking 100/54,429', '02Z walking 200/54,429'],
  ])('at first there is a line for %s', (_, stepsPerSecond, ...expected) => {
    const [first, second] = linesOf([54_429], stepsPerSecond);
    expect(first).toContain(`2026-07-01T05:00:${expected[0]}`);
    expect(second).toContain(`2026-07-01T05:00:${expected[1]}`);
  });

  it.each([
    ...[0.5, 1.89, 2, 5, 100].map((rate) => [rate, [Math.round(8 * 3600 * rate)]] as const),
    [2, [3_483, 2_781, 48_165]] as const,
  ])('8 hours at %d steps a second, in phases of %j, take some hundred lines', (rate, totals) => {
    const lines = linesOf([...totals], rate);
    expect(lines.length).toBeLessThan(1_000);
    expect(lines.length).toBeGreaterThan(200);
    expect(lines.at(-1)).toMatch(/ 100%/);
    expect(lines.filter((line) => line.includes(' 100%'))).toHaveLength(totals.length);
  });
});
