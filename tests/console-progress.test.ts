import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { createProgress } from '../src/show/progress.js';

const eraseLine = '\r\u001b[2K';
const startedAt = Date.parse('2026-07-01T05:00:00Z');

/** An output that a test reads, and a clock that it sets. */
class Watcher {
  written = '';
  requests = 0;
  nowMs = 0;
  readonly output: { write(text: string): void; isTTY?: boolean; columns?: number };

  constructor(terminal: { columns?: number } | undefined) {
    const write = (text: string) => {
      this.written += text;
    };
    this.output = terminal ? { write, isTTY: true, ...terminal } : { write };
  }

  progress = (color = false) =>
    createProgress({
      color,
      output: this.output,
      clock: () => this.nowMs,
      now: () => new Date(startedAt + this.nowMs),
      requests: () => this.requests,
    });

  get lines(): string[] {
    return this.written.split('\n').slice(0, -1);
  }

  /** What stands on the terminal's lines after all overwriting. */
  get screen(): string[] {
    return this.written
      .split('\n')
      .map((line) => line.split(eraseLine).at(-1) ?? '')
      .filter((line) => line !== '');
  }

  /** Everything that ever stood on a line. */
  get drawings(): string[] {
    return this.written.split('\n').flatMap((line) => line.split(eraseLine).filter((text) => text !== ''));
  }
}

describe.each([80, 50, 20, 5])('in a terminal of %i columns', (columns) => {
  function walked(): Watcher {
    const watcher = new Watcher({ columns });
    const progress = watcher.progress();
    const phase = progress.phase('walking jockeys', 54_429);
    for (let done = 0; done <= 54_429; done += 54_429 / 9) {
      watcher.nowMs += 3_000_000;
      watcher.requests = done;
      phase.update({ done, failed: Math.floor(done / 1000) });
    }
    progress.close();
    return watcher;
  }

  it('no drawing is wider than that', () => {
    const widths = walked().drawings.map((line) => line.length);
    expect(widths.length).toBeGreaterThan(9);
    expect(Math.max(...widths)).toBeLessThan(columns);
  });

  it('one line is redrawn, and the last state stays', () => {
    const { screen } = walked();
    expect(screen).toHaveLength(1);
    expect('walking jockeys').toContain(screen[0]?.slice(0, 4));
  });
});

describe('in a terminal', () => {
  it('a bar shows done and total, percent, time left, successful, failed, rate and request rate', () => {
    const watcher = new Watcher({ columns: 140 });
    const phase = watcher.progress().phase('walking owners', 4_000);
    watcher.nowMs = 500_000;
    watcher.requests = 1_000;
    phase.update({ done: 1_000, failed: 3 });
    expect(watcher.screen.at(-1)).toMatch(
      /^walking owners █{6}░{18} 1,000\/4,000 25% · 25m 00s left · 997 ok · 3 failed · 2\.00?\/s · 2\.00 req\/s$/,
    );
  });

  it('the request rate is that of the last seconds', () => {
    const watcher = new Watcher({ columns: 140 });
    const phase = watcher.progress().phase('walking owners', 4_000);
    for (let second = 1; second <= 60; second += 1) {
      watcher.nowMs += 1_000;
      if (second <= 30) watcher.requests += 2;
      phase.update({ done: second });
      if (second === 30) expect(watcher.screen.at(-1)).toContain('2.00 req/s');
    }
    expect(watcher.screen.at(-1)).not.toContain('req/s');
  });

  it.each([
    [80, /^walking jockeys █+░+ 700\/3,483 20%/],
    [50, /^walking jockeys .*700\/3,483 20%/],
  ])('of %i columns the most telling figures stay', (columns, expected) => {
    const watcher = new Watcher({ columns });
    const phase = watcher.progress().phase('walking jockeys', 3_483);
    watcher.nowMs = 350_000;
    phase.update({ done: 700, failed: 2 });
    expect(watcher.screen.at(-1)).toMatch(expected);
  });

  it('colours are used only where they may be', () => {
    const plain = new Watcher({ columns: 80 });
    const painted = new Watcher({ columns: 80 });
    plain.progress().phase('writing', 2).update({ done: 2 });
    painted.progress(true).phase('writing', 2).update({ done: 2 });
    expect(plain.drawings.join()).not.toContain('\u001b');
    const bar = stripVTControlCharacters(painted.screen.at(-1) ?? '');
    expect(bar).toBe(plain.screen.at(-1));
    expect(bar.length).toBeLessThan(80);
  });

  it('a line in the middle of a bar stands above it, and the bar goes on', () => {
    const watcher = new Watcher({ columns: 80 });
    const progress = watcher.progress();
    progress.log('before');
    const phase = progress.phase('sweeping', 100);
    watcher.nowMs += 1_000;
    phase.update({ done: 50 });
    progress.log('in the middle');
    expect(watcher.screen.at(-1)).toMatch(/^sweeping █{12}░{12} 50\/100 50%/);
    watcher.nowMs += 1_000;
    phase.update({ done: 100 });
    progress.close();
    progress.log('after');
    expect(watcher.screen).toEqual([
      'before',
      'in the middle',
      expect.stringMatching(/^sweeping █{24} 100\/100 100%/),
      'after',
    ]);
  });

  it('a new phase has a line of its own', () => {
    const watcher = new Watcher({ columns: 80 });
    const progress = watcher.progress();
    progress.phase('sweeping', 10).update({ done: 10 });
    progress.phase('writing', 5).update({ done: 5 });
    progress.close();
    progress.close();
    expect(watcher.screen).toEqual([
      expect.stringContaining('sweeping █'),
      expect.stringContaining('writing █'),
    ]);
    expect(watcher.lines).toHaveLength(2);
  });

  it('a bar is redrawn a few times a second, and at its end', () => {
    const watcher = new Watcher({ columns: 80 });
    const phase = watcher.progress().phase('writing', 1_000);
    for (let done = 1; done <= 1_000; done += 1) {
      watcher.nowMs += 1;
      phase.update({ done });
    }
    expect(watcher.drawings.length).toBeLessThanOrEqual(12);
    expect(watcher.screen.at(-1)).toContain('1,000/1,000 100%');
  });

  it('a total may turn out otherwise, and 100% is only all of it', () => {
    const watcher = new Watcher({ columns: 80 });
    const phase = watcher.progress().phase('sweeping', 135);
    watcher.nowMs = 60_000;
    phase.update({ done: 1_399, total: 1_400 });
    expect(watcher.screen.at(-1)).toContain('1,399/1,400 99%');
  });

  it('of nothing to do is done', () => {
    const watcher = new Watcher({});
    watcher.progress().phase('writing', 0).update({ done: 0 });
    expect(watcher.screen.at(-1)).toContain('0/0 100%');
  });
});

