import { styleText } from 'node:util';
import { fractionOf, isOver, type Phase, type RunEvent, type Tell } from '../events.js';
import { formatCount, formatDuration, formatRate } from '../format.js';

export interface ScreenOptions {
  output: { write(text: string): unknown; isTTY?: boolean; columns?: number };
  /** Milliseconds of a clock that is never set back. */
  clock: () => number;
  /** The time of day for the lines of a log. */
  now: () => Date;
  /** Whether a terminal may get colours. */
  color?: boolean;
}

/** What people see of a run while it works. */
export interface Screen {
  take: Tell;
  /** How wide a line may be. */
  columns(): number;
  /** Takes what is drawn off the screen. */
  close(): void;
}

/** A bar that redraws itself in a terminal; elsewhere plain lines with the time, fewer as the run grows long. */
export function createScreen(options: ScreenOptions): Screen {
  return options.output.isTTY ? terminalScreen(options) : plainScreen(options);
}

/** So long back goes what tells how many requests a second there are now. */
const currentMs = 10_000;

/** Tells a phase in figures, for which it listens to the run's requests. */
function createMeter(clock: () => number) {
  let requests = 0;
  let sinceMs = 0;
  let readings: { atMs: number; requests: number }[] = [];
  let pause: string | undefined;

  /** Requests a second, of the phase's last ten seconds. */
  function requestRate(nowMs: number): number {
    const oldest = readings.find(({ atMs }) => nowMs - atMs <= currentMs) ?? readings.at(-1);
    readings.splice(0, oldest ? readings.indexOf(oldest) : 0);
    readings.push({ atMs: nowMs, requests });
    return oldest && nowMs > oldest.atMs ? ((requests - oldest.requests) * 1000) / (nowMs - oldest.atMs) : 0;
  }

  return {
    take: (event: RunEvent) => {
      const { kind } = event;
      if (kind === 'request') requests += 1;
      if (kind === 'pause') pause = `paused for ${formatDuration(event.seconds)}, ${event.reason}`;
      if (kind === 'request' || kind === 'phase') pause = undefined;
      if (kind !== 'phase') return;
      sinceMs = clock();
      readings = [{ atMs: sinceMs, requests }];
    },
    figures: (phase: Phase) => {
      const nowMs = clock();
      const [done = '', ...others] = figuresOf(phase, Math.max((nowMs - sinceMs) / 1000, 0.001), requestRate(nowMs));
      return pause === undefined ? [done, ...others] : [done, pause, ...others];
    },
  };
}

/** The figures, the most telling first: that some have failed comes before how fast it goes. */
function figuresOf(phase: Phase, seconds: number, requestRate: number): string[] {
  const { done, total, failed, written = done - (failed ?? 0) } = phase;
  const rate = done / seconds;
  const left = done > 0 && done < total ? [`${formatDuration((total - done) / rate)} left`] : [];
  const speed = rate > 0 ? [formatRate(rate)] : [];
  if (requestRate > 0) speed.push(`${requestRate.toFixed(2)} req/s`);
  const outcome = failed === undefined ? [] : [`${formatCount(written)} ok`, `${formatCount(failed)} failed`];
  const percent = Math.floor(fractionOf(phase) * 100);
  const rest = failed ? [...outcome, ...speed] : [...speed, ...outcome];
  return [`${formatCount(done)}/${formatCount(total)} ${percent}%`, ...left, ...rest];
}

const eraseLine = '\r\u001b[2K';
const redrawMs = 100;
const widestBar = 24;
const narrowestBar = 6;

function terminalScreen({ output, clock, color = false }: ScreenOptions): Screen {
  const meter = createMeter(clock);
  let phase: Phase | undefined;
  let drawnAtMs = Number.NEGATIVE_INFINITY;
  const columns = () => output.columns ?? 80;

  const close = () => {
    if (phase) output.write('\n');
    phase = undefined;
  };
  const draw = () => {
    if (phase === undefined) return;
    drawnAtMs = clock();
    // A line that fills the last column would wrap.
    output.write(`${eraseLine}${barLine(phase, meter.figures(phase), columns() - 1, color)}`);
  };
  return {
    columns,
    close,
    take: (event) => {
      meter.take(event);
      if (event.kind === 'line') {
        output.write(phase ? `${eraseLine}${event.line}\n` : `${event.line}\n`);
        return draw();
      }
      if (event.kind === 'pause') draw();
      if (event.kind === 'phase' || event.kind === 'over') close();
      if (event.kind !== 'phase' && event.kind !== 'step') return;
      phase = event;
      const due = event.kind === 'phase' || isOver(phase) || clock() - drawnAtMs >= redrawMs;
      if (due) draw();
    },
  };
}

/** As many figures as fit into a line; the bar takes what they leave. */
function barLine(phase: Phase, [first = '', ...rest]: string[], columns: number, color: boolean): string {
  const { label, failed } = phase;
  let figures = first;
  // Room for a bar comes before the lesser figures, unless the terminal is narrow.
  const barRoom = columns >= 70 ? narrowestBar + 1 : 0;
  for (const part of rest) {
    if (label.length + 1 + barRoom + figures.length + 3 + part.length <= columns) figures += ` · ${part}`;
  }
  const room = Math.min(widestBar, columns - label.length - figures.length - 2);
  if (room < narrowestBar) return `${label} ${figures}`.slice(0, columns).trimEnd();
  const filled = Math.round(fractionOf(phase) * room);
  const bar = ` ${'█'.repeat(filled).padEnd(room, '░')}`;
  return `${label}${color ? styleText(failed ? 'yellow' : 'green', bar) : bar} ${figures}`.trimEnd();
}

/** At first a line for ten steps or five seconds; later each a sixtieth of the time so far, some 300 in 8 hours. */
const firstSteps = 10;
const firstIntervalMs = 5_000;
const shortestIntervalMs = 1_000;

function plainScreen({ output, clock, now }: ScreenOptions): Screen {
  const meter = createMeter(clock);
  const startedAtMs = clock();
  let printedAtMs = startedAtMs;
  let printedDone = 0;
  let printedEnd = false;

  const print = (line: string) => {
    const time = now().toISOString().slice(0, 19);
    output.write(line.replaceAll(/^(?=.)/gm, `${time}Z `).concat('\n'));
  };
  const isDue = (phase: Phase, nowMs: number) => {
    const { done } = phase;
    const sinceMs = nowMs - printedAtMs;
    const thinnedMs = (nowMs - startedAtMs) / 60;
    const bySteps = done - printedDone >= firstSteps && sinceMs >= Math.max(shortestIntervalMs, thinnedMs);
    const byTime = sinceMs >= Math.max(firstIntervalMs, thinnedMs);
    return bySteps || byTime || (isOver(phase) && done > 0 && !printedEnd);
  };
  return {
    columns: () => Number.POSITIVE_INFINITY,
    close: () => {},
    take: (event) => {
      meter.take(event);
      if (event.kind === 'line') return print(event.line);
      if (event.kind !== 'phase' && event.kind !== 'step') return;
      const nowMs = clock();
      if (event.kind === 'step' && !isDue(event, nowMs)) return;
      printedAtMs = nowMs;
      printedDone = event.done;
      printedEnd = isOver(event);
      if (event.kind === 'step') print(`${event.label} ${meter.figures(event).join(' · ')}`);
    },
  };
}
