// By its default export: where Node is too old to have styleText, the built file says so instead of failing to load.
import util from 'node:util';
import { fractionOf, isOver, type Phase, type RunEvent } from '../events.js';
import { formatCount, formatDuration, formatTable, wrapped } from '../format.js';

/** Where people read, a terminal, a file or a pipe, and what it can show. */
export interface Abilities {
  output: { write(text: string): unknown; isTTY?: boolean; columns?: number };
  /** Whether a line can be drawn anew. */
  isAnimated: boolean;
  isColored: boolean;
}

export interface ScreenOptions extends Abilities {
  /** Whether each request and each retry gets a line. */
  isVerbose: boolean;
  /** Milliseconds of a clock that is never set back. */
  clock: () => number;
  /** The time of day for the lines of a log. */
  now: () => Date;
}

type Color = 'green' | 'yellow' | 'red';

const tickMs = 1_000;

/**
 * What people see of a run while it works: in a terminal a line a phase that redraws itself, every second at least, and
 * becomes its outcome; elsewhere plain lines with the time, fewer as the run grows long.
 */
export function createScreen(options: ScreenOptions) {
  const meter = createMeter(options.clock);
  const paper = options.isAnimated ? terminal(options) : log(options);
  let phase: Phase | undefined;
  let finished: string | undefined;
  const goOn = (isNotable: boolean) => {
    if (phase && paper.isDue(phase, isNotable)) paper.draw(phase, meter.figures(phase));
  };
  const end = (by: 'last step' | 'next phase' | 'end of all') => {
    const ended = phase;
    phase = undefined;
    if (ended === undefined) return;
    const isFinished = by === 'last step' || (ended.total > 0 && isOver(ended));
    finished = ended.label;
    // What is not finished goes on beside the next phase.
    if (by === 'next phase' && !isFinished) return;
    const color = !isFinished ? 'red' : ended.failed ? 'yellow' : 'green';
    paper.outcome(outcomeOf(ended, isFinished, formatDuration(meter.seconds())), color);
  };
  const take = (event: RunEvent) => {
    if (event.kind === 'over') return end('end of all');
    if (event.kind === 'phase') {
      end('next phase');
      finished = undefined;
    }
    if (event.kind === 'phase' || event.kind === 'step') phase = event;
    meter.take(event);
    const line = lineOf(event, options.isVerbose, paper.columns());
    if (line !== undefined) paper.line(line);
    // A sweep that reads a window again goes on after what seemed its last step.
    if (event.kind === 'step' && isOver(event) && event.label !== finished) end('last step');
    else if (event.kind === 'step') goOn(false);
    else if (line !== undefined || event.kind === 'phase' || event.kind === 'pause') goOn(true);
  };
  const ticking = setInterval(() => goOn(true), tickMs).unref();
  /** Ends what is drawn. */
  const close = () => {
    clearInterval(ticking);
    end('end of all');
  };
  return { take, close };
}

/** By the conventions of terminals: TERM=dumb, CI, and those that Node knows, NO_COLOR and FORCE_COLOR. */
export function abilitiesOf(output: NodeJS.WriteStream, { TERM, CI = '' }: NodeJS.ProcessEnv): Abilities {
  const isAnimated = output.isTTY && TERM !== 'dumb' && /^(|0|false)$/.test(CI);
  return { output, isAnimated, isColored: util.styleText('red', '.', { stream: output }) !== '.' };
}

/** How wide a line may be: one that fills a terminal's last column would wrap. A terminal without a size has 80. */
export function columnsOf({ isTTY, columns }: Abilities['output']): number {
  return isTTY ? (columns || 80) - 1 : Number.POSITIVE_INFINITY;
}

/** Says on stderr, red in a terminal, what went wrong. */
export function complain(message: string): void {
  console.error(util.styleText('red', wrapped(message, columnsOf(process.stderr)), { stream: process.stderr }));
}

/** So long back goes what tells how many requests a second there are now. */
const currentMs = 10_000;
/** Who waits for so long wants to know for what. */
const patienceMs = 3_000;

/** Tells the phase under way in figures, for which it listens to the run's requests. */
function createMeter(clock: () => number) {
  let sinceMs = 0;
  let requests = 0;
  let readings: { atMs: number; requests: number }[] = [];
  const hold = createHold(clock);

  const seconds = () => (clock() - sinceMs) / 1000;

  /** Requests a second, of the phase's last ten seconds. */
  function requestRate(nowMs: number): number {
    const oldest = readings.find(({ atMs }) => nowMs - atMs <= currentMs) ?? readings.at(-1);
    readings.splice(0, oldest ? readings.indexOf(oldest) : 0);
    readings.push({ atMs: nowMs, requests });
    return oldest && nowMs > oldest.atMs ? ((requests - oldest.requests) * 1000) / (nowMs - oldest.atMs) : 0;
  }

  return {
    take: (event: RunEvent) => {
      hold.take(event);
      if (event.kind === 'request') requests += 1;
      if (event.kind === 'phase') [sinceMs, readings] = [clock(), [{ atMs: clock(), requests }]];
    },
    /** Since the phase's start. */
    seconds,
    /** The first are the most telling. */
    figures: (phase: Phase) => {
      const workedSeconds = seconds() - hold.pausedMs() / 1000;
      return figuresOf(phase, seconds(), workedSeconds, requestRate(clock()), hold.described());
    },
  };
}

