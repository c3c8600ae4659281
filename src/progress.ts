/** Where a run's lines and bars go. */
export interface Progress {
  /** How wide a line may be. */
  readonly columns: number;
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

/** Says nothing. */
export const silentProgress: Progress = {
  columns: Number.POSITIVE_INFINITY,
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
    columns: progress.columns,
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
