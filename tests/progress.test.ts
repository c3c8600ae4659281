import { expect, it } from 'vitest';
import { observed, type PhaseNote, type Progress, silentProgress } from '../src/progress.js';

it('an observer is told where each phase stands, and so is who shows it', () => {
  const notes: PhaseNote[] = [];
  const shown: [string, number, number | undefined][] = [];
  const progress: Progress = {
    ...silentProgress,
    phase: (label) => ({ update: ({ done, total }) => shown.push([label, done, total]) }),
  };
  const phase = observed(progress, (note) => notes.push(note)).phase('sweeping', 135);
  phase.update({ done: 7 });
  phase.update({ done: 140, total: 141 });
  expect(notes.map(({ label, done, total }) => [label, done, total])).toEqual([
    ['sweeping', 0, 135],
    ['sweeping', 7, 135],
    ['sweeping', 140, 141],
  ]);
  expect(shown).toEqual([
    ['sweeping', 7, undefined],
    ['sweeping', 140, 141],
  ]);
});
