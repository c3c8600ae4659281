import { formatCount, formatDuration } from './format.js';

/** Where a run's lines and bars go. */
export interface Progress {
  /** One line for people, at once. */
  log(line: string): void;
  /** A stretch of work with a known number of steps. Ends the one before. */
  phase(label: string, total: number): Phase;
  /** Takes what is drawn off the screen. */
  close(): void;
}

export interface Phase {
  update(state: PhaseState): void;
}

/** How far a phase is. `total` may turn out otherwise than announced. */
export interface PhaseState {
  done: number;
  total?: number;
  failed?: number;
}

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
}

/** A bar that redraws itself in a terminal; elsewhere plain lines with the time, fewer as the run grows long. */
export function createProgress(options: ProgressOptions): Progress {
  return options.output.isTTY ? new TerminalProgress(options) : new LineProgress(options);
}

/** Says nothing. */
export const silentProgress: Progress = {
  log() {},
  phase: () => ({ update() {} }),
  close() {},
};

/** Where a phase stands. */
export interface PhaseNote {
  label: string;
  since: Date;
  done: number;
  total: number;
}

/** The same progress, which also tells `observe` where each phase stands. */
export function observed(progress: Progress, observe: (note: PhaseNote) => void): Progress {
  return {
    log: (line) => progress.log(line),
    close: () => progress.close(),
    phase: (label, announcedTotal) => {
      const phase = progress.phase(label, announcedTotal);
      const since = new Date();
      const tell = ({ done, total = announcedTotal }: PhaseState) => observe({ label, since, done, total });
      tell({ done: 0 });
      return {
        update: (state) => {
          phase.update(state);
          tell(state);
        },
      };
    },
  };
}

/** A phase's figures, and their speed since its start. */
class Gauge {
  readonly label: string;
  done = 0;
  failed = 0;
  total: number;
  private readonly startedAtMs: number;
  private readonly requestsBefore: number;
  private readonly options: ProgressOptions;

  constructor(label: string, total: number, options: ProgressOptions) {
    this.label = label;
    this.total = total;
    this.options = options;
    this.startedAtMs = options.clock();
    this.requestsBefore = options.requests();
  }

  take(state: PhaseState): void {
    this.done = state.done;
    this.failed = state.failed ?? 0;
    this.total = state.total ?? this.total;
  }

  get elapsedSeconds(): number {
    return (this.options.clock() - this.startedAtMs) / 1000;
  }

  get fraction(): number {
    return this.total === 0 ? 1 : Math.min(1, this.done / this.total);
  }

  /** The figures, the most telling first. */
  parts(): string[] {
    const seconds = Math.max(this.elapsedSeconds, 0.001);
    const rate = this.done / seconds;
    const parts = [
      `${formatCount(this.done)}/${formatCount(this.total)}`,
      `${Math.floor(this.fraction * 100)}%`,
    ];
    if (this.done > 0 && this.done < this.total)
      parts.push(`${formatDuration((this.total - this.done) / rate)} left`);
    if (this.failed > 0) parts.push(`${formatCount(this.failed)} failed`);
    if (rate > 0) parts.push(`${rate < 10 ? rate.toFixed(1) : formatCount(Math.round(rate))}/s`);
    const requests = this.options.requests() - this.requestsBefore;
    if (requests > 0) parts.push(`${(requests / seconds).toFixed(2)} requests/s`);
    return parts;
  }
}

const eraseLine = '\r\u001b[2K';
const redrawMs = 100;
const barColumns = 24;

class TerminalProgress implements Progress {
  private readonly options: ProgressOptions;
  private drawnAtMs = Number.NEGATIVE_INFINITY;
  private drawn: Gauge | undefined;

  constructor(options: ProgressOptions) {
    this.options = options;
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

  private draw(gauge: Gauge): void {
    const { output, clock } = this.options;
    this.drawn = gauge;
    this.drawnAtMs = clock();
    const columns = (output.columns ?? 80) - 1;
    const [count, percent, ...rest] = gauge.parts();
    const bar = `${'█'.repeat(Math.round(gauge.fraction * barColumns)).padEnd(barColumns, '░')}`;
    let text = `${gauge.label} ${count} ${percent}`;
    if (text.length + 1 + barColumns <= columns) text = `${gauge.label} ${bar} ${count} ${percent}`;
    for (const part of rest) if (text.length + 3 + part.length <= columns) text += ` · ${part}`;
    output.write(`${eraseLine}${text.slice(0, columns)}`);
  }
}

/** At first a line for ten steps or five seconds; later each a sixtieth of the time so far, some 300 in 8 hours. */
const firstSteps = 10;
const firstIntervalMs = 5_000;
const shortestIntervalMs = 1_000;

class LineProgress implements Progress {
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
