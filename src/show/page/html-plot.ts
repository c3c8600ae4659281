import { formatCount, formatDuration } from '../../format.js';
import { countTicks, type Tick, timeLabel, timeTicks } from './axis-ticks.js';
import { type Html, html } from './html.js';

/** A moment of the run: seconds since its start. */
export interface Sample {
  seconds: number;
  phase: string;
  done: number;
  total: number;
  /** API requests started since the run's start. */
  requests: number;
}

/** Consecutive samples of one phase. */
interface Stretch {
  phase: string;
  samples: Sample[];
  /** Its first sample, and the next stretch's first one or the run's end. */
  from: number;
  to: number;
}

/** A panel's place in pixels, and its values: the topmost, and those that have a line and a label. */
interface Panel {
  top: number;
  height: number;
  max: number;
  ticks: readonly Tick[];
}

type Point = readonly [seconds: number, value: number];

/** The lines are drawn in a box of this width, which the browser stretches; finer than a screen shows. */
const boxWidth = 1000;
/** The page's style has a colour for each: .phase-0 to .phase-5. */
const phaseColours = 6;
const progressTop = 26;
const progressHeight = 160;
const rateTop = progressTop + progressHeight + 46;
const rateHeight = 90;
const plotHeight = rateTop + rateHeight + 44;
const shortestRateWindowSeconds = 5;
const ratePoints = 250;

/**
 * A figure of the progress of each phase, in percent, and below it of the requests a second, over the seconds of a
 * run. The axis labels stand in the padding that the page's style gives the figure's svg.
 */
export function plot(samples: readonly Sample[], durationSeconds: number): Html {
  const end = Math.max(durationSeconds, samples.at(-1)?.seconds ?? 0) || 1;
  const shown = thinned(samples, end / boxWidth);
  const stretches = stretchesOf(shown, end);
  const phases = [...new Set(stretches.map(({ phase }) => phase))];
  const colourOf = (phase: string) => `phase-${phases.indexOf(phase) % phaseColours}`;
  const windowSeconds = Math.max(shortestRateWindowSeconds, Math.round(end / 50));
  const rates = requestRates(shown, end, windowSeconds);
  const highestRate = Math.max(...rates.map(([, rate]) => rate));
  const progress: Panel = { top: progressTop, height: progressHeight, max: 100, ticks: percentTicks };
  const requests: Panel = { top: rateTop, height: rateHeight, ...countTicks(highestRate) };
  return html`<figure>
${legend(phases, stretches, colourOf)}
<svg class="plot" role="img" aria-labelledby="plot-title plot-description" width="100%" height="${plotHeight}">
<title id="plot-title">Progress and requests a second over time</title>
<desc id="plot-description">${description(stretches, highestRate)}</desc>
${[progress, requests].map((panel) => axes(panel, end))}
${stretches.map((stretch) => {
  const points = progressPoints(stretch);
  return lines(progress, end, points, colourOf(stretch.phase), stretchTitle(stretch));
})}
${lines(requests, end, rates, 'rate', 'requests a second')}
${timeLabels(end)}
<text class="name" y="${progressTop - 12}">progress of each phase</text>
<text class="name" y="${rateTop - 12}">requests a second (mean over ${timeLabel(windowSeconds)})</text>
</svg>
</figure>`;
}

const percentTicks = [0, 25, 50, 75, 100].map((value) => ({ value, label: `${value}%` }));

/** Without the samples that come so soon after another of their phase that they would share its pixel. */
function thinned(samples: readonly Sample[], gapSeconds: number): Sample[] {
  const kept: Sample[] = [];
  samples.forEach((sample, index) => {
    const before = kept.at(-1);
    const next = samples[index + 1];
    const apart = before === undefined || sample.seconds - before.seconds >= gapSeconds;
    if (apart || before.phase !== sample.phase || next?.phase !== sample.phase) kept.push(sample);
  });
  return kept;
}

