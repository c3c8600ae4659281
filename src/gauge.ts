import { formatCount, formatDuration, formatRate } from './format.js';
import type { PhaseState } from './progress.js';

const currentMs = 10_000;

/** What a gauge reads. */
export interface GaugeOptions {
  /** Milliseconds of a clock that is never set back. */
  clock: () => number;
  /** How many API requests were started so far. */
  requests: () => number;
}

/** A phase's figures, and their speed since its start. */
export class Gauge {
  readonly label: string;
  done = 0;
  /** Undefined in a phase where nothing can fail for one entity alone. */
  failed: number | undefined;
  total: number;
  private readonly startedAtMs: number;
  private readonly options: GaugeOptions;
  /** The last seconds' readings of the request counter. */
  private readonly readings: { atMs: number; requests: number }[];

  constructor(label: string, total: number, options: GaugeOptions) {
    this.label = label;
    this.total = total;
    this.options = options;
    this.startedAtMs = options.clock();
    this.readings = [{ atMs: this.startedAtMs, requests: options.requests() }];
  }

  take(state: PhaseState): void {
    this.done = state.done;
    this.failed = state.failed;
    this.total = state.total ?? this.total;
  }

  get fraction(): number {
    return this.total === 0 ? 1 : Math.min(1, this.done / this.total);
  }

  /** The figures, the most telling first: that some have failed comes before how fast it goes. */
  parts(): string[] {
    const seconds = Math.max((this.options.clock() - this.startedAtMs) / 1000, 0.001);
    const rate = this.done / seconds;
    const requestRate = this.requestRate();
    const left = this.done > 0 && this.done < this.total;
    const speed = [
      ...(rate > 0 ? [formatRate(rate)] : []),
      ...(requestRate > 0 ? [`${requestRate.toFixed(2)} req/s`] : []),
    ];
    const { failed } = this;
    const outcome =
      failed === undefined ? [] : [`${formatCount(this.done - failed)} ok`, `${formatCount(failed)} failed`];
    return [
      `${formatCount(this.done)}/${formatCount(this.total)} ${Math.floor(this.fraction * 100)}%`,
      ...(left ? [`${formatDuration((this.total - this.done) / rate)} left`] : []),
      ...(failed ? [...outcome, ...speed] : [...speed, ...outcome]),
    ];
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
