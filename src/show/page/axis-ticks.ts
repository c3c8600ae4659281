/** A value of an axis that has a label. */
export interface Tick {
  value: number;
  label: string;
}

const dayInSeconds = 86_400;
const timeSteps = [
  ...[0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30],
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * 60),
  ...[1, 2, 3, 6, 12].map((hours) => hours * 3600),
];
/** So many steps have room for their labels on a telephone. */
const mostTimeSteps = 6;
const mostCountSteps = 4;

/** Round times from 0 to `end`, in seconds. */
export function timeTicks(end: number): Tick[] {
  const step =
    timeSteps.find((seconds) => end / seconds <= mostTimeSteps) ??
    Math.ceil(end / dayInSeconds / mostTimeSteps) * dayInSeconds;
  return ticks(step, Math.floor(end / step), timeLabel);
}

/** Round values from 0 to the first that is not below `highest`, which is `max`. */
export function countTicks(highest: number): { max: number; ticks: Tick[] } {
  const rough = (highest > 0 ? highest : 1) / mostCountSteps;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5].find((factor) => factor * power >= rough * 0.999) ?? 10) * power;
  const steps = Math.max(1, Math.ceil((highest / step) * 0.999));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 0.001));
  return { max: step * steps, ticks: ticks(step, steps, (value) => value.toFixed(digits)) };
}

function ticks(step: number, steps: number, label: (value: number) => string): Tick[] {
  return Array.from({ length: steps + 1 }, (_, index) => ({
    value: index * step,
    label: label(index * step),
  }));
}

/** Round seconds by the units that are not 0: 0, 0.5s, 1m 30s, 2h. */
export function timeLabel(seconds: number): string {
  const parts = [
    [Math.floor(seconds / dayInSeconds), 'd'],
    [Math.floor((seconds % dayInSeconds) / 3600), 'h'],
    [Math.floor((seconds % 3600) / 60), 'm'],
    [Number((seconds % 60).toFixed(1)), 's'],
  ] as const;
  const told = parts.filter(([count]) => count > 0).map(([count, unit]) => `${count}${unit}`);
  return told.join(' ') || '0';
}
