import { styleText } from 'node:util';
import { formatCount, formatDuration, formatRate } from './format.js';
import type { Phase, PhaseState, Progress } from './progress.js';

interface Output {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

export interface ProgressOptions {
  output: Output;
  /** Milliseconds of a clock that is never set back. */
  clock: () => number;
  /** The time of day for the lines of a log. */
  now: () => Date;
  /** How many API requests were started so far. */
  requests: () => number;
  /** Whether a terminal may get colours. */
  color?: boolean;
}

/** A bar that redraws itself in a terminal; elsewhere plain lines with the time, fewer as the run grows long. */
export function createProgress(options: ProgressOptions): Progress {
  return options.output.isTTY ? new TerminalProgress(options) : new LineProgress(options);
}

const currentMs = 10_000;

/** A phase's figures, and their speed since its start. */
class Gauge {
  readonly label: string;
  done = 0;
  failed = 0;
  total: number;
  private readonly startedAtMs: number;
  private readonly options: ProgressOptions;
  /** The last seconds' readings of the request counter. */
  private readonly readings: { atMs: number; requests: number }[];

  constructor(label: string, total: number, options: ProgressOptions) {
    this.label = label;
    this.total = total;
    this.options = options;
    this.startedAtMs = options.clock();
    this.readings = [{ atMs: this.startedAtMs, requests: options.requests() }];
  }

  take(state: PhaseState): void {
    this.done = state.done;
    this.failed = state.failed ?? 0;
    this.total = state.total ?? this.total;
  }

  get fraction(): number {
    return this.total === 0 ? 1 : Math.min(1, this.done / this.total);
  }

  /** The figures, the most telling first. */
  parts(): string[] {
    const seconds = Math.max((this.options.clock() - this.startedAtMs) / 1000, 0.001);
    const rate = this.done / seconds;
    const parts = [
      `${formatCount(this.done)}/${formatCount(this.total)} ${Math.floor(this.fraction * 100)}%`,
    ];
    if (this.done > 0 && this.done < this.total)
      parts.push(`${formatDuration((this.total - this.done) / rate)} left`);
    if (this.failed > 0)
      parts.push(`${formatCount(this.done - this.failed)} ok`, `${formatCount(this.failed)} failed`);
    if (rate > 0) parts.push(formatRate(rate));
    const requestRate = this.requestRate();
    if (requestRate > 0) parts.push(`${requestRate.toFixed(2)} req/s`);
    return parts;
  }

  /** Requests a second, of the last ten seconds. */
  private requestRate(): number {
    const nowMs = this.options.clock();
    const requests = this.options.requests();
    const oldest = this.readings.find(({ atMs }) => nowMs - atMs <= currentMs) ?? this.readings.at(-1);
    this.readings.splice(0, oldest ? this.readings.indexOf(oldest) : 0);
    this.readings.push({ atMs: nowMs, requests });
    return oldest && nowMs > oldest.atMs ? ((requests - oldest.requests) * 1000) / (nowMs - oldest.atMs) : 0;
  }
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
    const paintedBar = color && bar ? styleText(gauge.failed > 0 ? 'yellow' : 'green', bar) : bar;
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
