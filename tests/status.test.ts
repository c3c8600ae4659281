import { readdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type EntityTypeName, entityTypes } from '../src/entity-types.js';
import { exitCodes } from '../src/errors.js';
import { openCheckpoint } from '../src/files/checkpoint.js';
import { type Report, saveReport } from '../src/files/report.js';
import { lockTypes } from '../src/files/run-lock.js';
import { describeStatus, readStatus } from '../src/show/status.js';
import { jockeys, typeNamed } from './faults.js';
import { reportWith } from './sample-report.js';
import { ownFolder } from './watching.js';

const now = new Date('2026-07-01T12:00:00Z');
const folder = ownFolder();
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'performance'] }));
afterEach(() => void vi.useRealTimers());

/** Saves a report of jockeys: one of ten failed, by default all others were written. */
function saveRun(day: string, more: Partial<Report> = {}, processed = 10): string {
  const figures = { total: 10, processed, successful: processed - 1, failed: 1, skipped: 0, duration: 1, rate: 10 };
  const report = reportWith({ timestamp: `${day}T05:00:00.000Z`, statistics: { jockeys: figures }, ...more });
  return saveReport(folder(), report).reportPath ?? '';
}

it('of a folder without files is empty, also of one that is not there', () => {
  for (const directory of [folder(), folder('none')]) {
    const status = readStatus(directory, now);
    for (const { name } of entityTypes)
      expect(status[name]).toEqual({ running: null, last_run: null, last_completed: null, resume: null });
    expect(describeStatus(status)).toContain(
      'jockeys\n  running         no\n  last run        none\n  --resume        would start from the beginning: no checkpoint',
    );
  }
  expect(readdirSync(folder())).toEqual([]);
});

it('tells the run that processes a type, from its lock', () => {
  const since = '2026-07-01T11:59:00.000Z';
  const lock = lockTypes(folder(), [jockeys], since);
  expect(readStatus(folder(), now).jockeys.running).toMatchObject({ rate: 0, seconds_left: null });
  expect(describeStatus(readStatus(folder(), now))).toContain(' selecting 0/0, 0.00/s\n');
  vi.setSystemTime('2026-07-01T11:59:30Z');
  lock.take({ kind: 'gathering', strategy: 'walk' });
  lock.take({ kind: 'phase', label: 'walking jockeys', done: 0, total: 180 });
  vi.advanceTimersByTime(2_000);
  lock.take({ kind: 'step', label: 'walking jockeys', done: 60, total: 180 });
  const status = readStatus(folder(), now);
  const phase = { phase: 'walking jockeys', done: 60, total: 180, rate: 2, seconds_left: 60 };
  expect(status.jockeys.running).toEqual({ pid: process.pid, since, strategy: 'walk', ...phase });
  expect(status.owners.running).toBeNull();
  expect(describeStatus(status)).toContain(
    `pid ${process.pid} since ${since}, walk\n                  walking jockeys 60/180, 2.00/s, 1m 00s left\n`,
  );
  lock.release();
  expect(readStatus(folder(), now).jockeys.running).toBeNull();
});

describe('the lock of a run', () => {
  const since = '2026-07-01T11:59:00.000Z';
  const secondRun = (...types: EntityTypeName[]) => lockTypes(folder(), types.map(typeNamed), since);
  const refusal = (message: string) => expect.objectContaining({ exitCode: exitCodes.alreadyRunning, message });
  const advice = `Wait for its end, or stop it with: kill ${process.pid}`;

  it('tells a second one what it does, at most every two seconds, and leaves it the other types', () => {
    const lock = lockTypes(folder(), [jockeys], since);
    lock.take({ kind: 'phase', label: 'walking jockeys', done: 0, total: 1_800 });
    lock.take({ kind: 'step', label: 'walking jockeys', done: 1_200, total: 1_800 });
    const toldOf = (done: string) =>
      refusal(
        `Another run is processing jockeys: pid ${process.pid}, since ${since}, walking jockeys ${done}. ${advice}`,
      );
    expect(() => secondRun('owners', 'jockeys')).toThrow(toldOf('0 of 1,800'));
    vi.advanceTimersByTime(2_000);
    lock.take({ kind: 'request' });
    expect(() => secondRun('owners', 'jockeys')).toThrow(toldOf('1,200 of 1,800'));
    secondRun('owners').release();
    expect(readdirSync(folder())).toEqual(['run_jockeys.lock']);
  });

  const bare = JSON.stringify({ token: '', pid: process.pid, process_start: null });
  it.each([
    ['', 'Another run for jockeys is just starting: try again in a few seconds.'],
    [bare, `Another run is processing jockeys: pid ${process.pid}. ${advice}`],
  ])('that holds only %j says so much, and is no run for status', (content, told) => {
    vi.useRealTimers();
    writeFileSync(folder('run_jockeys.lock'), content);
    expect(() => secondRun('jockeys')).toThrow(refusal(told));
    expect(readStatus(folder(), now).jockeys.running).toBeNull();
  });
});

it('tells the last run and, where that did not reach its end, the last completed one', () => {
  saveRun('2026-06-28');
  const completed = saveRun('2026-06-29');
  const last = saveRun('2026-06-30', { exit_code: 4, stopped_by: 'The API is gone.' }, 4);
  saveRun('2026-07-01', { mode: 'dry_run' });
  const status = readStatus(folder(), now);
  const first = { ended: '2026-06-29T05:00:00.000Z', exit_code: 0, stopped_by: null, report: completed };
  expect(status.jockeys.last_completed).toEqual({ ...first, total: 10, successful: 9, failed: 1 });
  expect(status.jockeys.last_run).toMatchObject({ report: last, exit_code: 4, total: 10, successful: 3, failed: 1 });
  expect(status.owners.last_run).toBeNull();
  expect(describeStatus(status).split('\n').slice(2, 5)).toEqual([
    '  last run        2026-06-30T05:00:00.000Z, exit code 4: 3 of 10 written, 1 failed',
    '                  The API is gone.',
    '  last completed  2026-06-29T05:00:00.000Z, exit code 0: 9 of 10 written, 1 failed',
  ]);
});

it('reads reports of the original program', () => {
  const figures = { total: 2, processed: 2, successful: 2, failed: 0, duration: 14.67, rate: 0.14 };
  const ended = '2025-10-19T14:17:14.492810';
  const original = { timestamp: ended, mode: 'production', statistics: { jockeys: figures } };
  writeFileSync(folder('statistics_population_report_20251019_141714.json'), JSON.stringify(original));
  const status = readStatus(folder(), now);
  expect(status.jockeys.last_completed).toMatchObject({ ended, exit_code: null, successful: 2 });
  expect(describeStatus(status)).toContain(`  last run        ${ended}: 2 of 2 written, 0 failed\n  --resume`);
});

it('tells what --resume would do', () => {
  vi.setSystemTime(now);
  const checkpoint = openCheckpoint(folder(), jockeys, undefined, () => {});
  checkpoint.add(['jky_1', 'jky_2'], 0);
  writeFileSync(folder('checkpoint_owners.json'), '{"torn');
  const status = readStatus(folder(), now);
  expect(status.jockeys.resume).toEqual({ written: 2, saved: now.toISOString() });
  expect(status.owners.resume).toEqual({ unusable: 'it is not a whole checkpoint' });
  expect(describeStatus(status)).toContain(`would leave out 2 written, saved ${now.toISOString()}`);
  expect(describeStatus(status)).toContain('would refuse: the checkpoint cannot be used, it is not a whole');
});
