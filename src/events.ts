import type { Entity, EntityType, EntityTypeName } from './entity-types.js';
import type { StatisticsRow } from './statistics.js';

export type Strategy = 'walk' | 'sweep' | 'refresh';

/** One entity that was selected and is not written, as the report tells it. */
export interface Failure {
  entity_type: EntityTypeName;
  id: string;
  name: string;
  reason: string;
}

/** An entity with its row, as it is written. */
export interface Written {
  entity: Entity;
  row: StatisticsRow;
}

/** An entity's complete statistics, or why there are none. */
export type Outcome = { type: EntityType } & (Written | { entity: Entity; failure: string });

/** A stretch of work with a known number of steps, as far as it is; `total` may turn out otherwise than announced. */
export interface Phase {
  label: string;
  done: number;
  total: number;
  /** Undefined in a phase where nothing can fail for one entity alone. */
  failed?: number;
  /** How many entities are written, where that is done after their step. */
  written?: number;
}

/** What happens in a run, told to all who watch it: the screen, the lock, the report and the page. */
export type RunEvent =
  /** A line for people. */
  | { kind: 'line'; line: string }
  /** Rows of cells for people, which a narrow terminal cuts. */
  | { kind: 'table'; title: string; rows: string[][] }
  /** A request to the API has started. */
  | { kind: 'request' }
  /** A request was answered, in so many seconds. */
  | { kind: 'answer'; from: 'API' | 'database'; request: string; status: number; seconds: number }
  /** A request had no usable answer, and why; it is asked again in about so many seconds. */
  | { kind: 'waiting'; seconds: number; reason: string }
  /** No request starts for so long, and why. */
  | { kind: 'pause'; seconds: number; reason: string }
  /** A phase begins, which ends the one before, or it goes on by a step. */
  | ({ kind: 'phase' | 'step' } & Phase)
  /** The phase under way has ended, and none begins. */
  | { kind: 'over' }
  /** `rowsFrom`: the UTC day of rows that a checkpoint leaves out, as far as it is known. */
  | { kind: 'selected'; type: EntityType; total: number; skipped: number; rowsFrom?: string | undefined }
  | { kind: 'gathering'; strategy: Strategy }
  /** What a witness contradicts is written all the same, as it was asked for. */
  | { kind: 'forced'; what: string }
  /** `passedOver`: how many of a refresh the database does not hold. */
  | { kind: 'batch'; type: EntityType; written: Written[]; failures: Failure[]; passedOver?: number };

export type Batch = Extract<RunEvent, { kind: 'batch' }>;

export type Tell = (event: RunEvent) => void;

export type Events = ReturnType<typeof createEvents>;

/** Those who watch, and a way to tell them all. A step that comes after its phase, beside another one, is not told. */
export function createEvents() {
  const listeners: Tell[] = [];
  let phase: string | undefined;
  const tell: Tell = (event) => {
    if (event.kind === 'step' && event.label !== phase) return;
    if (event.kind === 'phase') phase = event.label;
    if (event.kind === 'over') phase = undefined;
    for (const listener of listeners) listener(event);
  };
  return { tell, listen: (listener: Tell) => void listeners.push(listener) };
}

/** Whether nothing more is to come of a phase. */
export function isOver({ done, total, failed = 0, written }: Phase): boolean {
  return (written === undefined ? done : written + failed) >= total;
}

/** How much of a phase is done, from 0 to 1. */
export function fractionOf({ done, total }: Phase): number {
  return total === 0 ? 1 : Math.min(1, done / total);
}
