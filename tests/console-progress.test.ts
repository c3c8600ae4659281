import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { createScreen } from '../src/show/progress.js';

const eraseLine = '\r\u001b[2K';

/** A screen, a terminal's unless `columns` is null, with an output that a test reads and a clock that it sets. */
function watch(columns: number | null | undefined, color = false) {
  let written = '';
  let nowMs = 0;
  let phase = { label: '', total: 0 };
  const write = (text: string) => {
    written += text;
  };
  const { take, close } = createScreen({
    output: columns === null ? { write } : { write, isTTY: true, columns },
    clock: () => nowMs,
    now: () => new Date(Date.parse('2026-07-01T05:00:00Z') + nowMs),
    color,
  });
  /** Of each line everything that ever stood on it. */
  const drawings = () => written.split('\n').map((line) => line.split(eraseLine).filter(Boolean));
  /** What stands on the lines after all overwriting. */
  const screen = () => drawings().flatMap((line) => line.at(-1) ?? []);
  return {
    written: () => written,
    drawings: () => drawings().flat(),
    screen,
    last: () => screen().at(-1) ?? '',
    line: (line: string) => take({ kind: 'line', line }),
    phase: (label: string, total: number) => {
      phase = { label, total };
      take({ kind: 'phase', ...phase, done: 0 });
    },
    /** A step so many milliseconds and requests after the one before. */
    step: (done: number, afterMs = 0, requests = 0, more: { failed?: number; total?: number } = {}) => {
      nowMs += afterMs;
      for (let request = 0; request < requests; request += 1) take({ kind: 'request' });
      take({ kind: 'step', ...phase, done, ...more });
    },
    take,
    close,
  };
}

describe('a bar', () => {
  const quarter = '1,000/4,000 25% · 25m 00s left';
  it.each([
    [140, 1_000, 3, 4_000, `walking owners █{6}░{18} ${quarter} · 997 ok · 3 failed · 2.00/s · 2.00 req/s`],
    [140, 1_000, 0, 4_000, `walking owners █{6}░{18} ${quarter} · 2.00/s · 2.00 req/s · 1,000 ok · 0 failed`],
    [undefined, 1_000, undefined, 4_000, `walking owners █{3}░{8} ${quarter} · 2.00/s · 2.00 req/s`],
    [80, 1_000, 3, 4_000, `walking owners █{3}░{10} ${quarter} · 997 ok · 3 failed`],
    [50, 1_000, 3, 4_000, `walking owners ${quarter}`],
    [40, 1_000, 3, 4_000, 'walking owners 1,000/4,000 25% · 997 ok'],
    [38, 1_000, undefined, 4_000, 'walking owners █{2}░{4} 1,000/4,000 25%'],
    [20, 1_000, 3, 4_000, 'walking owners 1,00'],
    [5, 1_000, 3, 4_000, 'walk'],
    [80, 1_399, undefined, 1_400, 'walking owners █{14} 1,399/1,400 99% · 0.4s left · 2.80/s · 2.00 req/s'],
    [80, 0, undefined, 0, 'walking owners █{24} 0/0 100% · 2.00 req/s'],
    [80, 9, undefined, 8, 'walking owners █{24} 9/8 100% · 0.02/s · 2.00 req/s'],
  ])('in %s columns, %i done, %s failed, of %i, is "%s"', (columns, done, failed, total, expected) => {
    const { phase, step, last } = watch(columns);
    phase('walking owners', 4_000);
    step(done, 500_000, 1_000, { failed, total });
    expect(last()).toMatch(new RegExp(`^${expected.replaceAll('.', '\\.')}$`));
  });

  it('tells of a pause, and why, until the next request', () => {
    const { phase, step, take, last } = watch(80);
    phase('sweeping', 132);
    step(40, 20_000);
    take({ kind: 'pause', seconds: 1.04, reason: 'refused (429)' });
    expect(last()).toMatch(/^sweeping █+░* 40\/132 30% · paused for 1\.0s, refused \(429\)/);
    take({ kind: 'request' });
    step(41, 1_000);
    expect(last()).not.toContain('paused');
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

  it.each([undefined, 0, 1])('is coloured only where it may be, with %s failed', (failed) => {
    // Otherwise Node would look at the tests' own output.
    vi.stubEnv('FORCE_COLOR', '1');
    onTestFinished(() => void vi.unstubAllEnvs());
    const [plain, painted] = [watch(80), watch(80, true)];
    for (const { phase, step } of [plain, painted]) {
      phase('writing', 2);
      step(2, 0, 0, { failed });
    }
    expect(plain.drawings().join()).not.toContain('\u001b');
    expect(painted.last()).toContain(failed ? '\u001b[33m' : '\u001b[32m');
    expect(stripVTControlCharacters(painted.last())).toBe(plain.last());
  });

  it('has a line of its own for each phase, below the lines that are told meanwhile', () => {
    const { take, line, phase, step, screen, last } = watch(80);
    line('before');
    phase('sweeping', 10);
    step(5, 1_000);
    line('in the middle');
    expect(last()).toMatch(/^sweeping █{12}░{12} 5\/10 50%/);
    step(10);
    phase('writing', 10);
    step(10);
    take({ kind: 'over' });
    line('after');
    const bars = ['sweeping', 'writing'].map((label) => expect.stringMatching(`^${label} █{24} 10/10 100%`));
    expect(screen()).toEqual(['before', 'in the middle', ...bars, 'after']);
  });

  it('is redrawn on one line a few times a second, and at its end', () => {
    const { phase, step, close, drawings, screen, written } = watch(80);
    phase('writing', 1_000);
    for (let done = 1; done <= 1_000; done += 1) step(done, 1);
    expect(drawings().length).toBeLessThanOrEqual(12);
    expect(drawings().length).toBeGreaterThan(8);
    close();
    expect(screen()).toEqual([expect.stringContaining('1,000/1,000 100%')]);
    expect(written()).toMatch(/[^\n]\n$/);
  });
});

describe('elsewhere', () => {
  it('every line bears the time, and nothing is overwritten', () => {
    const { line, phase, step, close, written } = watch(null);
    phase('walking', 1);
    step(0, 61_000);
    line('one\n\ntwo');
    close();
    const time = '2026-07-01T05:01:01Z';
    expect(written()).toBe(`${time} walking 0/1 0%\n${time} one\n\n${time} two\n`);
  });

  it.each([
    [0.5, [14_400], '06Z walking 3/14,400', '12Z walking 6/14,400'],
    [2.5, [3_483, 68_517], '04Z walking 10/3,483 0% · 23m 09s left · 2.50/s · 2.50 req/s', '08Z walking 20/3,483'],
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
    expect(lines.filter((line) => line.includes(' 100%'))).toHaveLength(totals.length);
    expect(written()).not.toMatch(/[^\P{Cc}\n]/u);
  });
});
