import { styleText } from 'node:util';
import { Gauge, type GaugeOptions } from './gauge.js';
import type { Phase, Progress } from './progress.js';

interface Output {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

export interface ProgressOptions extends GaugeOptions {
  output: Output;
  /** The time of day for the lines of a log. */
  now: () => Date;
  /** Whether a terminal may get colours. */
  color?: boolean;
}

/** A bar that redraws itself in a terminal; elsewhere plain lines with the time, fewer as the run grows long. */
export function createProgress(options: ProgressOptions): Progress {
  return options.output.isTTY ? new TerminalProgress(options) : new LineProgress(options);
}

const eraseLine = '\r\u001b[2K';
const redrawMs = 100;
const widestBar = 24;
const narrowestBar = 6;

class TerminalProgress implements Progress {
  private readonly options: ProgressOptions;
  private drawnAtMs = Number.NEGATIVE_INFINITY;
  private drawn: Gauge | undefined;

  constructor(options: ProgressOptions) {
    this.options = options;
  }

  get columns(): number {
    return this.options.output.columns ?? 80;
  }

  log(line: string): void {
    const { output } = this.options;
    output.write(this.drawn ? `${eraseLine}${line}\n` : `${line}\n`);
    if (this.drawn) this.draw(this.drawn);
  }

  phase(label: string, total: number): Phase {
    this.close();
    const gauge = new Gauge(label, total, this.options);
    this.draw(gauge);
    return {
      update: (state) => {
        gauge.take(state);
        const finished = gauge.done >= gauge.total;
        if (finished || this.options.clock() - this.drawnAtMs >= redrawMs) this.draw(gauge);
      },
    };
  }

  close(): void {
    if (this.drawn) this.options.output.write('\n');
    this.drawn = undefined;
  }

  /** As many figures as fit into a line; the bar takes what they leave. */
  private draw(gauge: Gauge): void {
    const { output, clock, color } = this.options;
    this.drawn = gauge;
    this.drawnAtMs = clock();
    // A line that fills the last column would wrap.
    const columns = this.columns - 1;
    const [count = '', ...rest] = gauge.parts();
    let figures = count;
    // Room for a bar comes before the lesser figures, unless the terminal is narrow.
    const barRoom = columns >= 70 ? narrowestBar + 1 : 0;
    for (const part of rest) {
      if (gauge.label.length + 1 + barRoom + figures.length + 3 + part.length <= columns)
        figures += ` · ${part}`;
    }
    const room = Math.min(widestBar, columns - gauge.label.length - figures.length - 2);
    const filled = Math.round(gauge.fraction * room);
    const bar = room >= narrowestBar ? ` ${'█'.repeat(filled).padEnd(room, '░')}` : '';
    const paintedBar = color && bar ? styleText(gauge.failed ? 'yellow' : 'green', bar) : bar;
    const text = bar
      ? `${gauge.label}${paintedBar} ${figures}`
      : `${gauge.label} ${figures}`.slice(0, columns);
    output.write(`${eraseLine}${text.trimEnd()}`);
  }
}

/** At first a line for ten steps or five seconds; later each a sixtieth of the time so far, some 300 in 8 hours. */
const firstSteps = 10;
const firstIntervalMs = 5_000;
const shortestIntervalMs = 1_000;

class LineProgress implements Progress {
  readonly columns = Number.POSITIVE_INFINITY;
  private readonly options: ProgressOptions;
  private readonly startedAtMs: number;

  constructor(options: ProgressOptions) {
    this.options = options;
    this.startedAtMs = options.clock();
  }

  log(line: string): void {
    const time = this.options.now().toISOString().slice(0, 19);
    this.options.output.write(line.replaceAll(/^(?=.)/gm, `${time}Z `).concat('\n'));
  }

  phase(label: string, total: number): Phase {
    const gauge = new Gauge(label, total, this.options);
    let printedAtMs = this.options.clock();
    let printedDone = 0;
    return {
      update: (state) => {
        gauge.take(state);
        const nowMs = this.options.clock();
        const sinceMs = nowMs - printedAtMs;
        const thinnedMs = (nowMs - this.startedAtMs) / 60;
        const byTime = sinceMs >= Math.max(firstIntervalMs, thinnedMs);
        const bySteps =
          gauge.done - printedDone >= firstSteps && sinceMs >= Math.max(shortestIntervalMs, thinnedMs);
        const finished = gauge.done >= gauge.total && gauge.done > printedDone;
        if (!byTime && !bySteps && !finished) return;
        printedAtMs = nowMs;
        printedDone = gauge.done;
        this.log(`${gauge.label} ${gauge.parts().join(' · ')}`);
      },
    };
  }

  close(): void {}
}
