import { fractionOf, type Phase, type RunEvent, type Tell } from '../events.js';
import { formatCount, formatDuration, type Html, html } from '../format.js';

/** Where a phase stood at a moment of the run: seconds since its start. */
export interface Sample extends Phase {
  seconds: number;
  /** API requests started since the run's start. */
  requests: number;
}

/** Keeps, as it listens, each phase's start and end, and so many moments between as a plot can show. */
export function startSamples(): { take: Tell; readonly samples: readonly Sample[] } {
  const samples: Sample[] = [];
  const startedAtMs = performance.now();
  let requests = 0;

  function take(event: RunEvent): void {
    if (event.kind === 'request') requests += 1;
    if (event.kind !== 'phase' && event.kind !== 'step') return;
    const { kind, ...phase } = event;
    const seconds = (performance.now() - startedAtMs) / 1000;
    // Some pixels of the width, however long the run: 2,000 samples in 8 hours.
    const due = seconds - (samples.at(-1)?.seconds ?? 0) >= Math.max(0.5, seconds / 300);
    if (kind === 'phase' || due || phase.done >= phase.total) samples.push({ ...phase, seconds, requests });
  }

  return { take, samples };
}

type Point = readonly [seconds: number, value: number];

/** A line of the figure; `tone` is its colour, a variable of the page's style. */
interface Line {
  tone: string;
  legend: Html;
  title: string;
  points: Point[];
}

/** A value of an axis that has a label. */
type Tick = readonly [value: number, label: string];

/** The page's style has colours --phase-0 to --phase-5. */
const phaseColours = 6;
const shortestWindowSeconds = 5;
const ratePoints = 250;
/** The lines are drawn in a box of this width, which the browser stretches; finer than a screen shows. */
const boxWidth = 1000;
/** In pixels from the top. */
const progressPlace = { top: 26, height: 160 };
const ratesPlace = { top: 232, height: 90 };
type Place = typeof ratesPlace;
const timesTop = ratesPlace.top + ratesPlace.height;

/**
 * A figure of the progress of each phase, in percent, and below it of the requests a second, over the seconds of a
 * run. The axis labels stand in the padding that the page's style gives the figure's svg.
 */
export function plot(samples: readonly Sample[], durationSeconds: number): Html {
  const end = Math.max(durationSeconds, samples.at(-1)?.seconds ?? 0) || 1;
  const phases = phaseLines(samples, end);
  const windowSeconds = Math.max(shortestWindowSeconds, Math.round(end / 50));
  const points = requestRates(samples, end, windowSeconds);
  const highest = Math.max(...points.map(([, rate]) => rate));
  const rates: Line = { tone: '--ink', legend: html`requests a second`, title: 'requests a second', points };
  const ratesName = `requests a second (mean over ${timeLabel(windowSeconds)})`;
  return html`<figure>
<ul class="legend">
${[...phases, rates].map(({ tone, legend }) => html`<li style="--tone: var(${tone})">${legend}</li>\n`)}</ul>
<svg class="plot" role="img" aria-labelledby="plot-title plot-description" width="100%" height="${timesTop + 44}">
<title id="plot-title">Progress and requests a second over time</title>
<desc id="plot-description">${phases.map(({ title }) => title).join('; ')}. At most ${highest.toFixed(2)} requests a second.</desc>
${panel('progress of each phase', progressPlace, percentTicks, phases, end)}
${panel(ratesName, ratesPlace, countTicks(highest), [rates], end)}
${timeTicks(end).map(([seconds, label]) => html`<text class="time" x="${(seconds / end) * 100}%" y="${timesTop + 18}">${label}</text>`)}
<text class="time" x="50%" y="${timesTop + 38}">time since the start</text>
</svg>
</figure>`;
}

/** A line of each phase, which stays where it was until the next one begins or the run ends. */
function phaseLines(samples: readonly Sample[], end: number): Line[] {
  const starts = [...samples.keys()].filter((at) => samples[at]?.label !== samples[at - 1]?.label);
  return starts.map((start, index) => {
    const own = samples.slice(start, starts[index + 1]);
    const { label = '', done = 0, total = 0 } = own.at(-1) ?? {};
    const from = own[0]?.seconds ?? 0;
    const to = samples[start + own.length]?.seconds ?? end;
    const points = own.map((sample): Point => [sample.seconds, fractionOf(sample) * 100]);
    return {
      tone: `--phase-${index % phaseColours}`,
      legend: html`${label} <small>${formatDuration(to - from)}</small>`,
      title: `${label}: ${formatCount(done)} of ${formatCount(total)}, from ${formatDuration(from)} to ${formatDuration(to)}`,
      points: [...points, [to, points.at(-1)?.[1] ?? 0]],
    };
  });
}