function stretchesOf(samples: readonly Sample[], end: number): Stretch[] {
  const stretches: Stretch[] = [];
  for (const sample of samples) {
    const last = stretches.at(-1);
    if (last?.phase === sample.phase) {
      last.samples.push(sample);
      continue;
    }
    if (last !== undefined) last.to = sample.seconds;
    stretches.push({ phase: sample.phase, samples: [sample], from: sample.seconds, to: end });
  }
  return stretches;
}

function percentOf({ done, total }: Sample): number {
  return total === 0 ? 100 : Math.min(100, (done / total) * 100);
}

/** A phase stays where it was until the next one begins or the run ends. */
function progressPoints({ samples, to }: Stretch): Point[] {
  const points: Point[] = samples.map((sample) => [sample.seconds, percentOf(sample)]);
  return [...points, [to, points.at(-1)?.[1] ?? 0]];
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

/** The mean rate in a window around each of many moments; at both ends only the window's part inside the run counts. */
function requestRates(samples: readonly Sample[], end: number, windowSeconds: number): Point[] {
  return Array.from({ length: ratePoints + 1 }, (_, index) => {
    const seconds = (index / ratePoints) * end;
    const from = Math.max(0, seconds - windowSeconds / 2);
    const to = Math.min(end, seconds + windowSeconds / 2);
    return [seconds, (requestsAt(samples, to) - requestsAt(samples, from)) / (to - from)];
  });
}

/** A line and the area below it, with a title for those who point at it. */
function lines({ top, height, max }: Panel, end: number, points: Point[], name: string, title: string): Html {
  const x = (seconds: number) => Number(((seconds / end) * boxWidth).toFixed(1));
  const y = (value: number) => Number((height - (value / max) * height).toFixed(1));
  const path = points.map(([seconds, value]) => `${x(seconds)} ${y(value)}`).join('L');
  const [first, last] = [x(points[0]?.[0] ?? 0), x(points.at(-1)?.[0] ?? 0)];
  return html`<svg class="${name}" y="${top}" width="100%" height="${height}" viewBox="0 0 ${boxWidth} ${height}" preserveAspectRatio="none">
<title>${title}</title>
<path class="area" d="M${path}L${last} ${height}L${first} ${height}Z"/>
<path class="line" d="M${path}"/>
</svg>
`;
}

function axes({ top, height, max, ticks }: Panel, end: number): Html {
  const across = ticks.map(({ value, label }) => {
    const y = top + height - (value / max) * height;
    return html`<line x2="100%" y1="${y}" y2="${y}"/><text class="value" x="-8" y="${y}" dy="0.35em">${label}</text>`;
  });
  const upright = timeTicks(end).map(({ value }) => {
    const x = `${(value / end) * 100}%`;
    return html`<line x1="${x}" x2="${x}" y1="${top}" y2="${top + height}"/>`;
  });
  return html`<g class="axes">${across}${upright}</g>
`;
}

function timeLabels(end: number): Html {
  const y = rateTop + rateHeight;
  const labels = timeTicks(end).map(
    ({ value, label }) => html`<text class="time" x="${(value / end) * 100}%" y="${y + 18}">${label}</text>`,
  );
  return html`${labels}<text class="time" x="50%" y="${y + 38}">time since the start</text>`;
}

function legend(phases: string[], stretches: Stretch[], colourOf: (phase: string) => string): Html {
  const secondsOf = (phase: string) =>
    stretches.reduce((sum, one) => (one.phase === phase ? sum + one.to - one.from : sum), 0);
  const item = (name: string, text: string | Html) => html`<li class="${name}">${text}</li>`;
  return html`<ul class="legend">
${phases.map((phase) => item(colourOf(phase), html`${phase} <small>${formatDuration(secondsOf(phase))}</small>`))}
${item('rate', 'requests a second')}
</ul>`;
}

function stretchTitle({ phase, samples, from, to }: Stretch): string {
  const { done = 0, total = 0 } = samples.at(-1) ?? {};
  return `${phase}: ${formatCount(done)} of ${formatCount(total)}, from ${formatDuration(from)} to ${formatDuration(to)}`;
}

function description(stretches: Stretch[], highestRate: number): string {
  return `${stretches.map(stretchTitle).join('; ')}. At most ${highestRate.toFixed(2)} requests a second.`;
}
