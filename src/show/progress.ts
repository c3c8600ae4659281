import { styleText } from 'node:util';
import type { RunEvent, Tell } from '../events.js';
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
  const count = countRequests(options.clock);
  const screen = options.output.isTTY ? terminalScreen(options, count) : plainScreen(options, count);
  return {
    ...screen,
    take: (event) => {
      if (event.kind === 'request') count.started();
      else screen.take(event);
    },
  };
}

/** A phase's figures. */
interface Gauge {
  label: string;
  done: number;
  total: number;
  /** Undefined in a phase where nothing can fail for one entity alone. */
  failed: number | undefined;
  sinceMs: number;
}

/** The gauge after an event: a new one at a phase's start; undefined where there is none yet. */
function gaugeAfter(event: RunEvent, gauge: Gauge | undefined, nowMs: number): Gauge | undefined {
  if (event.kind === 'phase') {
    return { label: event.label, done: 0, total: event.total, failed: undefined, sinceMs: nowMs };
  }
  if (event.kind !== 'step' || gauge === undefined) return gauge;
  return { ...gauge, done: event.done, failed: event.failed, total: event.total ?? gauge.total };
}

function fractionOf({ done, total }: Gauge): number {
  return total === 0 ? 1 : Math.min(1, done / total);
}

/** The figures, the most telling first: that some have failed comes before how fast it goes. */
function partsOf(gauge: Gauge, requestRate: number, nowMs: number): string[] {
  const { done, total, failed } = gauge;
  const rate = done / Math.max((nowMs - gauge.sinceMs) / 1000, 0.001);
  const speed = [
    ...(rate > 0 ? [formatRate(rate)] : []),
    ...(requestRate > 0 ? [`${requestRate.toFixed(2)} req/s`] : []),
  ];
  const outcome = failed === undefined ? [] : [`${formatCount(done - failed)} ok`, `${formatCount(failed)} failed`];
  return [
    `${formatCount(done)}/${formatCount(total)} ${Math.floor(fractionOf(gauge) * 100)}%`,
    ...(done > 0 && done < total ? [`${formatDuration((total - done) / rate)} left`] : []),
    ...(failed ? [...outcome, ...speed] : [...speed, ...outcome]),
  ];
}

const currentMs = 10_000;

interface RequestCount {
  started(): void;
  /** Begins a phase's own count. */
  restart(): void;
  /** Requests a second, of the last ten seconds. */
  rate(): number;
}

function countRequests(clock: () => number): RequestCount {
  let requests = 0;
  let readings: { atMs: number; requests: number }[] = [];
  return {
    started: () => {
      requests += 1;
    },
    restart: () => {
      readings = [{ atMs: clock(), requests }];
    },
    rate: () => {
      const nowMs = clock();
      const oldest = readings.find(({ atMs }) => nowMs - atMs <= currentMs) ?? readings.at(-1);
      readings.splice(0, oldest ? readings.indexOf(oldest) : 0);
      readings.push({ atMs: nowMs, requests });
      return oldest && nowMs > oldest.atMs ? ((requests - oldest.requests) * 1000) / (nowMs - oldest.atMs) : 0;
    },
  };
}

const eraseLine = '\r\u001b[2K';
const redrawMs = 100;
const widestBar = 24;
const narrowestBar = 6;

function terminalScreen({ output, clock, color = false }: ScreenOptions, count: RequestCount): Screen {
  let gauge: Gauge | undefined;
  let drawnAtMs = Number.NEGATIVE_INFINITY;
  const columns = () => output.columns ?? 80;

  const close = () => {
    if (gauge) output.write('\n');
    gauge = undefined;
  };
  const draw = () => {
    if (gauge === undefined) return;
    drawnAtMs = clock();
    const parts = partsOf(gauge, count.rate(), drawnAtMs);
    // A line that fills the last column would wrap.
    output.write(`${eraseLine}${barLine(gauge, parts, columns() - 1, color)}`);
  };
  return {
    columns,
    close,
    take: (event) => {
      if (event.kind === 'line') {
        output.write(gauge ? `${eraseLine}${event.line}\n` : `${event.line}\n`);
        return draw();
      }
      if (event.kind === 'phase' || event.kind === 'over') close();
      if (event.kind === 'phase') count.restart();
      const next = gaugeAfter(event, gauge, clock());
      if (next === undefined || next === gauge) return;
      gauge = next;
      const due = event.kind === 'phase' || gauge.done >= gauge.total || clock() - drawnAtMs >= redrawMs;
      if (due) draw();
    },
  };
}

/** As many figures as fit into a line; the bar takes what they leave. */
function barLine(gauge: Gauge, [first = '', ...rest]: string[], columns: number, color: boolean): string {
  const { label, failed } = gauge;
  let figures = first;
  // Room for a bar comes before the lesser figures, unless the terminal is narrow.
  const barRoom = columns >= 70 ? narrowestBar + 1 : 0;
  for (const part of rest) {
    if (label.length + 1 + barRoom + figures.length + 3 + part.length <= columns) figures += ` · ${part}`;
  }
  const room = Math.min(widestBar, columns - label.length - figures.length - 2);
  if (room < narrowestBar) return `${label} ${figures}`.slice(0, columns).trimEnd();
  const filled = Math.round(fractionOf(gauge) * room);
  const bar = ` ${'█'.repeat(filled).padEnd(room, '░')}`;
  return `${label}${color ? styleText(failed ? 'yellow' : 'green', bar) : bar} ${figures}`.trimEnd();
}

/** At first a line for ten steps or five seconds; later each a sixtieth of the time so far, some 300 in 8 hours. */
const firstSteps = 10;
const firstIntervalMs = 5_000;
const shortestIntervalMs = 1_000;

function plainScreen({ output, clock, now }: ScreenOptions, count: RequestCount): Screen {
  const startedAtMs = clock();
  let gauge: Gauge | undefined;
  let printedAtMs = startedAtMs;
  let printedDone = 0;

  const print = (line: string) => {
    const time = now().toISOString().slice(0, 19);
    output.write(line.replaceAll(/^(?=.)/gm, `${time}Z `).concat('\n'));
  };
  const isDue = ({ done, total }: Gauge, nowMs: number) => {
    const sinceMs = nowMs - printedAtMs;
    const thinnedMs = (nowMs - startedAtMs) / 60;
    const bySteps = done - printedDone >= firstSteps && sinceMs >= Math.max(shortestIntervalMs, thinnedMs);
    return bySteps || sinceMs >= Math.max(firstIntervalMs, thinnedMs) || (done >= total && done > printedDone);
  };
  return {
    columns: () => Number.POSITIVE_INFINITY,
    close: () => {},
    take: (event) => {
      if (event.kind === 'line') return print(event.line);
      const nowMs = clock();
      gauge = gaugeAfter(event, gauge, nowMs);
      if (gauge === undefined) return;
      if (event.kind === 'phase') {
        count.restart();
        printedAtMs = nowMs;
        printedDone = 0;
      } else if (event.kind === 'step' && isDue(gauge, nowMs)) {
        printedAtMs = nowMs;
        printedDone = gauge.done;
        print(`${gauge.label} ${partsOf(gauge, count.rate(), nowMs).join(' · ')}`);
      }
    },
  };
}