describe('elsewhere', () => {
  it('every line bears the time, and nothing is overwritten', () => {
    const watcher = new Watcher(undefined);
    const progress = watcher.progress();
    watcher.nowMs = 61_000;
    progress.log('one\n\ntwo');
    progress.close();
    expect(watcher.written).toBe('2026-07-01T05:01:01Z one\n\n2026-07-01T05:01:01Z two\n');
  });

  /** Runs a phase with so many steps a second and returns its lines. */
  function linesOf(steps: number, stepsPerSecond: number): string[] {
    const watcher = new Watcher(undefined);
    const phase = watcher.progress().phase('walking owners', steps);
    for (let done = 1; done <= steps; done += 1) {
      watcher.nowMs += 1000 / stepsPerSecond;
      watcher.requests += 1;
      phase.update({ done });
    }
    expect(watcher.written).not.toMatch(/[^\P{Cc}\n]/u);
    return watcher.lines;
  }

  it('at first there is a line for ten steps', () => {
    const [first, second] = linesOf(54_429, 2.5);
    expect(first).toMatch(/^2026-07-01T05:00:04Z walking owners 10\/54,429 0% · .* left · 2\.50?\/s/);
    expect(second).toContain('T05:00:08Z walking owners 20/54,429');
  });

  it('at first there is a line for five seconds', () => {
    expect(linesOf(100, 0.5).slice(0, 2)).toEqual([
      expect.stringContaining('T05:00:06Z walking owners 3/100'),
      expect.stringContaining('T05:00:12Z walking owners 6/100'),
    ]);
  });

  it.each([0.5, 1.89, 2, 5, 100])('a run of 8 hours at %d steps a second stays under 1,000 lines', (rate) => {
    const lines = linesOf(Math.round(8 * 3600 * rate), rate);
    expect(lines.length).toBeLessThan(1_000);
    expect(lines.length).toBeGreaterThan(200);
    expect(lines.at(-1)).toMatch(/ 100%/);
  });

  it('the three phases of a run of 8 hours together stay under 1,000 lines', () => {
    const watcher = new Watcher(undefined);
    const progress = watcher.progress();
    for (const [label, total] of Object.entries({ jockeys: 3_483, trainers: 2_781, owners: 48_165 })) {
      const phase = progress.phase(label, total);
      for (let done = 1; done <= total; done += 1) {
        watcher.nowMs += 500;
        phase.update({ done });
      }
    }
    expect(watcher.lines.length).toBeLessThan(1_000);
    expect(watcher.lines.filter((line) => line.includes('100%'))).toHaveLength(3);
  });
});