/** What keeps a run from going on: from when on that is worth telling, when it ends, and why. */
interface Wait {
  sinceMs: number;
  untilMs: number;
  reason: string;
}

/** Follows what keeps a run from going on, and for how long it does. */
function createHold(clock: () => number) {
  /** Of all requests, until the next one. */
  let pause: Wait | undefined;
  /** Of one request that is asked again: the first of several, until a step is done. */
  let retry: Wait | undefined;
  /** Of the phase's pauses, those that have ended. */
  let pausedMs = 0;
  /** When the first request left since the last one was answered. */
  let askedAtMs: number | undefined;
  let done = 0;
  const pausedNowMs = () => (pause ? clock() - pause.sinceMs : 0);

  function takeWait(event: RunEvent): void {
    if (event.kind !== 'pause' && event.kind !== 'waiting') return;
    const { seconds, reason } = event;
    const untilMs = clock() + seconds * 1000;
    if (event.kind === 'pause') pause = { sinceMs: pause?.sinceMs ?? clock(), untilMs, reason };
    else if (retry === undefined) retry = { sinceMs: clock() + patienceMs, untilMs, reason };
    else if (retry.untilMs <= clock() || untilMs < retry.untilMs) retry = { ...retry, untilMs, reason };
  }

  function take(event: RunEvent): void {
    const { kind } = event;
    takeWait(event);
    if (kind === 'request') {
      askedAtMs ??= clock();
      pausedMs += pausedNowMs();
    }
    // A request that had no answer does not mend by being asked again.
    if (kind === 'request' || kind === 'phase') pause = undefined;
    if (kind === 'phase') pausedMs = 0;
    const goesOn = kind === 'phase' || (kind === 'step' && event.done !== done);
    if (goesOn) retry = undefined;
    if (goesOn || (kind === 'answer' && event.from === 'API')) askedAtMs = undefined;
    if (kind === 'phase' || kind === 'step') done = event.done;
  }

  return {
    take,
    /** For how long the phase has been paused, in all. */
    pausedMs: () => pausedMs + pausedNowMs(),
    described: () => describeWait(pause, retry, askedAtMs, clock()),
  };
}

/** What keeps the run from going on, for how long still or already, and why; empty where nothing does. */
function describeWait(pause: Wait | undefined, retry: Wait | undefined, askedAtMs: number | undefined, nowMs: number) {
  const formatMs = (ms: number) => formatDuration(Math.max(0, Math.ceil(ms / 1000)), 0);
  if (pause) return [`paused for ${formatMs(pause.untilMs - nowMs)}`, pause.reason];
  if (retry) {
    const { sinceMs, untilMs, reason } = retry;
    if (nowMs < sinceMs) return [];
    return [untilMs > nowMs ? `again in ${formatMs(untilMs - nowMs)}` : 'asked again', reason];
  }
  const silentMs = nowMs - (askedAtMs ?? nowMs);
  return silentMs > patienceMs ? [`no answer for ${formatMs(silentMs)}`] : [];
}

/** That some have failed comes before how long it takes. */
function figuresOf(
  phase: Phase,
  seconds: number,
  workedSeconds: number,
  requestRate: number,
  [wait, reason]: string[],
): string[] {
  const { done, total, failed, written } = phase;
  const figures = [
    wait,
    reason,
    total > 0 && `${formatCount(done)}/${formatCount(total)} ${Math.floor(fractionOf(phase) * 100)}%`,
    failed && `${formatCount(failed)} failed`,
    done > 0 && done < total && `${formatDuration(((total - done) * workedSeconds) / done)} left`,
    `${formatDuration(seconds, 0)} so far`,
    requestRate > 0 && `${requestRate.toFixed(1)} requests/s`,
    written !== undefined && written + (failed ?? 0) < done && `${formatCount(written)} written`,
  ];
  return figures.filter((figure) => typeof figure === 'string');
}

function outcomeOf({ label, done, total, failed }: Phase, isFinished: boolean, time: string): string {
  const count = total > 0 ? ` ${formatCount(done)}/${formatCount(total)}` : '';
  const failures = failed ? `, ${formatCount(failed)} failed` : '';
  return isFinished ? `✓ ${label}${count} in ${time}${failures}` : `✗ ${label}${count}, stopped after ${time}`;
}

