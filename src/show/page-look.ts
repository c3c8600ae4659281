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

/** A phase that lasts for less of the run gives way to the next one, beside which it goes on, before it can be seen. */
const leastShare = 0.01;
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
function drawn({ tone, title, points }: ReturnType<typeof phaseLines>[number], end: number): Html {
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

/**
 * A line of each phase, which stays where it was until the next one begins or the run ends. Its points are percent at
 * seconds since the run's start; its tone is a variable of the page's style.
 */
function phaseLines(samples: readonly Sample[], end: number) {
  const starts = [...samples.keys()].filter((at) => samples[at]?.label !== samples[at - 1]?.label);
  const lines = starts.map((start, index) => {
    const own = samples.slice(start, starts[index + 1]);
    const { label = '', done = 0, total = 0 } = own.at(-1) ?? {};
    const from = own[0]?.seconds ?? 0;
    const to = samples[start + own.length]?.seconds ?? end;
    // Before its size is known nothing of it is done.
    const percent = (sample: Sample) => (sample.total === 0 && total > 0 ? 0 : fractionOf(sample) * 100);
    const points = own.map((sample) => [sample.seconds, percent(sample)] as const);
    return {
      share: (to - from) / end,
      legend: html`${label} <small>${formatDuration(to - from)}</small>`,
      title: `${label}: ${formatCount(done)} of ${formatCount(total)}, from ${formatDuration(from)} to ${formatDuration(to)}`,
      points: [...points, [to, points.at(-1)?.[1] ?? 0] as const],
    };
  });
  const seen = lines.filter(({ share }) => share >= leastShare);
  return seen.map((line, index) => ({ ...line, tone: `--phase-${index % phaseColours}` }));
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

/** Rewrites times to those of the reader's zone; what was there, by UTC, stays at hand. */
export const script = html`
for (const time of document.querySelectorAll('time')) {
  const instant = new Date(time.dateTime);
  if (Number.isNaN(instant.getTime())) continue;
  time.title = time.textContent;
  time.textContent = instant.toLocaleString([], {
    year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', timeZoneName: 'short',
  });
}
`;

/** Light or dark as the reader's system is, from a telephone's width on. */
export const style = html`
:root {
  color-scheme: light dark;
  --page: light-dark(#f6f6f3, #141413); --card: light-dark(#ffffff, #1e1e1d); --rule: light-dark(#deded8, #383835);
  --ink: light-dark(#1c1c1a, #ecece8); --muted: light-dark(#5d5d58, #a6a69f);
  --good: light-dark(#1a7f37, #4cc36c); --fair: light-dark(#9a5b00, #e3a33b); --bad: light-dark(#c0272d, #ff7b76);
  --phase-0: light-dark(#1f6fd0, #5ea3f5); --phase-1: light-dark(#c2560c, #f08a4b);
  --phase-2: light-dark(#0b7f6b, #35b89e); --phase-3: light-dark(#6b46c1, #a78bfa);
  --phase-4: light-dark(#b8327a, #ee79b0); --phase-5: light-dark(#7a6a00, #c9b53a);
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 75rem; padding: 1.5rem clamp(0.75rem, 3vw, 2rem); background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums;
}
h1 { margin: 0 0 1rem; font-size: clamp(1.3rem, 4vw, 1.75rem); line-height: 1.25; text-wrap: balance; }
h1 time { white-space: nowrap; }
h2 { margin: 0 0 0.75rem; font-size: 1.15rem; }
p { margin: 0; overflow-wrap: anywhere; white-space: pre-line; }
code, .id { font-family: ui-monospace, monospace; font-size: 0.9em; }
small, footer, dt, caption, thead th { color: var(--muted); }
footer, dt, caption, thead th { font-size: 0.85rem; }
section, .outcome {
  margin-bottom: 1rem; padding: 1rem clamp(0.75rem, 2vw, 1.25rem); border: 1px solid var(--rule);
  border-radius: 0.5rem; background: var(--card);
}
.outcome { border-left: 0.35rem solid var(--tone); }
.outcome strong { display: inline-block; color: var(--tone); }
.outcome strong::first-letter, .people caption::first-letter { text-transform: uppercase; }
dl { display: flex; flex-wrap: wrap; gap: 0.75rem 2.25rem; margin: 0 0 1.25rem; }
dd { margin: 0; font-weight: 600; }
.scroll { overflow: auto; }
table { width: 100%; border-collapse: collapse; font-size: 0.925rem; }
caption { padding-bottom: 0.25rem; text-align: left; }
th, td { padding: 0.35rem 0.6rem; border-top: 1px solid var(--rule); text-align: left; vertical-align: baseline; }
th { font-weight: 500; overflow-wrap: anywhere; }
td, thead th, .runs th { white-space: nowrap; }
.runs caption { max-width: calc(100vw - 3.5rem); }
thead th { position: sticky; top: 0; border: 0; background: var(--card); }
.types :where(td, thead th + th), .people :where(td, thead th + th), .runs :where(td, thead th + th) { text-align: right; }
.types :where(tbody tr:last-child) > * { border-top-width: 2px; font-weight: 600; }
.failed { color: var(--bad); font-weight: 600; }
.lists { display: grid; margin-top: 0.75rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1.25rem 2rem; }
.people caption { color: var(--ink); font-size: 1rem; font-weight: 600; }
.people :is(th, td) { padding-inline: 0.4rem; }
.failures { max-height: 75vh; }
.reason { overflow-wrap: anywhere; white-space: normal; }
figure { margin: 0; }
.legend { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 0 0 0.75rem; padding: 0; font-size: 0.9rem; }
.legend li { list-style: none; }
.legend li::before {
  content: ''; display: inline-block; width: 1rem; height: 0.25rem; margin-right: 0.4rem; border-radius: 0.125rem;
  background: var(--tone); vertical-align: middle;
}
.plot { display: block; padding: 0 1.5rem 0 2.9rem; }
svg { overflow: visible; }
line { stroke: var(--rule); }
text { fill: var(--muted); font-size: 0.75rem; }
.value { text-anchor: end; }
.time { text-anchor: middle; }
.line { fill: none; stroke: var(--tone); stroke-width: 2; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.area { fill: var(--tone); fill-opacity: 0.14; }
@media (max-width: 30rem) { h1 time { white-space: normal; } }
@media (max-width: 40rem) {
  th, td { padding-inline: 0.3rem; }
  .failures thead { display: none; }
  .failures table, .failures caption, .failures tbody { display: block; }
  .failures tr { display: grid; grid-template-columns: auto 1fr; gap: 0 0.75rem; padding: 0.4rem 0; }
  .failures tr + tr { border-top: 1px solid var(--rule); }
  .failures tr > * { padding: 0; border: 0; overflow-wrap: anywhere; white-space: normal; }
  .failures th, .reason { grid-column: 1 / -1; }
  .reason { color: var(--muted); }
}
@media print { .scroll { max-height: none; } }
`;
