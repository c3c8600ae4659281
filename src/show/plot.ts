import { fractionOf, type Phase, type RunEvent, type Tell } from '../events.js';
import { formatCount, formatDuration, type Html, html } from '../format.js';

/** Where a phase stood at a moment of the run: seconds since its start. */
export interface Sample extends Phase {
  seconds: number;
}

/** Keeps, as it listens, each phase's start and end, and so many moments between as a plot can show. */
export function startSamples(): { take: Tell; readonly samples: readonly Sample[] } {
  const samples: Sample[] = [];
  const startedAtMs = performance.now();

  function take(event: RunEvent): void {
    if (event.kind !== 'phase' && event.kind !== 'step') return;
    const { kind, ...phase } = event;
    const seconds = (performance.now() - startedAtMs) / 1000;
    // Some pixels of the width, however long the run: 2,000 samples in 8 hours.
    const due = seconds - (samples.at(-1)?.seconds ?? 0) >= Math.max(0.5, seconds / 300);
    if (kind === 'phase' || due || phase.done >= phase.total) samples.push({ ...phase, seconds });
  }

  return { take, samples };
}

/** Seconds since the run's start, and percent. */
type Point = readonly [seconds: number, percent: number];

/** The line of a phase; `tone` is its colour, a variable of the page's style. */
interface Line {
  tone: string;
  legend: Html;
  title: string;
  points: Point[];
}

/** The page's style has colours --phase-0 to --phase-5. */
const phaseColours = 6;
/** The lines are drawn in a box of this width, which the browser stretches; finer than a screen shows. */
const boxWidth = 1000;
/** In pixels. */
const height = 160;

/**
 * A figure of the progress of each phase, in percent over the seconds of a run. The axis labels stand in the padding
 * that the page's style gives the figure's svg.
 */
export function plot(samples: readonly Sample[], durationSeconds: number): Html {
  const end = Math.max(durationSeconds, samples.at(-1)?.seconds ?? 0) || 1;
  const phases = phaseLines(samples, end);
  const times = timeTicks(end).map(([seconds, label]) => [`${(seconds / end) * 100}%`, label] as const);
  return html`<figure>
<ul class="legend">
${phases.map(({ tone, legend }) => html`<li style="--tone: var(${tone})">${legend}</li>\n`)}</ul>
<svg class="plot" role="img" aria-labelledby="plot-title plot-description" width="100%" height="${height + 44}">
<title id="plot-title">Progress of each phase over time</title>
<desc id="plot-description">${phases.map(({ title }) => title).join('; ')}.</desc>
${[0, 25, 50, 75, 100].map((percent) => {
  const y = height - (percent / 100) * height;
  return html`<line x2="100%" y1="${y}" y2="${y}"/><text class="value" x="-8" y="${y}" dy="0.35em">${percent}%</text>`;
})}
${times.map(([x, label]) => html`<line x1="${x}" x2="${x}" y2="${height}"/><text class="time" x="${x}" y="${height + 18}">${label}</text>`)}
<svg width="100%" height="${height}" viewBox="0 0 ${boxWidth} ${height}" preserveAspectRatio="none">
${phases.map((line) => drawn(line, end))}</svg>
<text class="time" x="50%" y="${height + 38}">time since the start</text>
</svg>
</figure>`;
}

/** A line with the area below it, and with a title for those who point at it. */
function drawn({ tone, title, points }: Line, end: number): Html {
  const x = (seconds: number) => ((seconds / end) * boxWidth).toFixed(1);
  const path = points.map(([seconds, percent]) => `${x(seconds)} ${(height - (percent / 100) * height).toFixed(1)}`);
  const [first, last] = [x(points[0]?.[0] ?? 0), x(points.at(-1)?.[0] ?? 0)];
  return html`<g style="--tone: var(${tone})">
<title>${title}</title>
<path class="area" d="M${path.join('L')}L${last} ${height}L${first} ${height}Z"/>
<path class="line" d="M${path.join('L')}"/>
</g>
`;
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

const timeSteps = [
  ...[0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30],
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * 60),
  ...[1, 2, 3, 6, 12, 24, 48, 120].map((hours) => hours * 3600),
];
/** So many steps have room for their labels on a telephone. */
const mostTimeSteps = 6;

/** Round times from 0 to `end`, in seconds, with their labels. */
function timeTicks(end: number): [seconds: number, label: string][] {
  const step = timeSteps.find((one) => end / one <= mostTimeSteps) ?? end;
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, index) => [index * step, timeLabel(index * step)]);
}

/** Round seconds without the units that are 0: 0.5s, 1m 30s, 2h. */
function timeLabel(seconds: number): string {
  return seconds === 0 ? '0' : formatDuration(seconds).replace(/\.0(?=s)| 00[hms]$/, '');
}