const eraseLine = '\r\u001b[2K';
const redrawMs = 100;
/** What a terminal shows of a Ctrl-C, ^C, must not wrap the line that is drawn anew, which would stay then. */
const echoed = 1;
const widestBar = 24;
const narrowestBar = 6;

/** How lines and the phase under way are put before people: by escape sequences, or line after line. */
type Paper = ReturnType<typeof terminal>;

const painter = (isColored: boolean) => (color: Color, text: string) =>
  isColored ? util.styleText(color, text, { validateStream: false }) : text;

function terminal({ output, clock, isColored }: ScreenOptions) {
  const paint = painter(isColored);
  let isDrawn = false;
  let drawnAtMs = Number.NEGATIVE_INFINITY;

  /** In place of what is drawn anew. */
  const print = (text: string) => {
    output.write(`${isDrawn ? eraseLine : ''}${text}\n`);
    isDrawn = false;
  };
  return {
    columns: () => columnsOf(output),
    line: (text: string) => print(wrapped(text, columnsOf(output))),
    outcome: (text: string, color: Color) => {
      const [mark = '', ...rest] = wrapped(text, columnsOf(output));
      print(`${paint(color, mark)}${rest.join('')}`);
    },
    /** Whether it is time to draw the phase as it is now: sooner where something `isNotable`. */
    isDue: (_: Phase, isNotable: boolean) => isNotable || clock() - drawnAtMs >= redrawMs,
    draw: (phase: Phase, figures: string[]) => {
      drawnAtMs = clock();
      isDrawn = true;
      const [label = '', bar = '', rest = ''] = barLine(phase, figures, columnsOf(output) - echoed);
      output.write(eraseLine + label + (bar && paint(phase.failed ? 'yellow' : 'green', bar)) + rest);
    },
  };
}

/** The label, a bar and as many figures as fit into a line; the bar takes what they leave. */
function barLine(phase: Phase, [first = '', ...rest]: string[], columns: number): string[] {
  const { label, total } = phase;
  let figures = first;
  // Room for a bar comes before the lesser figures, unless the terminal is narrow.
  const barRoom = columns >= 69 && total > 0 ? narrowestBar + 1 : 0;
  for (const part of rest) {
    if (label.length + 1 + barRoom + figures.length + 3 + part.length <= columns) figures += ` · ${part}`;
  }
  const room = Math.min(widestBar, columns - label.length - figures.length - 2);
  if (total === 0 || room < narrowestBar) return [wrapped(`${label} ${figures}`, columns).split('\n')[0] ?? ''];
  const filled = Math.round(fractionOf(phase) * room);
  return [label, ` ${'█'.repeat(filled).padEnd(room, '░')}`, ` ${figures}`];
}

/** The line that an event is worth. */
function lineOf(event: RunEvent, isVerbose: boolean, columns: number): string | undefined {
  if (event.kind === 'line') return event.line;
  if (event.kind === 'table') return `${event.title}\n${formatTable(event.rows, columns)}`;
  if (!isVerbose) return undefined;
  if (event.kind === 'answer') return `${event.request}: ${event.status} in ${event.seconds.toFixed(2)}s`;
  if (event.kind === 'waiting') return `Again in ${formatDuration(event.seconds)}: ${event.reason}`;
  return undefined;
}

/** At first a line for ten steps or five seconds; later each a sixtieth of the time so far, some 300 in 8 hours. */
const firstSteps = 10;
const firstIntervalMs = 5_000;
const shortestIntervalMs = 1_000;

function log({ output, clock, now, isColored }: ScreenOptions): Paper {
  const paint = painter(isColored);
  const startedAtMs = clock();
  let printedAtMs = startedAtMs;
  let printed: Phase | undefined;
  const time = () => `${now().toISOString().slice(0, 19)}Z `;
  const columns = () => columnsOf(output) - time().length;
  const timed = (text: string) => wrapped(text, columns()).replaceAll(/^(?=.)/gm, time());
  const line = (text: string) => output.write(`${timed(text)}\n`);
  return {
    columns,
    line,
    outcome: (text, color) => output.write(`${paint(color, timed(text.slice(2)))}\n`),
    isDue: (phase) => {
      if (phase.label !== printed?.label) [printedAtMs, printed] = [clock(), phase];
      const sinceMs = clock() - printedAtMs;
      const thinnedMs = (clock() - startedAtMs) / 60;
      const bySteps = phase.done - printed.done >= firstSteps && sinceMs >= Math.max(shortestIntervalMs, thinnedMs);
      return bySteps || sinceMs >= Math.max(firstIntervalMs, thinnedMs);
    },
    draw: (phase, figures) => {
      [printedAtMs, printed] = [clock(), phase];
      line(`${phase.label} ${figures.join(' · ')}`);
    },
  };
}