/** The mean rate in a window around each of many moments; at both ends only the window's part inside the run counts. */
function requestRates(samples: readonly Sample[], end: number, windowSeconds: number): Point[] {
  return Array.from({ length: ratePoints + 1 }, (_, index) => {
    const seconds = (index / ratePoints) * end;
    const from = Math.max(0, seconds - windowSeconds / 2);
    const to = Math.min(end, seconds + windowSeconds / 2);
    return [seconds, (requestsAt(samples, to) - requestsAt(samples, from)) / (to - from)];
  });
}

/** The requests started by then, taken as even between two samples. */
function requestsAt(samples: readonly Sample[], seconds: number): number {
  const after = samples.findIndex((sample) => sample.seconds >= seconds);
  const next = samples[after];
  if (next === undefined) return samples.at(-1)?.requests ?? 0;
  const before = samples[after - 1] ?? { seconds: 0, requests: 0 };
  const share = (seconds - before.seconds) / (next.seconds - before.seconds || 1);
  return before.requests + share * (next.requests - before.requests);
}

/**
 * Lines over a run's seconds, from 0 to the topmost of the ticks, each with the area below it and with a title for
 * those who point at it.
 */
function panel(name: string, place: Place, ticks: readonly Tick[], lines: readonly Line[], end: number): Html {
  const { top, height } = place;
  const highest = ticks.at(-1)?.[0] ?? 1;
  const x = (seconds: number) => ((seconds / end) * boxWidth).toFixed(1);
  const y = (value: number) => (height - (value / highest) * height).toFixed(1);
  const across = ticks.map(
    ([value, label]) =>
      html`<line x2="100%" y1="${y(value)}" y2="${y(value)}"/><text class="value" x="-8" y="${y(value)}" dy="0.35em">${label}</text>`,
  );
  const upright = timeTicks(end).map(([seconds]) => {
    const at = `${(seconds / end) * 100}%`;
    return html`<line x1="${at}" x2="${at}" y2="${height}"/>`;
  });
  const drawn = lines.map(({ tone, title, points }) => {
    const path = points.map(([seconds, value]) => `${x(seconds)} ${y(value)}`).join('L');
    const [first, last] = [x(points[0]?.[0] ?? 0), x(points.at(-1)?.[0] ?? 0)];
    return html`<g style="--tone: var(${tone})">
<title>${title}</title>
<path class="area" d="M${path}L${last} ${height}L${first} ${height}Z"/>
<path class="line" d="M${path}"/>
</g>
`;
  });
  return html`<g transform="translate(0 ${top})">
<text class="name" y="-12">${name}</text>
${across}${upright}
<svg width="100%" height="${height}" viewBox="0 0 ${boxWidth} ${height}" preserveAspectRatio="none">
${drawn}</svg>
</g>`;
}

const percentTicks = [0, 25, 50, 75, 100].map((percent): Tick => [percent, `${percent}%`]);
const timeSteps = [
  ...[0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30],
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * 60),
  ...[1, 2, 3, 6, 12, 24, 48, 120].map((hours) => hours * 3600),
];
const countSteps = [0.01, 0.1, 1, 10, 100].flatMap((power) => [power, 2 * power, 5 * power]);

/** So many steps have room for their labels on a telephone. */
const mostTimeSteps = 6;
const mostCountSteps = 4;

/** Round times from 0 to `end`, in seconds. */
function timeTicks(end: number): Tick[] {
  const step = timeSteps.find((one) => end / one <= mostTimeSteps) ?? end;
  return multiples(step, Math.floor(end / step), timeLabel);
}

/** Round values from 0 to the first that is not below `highest`, but for a rounding error. */
function countTicks(highest: number): Tick[] {
  const least = highest * 0.999 || 1;
  const step = countSteps.find((one) => least / one <= mostCountSteps) ?? least;
  const digits = step < 0.1 ? 2 : step < 1 ? 1 : 0;
  return multiples(step, Math.ceil(least / step), (value) => value.toFixed(digits));
}

function multiples(step: number, steps: number, label: (value: number) => string): Tick[] {
  return Array.from({ length: steps + 1 }, (_, index) => [index * step, label(index * step)]);
}

/** Round seconds without the units that are 0: 0.5s, 1m 30s, 2h. */
function timeLabel(seconds: number): string {
  return seconds === 0 ? '0' : formatDuration(seconds).replace(/\.0(?=s)| 00[hms]$/, '');
}
