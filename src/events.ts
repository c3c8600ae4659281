import type { Entity, EntityType, EntityTypeName } from './entity-types.js';
import type { StatisticsRow } from './statistics.js';

export type Strategy = 'walk' | 'sweep';

/** One entity that was selected and is not written, as the report tells it. */
export interface Failure {
  entity_type: EntityTypeName;
  id: string;
  name: string;
  reason: string;
}

/** An entity whose row has been written. */
export interface Written {
  entity: Entity;
  row: StatisticsRow;
}

/** What happens in a run, told to all who watch it: the screen, the lock, the report and the page. */
export type RunEvent =
  /** A line for people. */
  | { kind: 'line'; line: string }
  /** A request to the API has started. */
  | { kind: 'request' }
  /** A stretch of work with a known number of steps begins, and ends the one before. */
  | { kind: 'phase'; label: string; total: number }
  /** How far the phase is; `total` may turn out otherwise than announced. */
  | { kind: 'step'; done: number; total?: number; failed?: number }
  /** The last phase has ended. */
  | { kind: 'over' }
  | { kind: 'selected'; type: EntityType; total: number; skipped: number }
  | { kind: 'gathering'; strategy: Strategy }
  | { kind: 'populating'; type: EntityType }
  /** Written and saved in the checkpoint. */
  | { kind: 'batch'; type: EntityType; written: Written[]; failures: Failure[] };

export type Batch = Extract<RunEvent, { kind: 'batch' }>;

export type Tell = (event: RunEvent) => void;

export type Events = ReturnType<typeof createEvents>;

/** Those who watch, and a way to tell them all. */
export function createEvents() {
  const listeners: Tell[] = [];
  const tell: Tell = (event) => {
    for (const listener of listeners) listener(event);
  };
  return { tell, listen: (listener: Tell) => void listeners.push(listener) };
}

/** A phase as far as it is. */
export interface Phase {
  label: string;
  done: number;
  total: number;
  /** Undefined in a phase where nothing can fail for one entity alone. */
  failed?: number | undefined;
}

/** The phase after an event: another object if the event is of a phase; undefined before the first. */
export function phaseAfter(event: RunEvent, phase: Phase | undefined): Phase | undefined {
  if (event.kind === 'phase') return { label: event.label, done: 0, total: event.total };
  if (event.kind !== 'step' || phase === undefined) return phase;
  return { ...phase, done: event.done, failed: event.failed, total: event.total ?? phase.total };
}

/** How much of a phase is done, from 0 to 1. */
export function fractionOf({ done, total }: Phase): number {
  return total === 0 ? 1 : Math.min(1, done / total);
}
