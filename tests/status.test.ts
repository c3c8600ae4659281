import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { Checkpoint } from '../src/files/checkpoint.js';
import { newReport, type Report, saveReport } from '../src/files/report.js';
import { RunLock } from '../src/files/run-lock.js';
import { describeStatus, readStatus } from '../src/show/status.js';

const now = new Date('2026-07-01T12:00:00Z');
const [jockeys] = entityTypes;
if (jockeys === undefined) throw new Error('There are no jockeys');
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'status-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Saves a report of jockeys: by default all ten were written. */
function saveRun(timestamp: string, change: Partial<Report> & { processed?: number } = {}): string {
  const { processed = 10, ...more } = change;
  const selectors = { limit: null, dryRun: false, skipExisting: false, staleAfter: null, resume: false };
  const report = newReport({ types: entityTypes, ...selectors }, new Date(timestamp));
  const figures = {
    total: 10,
    processed,
    successful: processed,
    failed: 0,
    skipped: 0,
    duration: 1,
    rate: 10,
  };
  return saveReport(folder, { ...report, timestamp, statistics: { jockeys: figures }, ...more });
}

describe('the status', () => {
  it('of a folder without files is empty, also of one that is not there', () => {
    for (const directory of [folder, join(folder, 'none')]) {
      const status = readStatus(directory, now);
      for (const { name } of entityTypes) {
        expect(status[name]).toEqual({ running: null, last_run: null, last_completed: null, resume: null });
      }
      expect(describeStatus(status)).toContain('no checkpoint');
    }
    expect(readdirSync(folder)).toEqual([]);
  });

  it('tells the run that processes a type, from its lock', () => {
    const lock = new RunLock(folder, [jockeys]);
    lock.acquire('2026-07-01T11:59:00.000Z');
    const phase = { label: 'walking jockeys', since: new Date('2026-07-01T11:59:30Z'), done: 60, total: 180 };
    lock.update({ started_at: '2026-07-01T11:59:00.000Z', strategy: 'walk' }, phase);
    const status = readStatus(folder, now);
    expect(status.jockeys.running).toEqual({
      pid: process.pid,
      since: '2026-07-01T11:59:00.000Z',
      strategy: 'walk',
      phase: 'walking jockeys',
      done: 60,
      total: 180,
      rate: 2,
      seconds_left: 60,
    });
    expect(status.owners.running).toBeNull();
    expect(describeStatus(status)).toContain('walking jockeys 60/180, 2.00/s, 1m 00s left');
    lock.release();
    expect(readStatus(folder, now).jockeys.running).toBeNull();
  });

  it('does not take a dead process for a run', () => {
    const lock = { token: 'x', pid: 2 ** 22 + 1, process_start: null, since: '', strategy: null };
    const note = { phase: 'selecting', phase_since: '', done: 0, total: 0 };
    writeFileSync(join(folder, 'run_jockeys.lock'), JSON.stringify({ ...lock, ...note }));
    expect(readStatus(folder, now).jockeys.running).toBeNull();
  });

  it('tells the last run and, where that did not reach its end, the last completed one', () => {
    saveRun('2026-06-28T05:00:00.000Z');
    const completed = saveRun('2026-06-29T05:00:00.000Z');
    const last = saveRun('2026-06-30T05:00:00.000Z', {
      processed: 4,
      exit_code: 4,
      stopped_by: 'The API is gone.',
    });
    saveRun('2026-07-01T05:00:00.000Z', { mode: 'dry_run' });
    const { jockeys: status, owners } = readStatus(folder, now);
    expect(status.last_run).toMatchObject({ report: last, exit_code: 4, successful: 4, total: 10 });
    expect(status.last_completed).toMatchObject({ report: completed, exit_code: 0, successful: 10 });
    expect(owners.last_run).toBeNull();
    const text = describeStatus(readStatus(folder, now));
    expect(text).toContain('2026-06-30T05:00:00.000Z, exit code 4: 4 of 10 written, 0 failed');
    expect(text).toContain('The API is gone.');
    expect(text).toContain('last completed  2026-06-29T05:00:00.000Z, exit code 0: 10 of 10 written');
  });

  it('reads reports of the original program and passes over what is none', () => {
    const statistics = {
      jockeys: { total: 2, processed: 2, successful: 2, failed: 0, duration: 14.67, rate: 0.14 },
    };
    const original = { timestamp: '2025-10-19T14:17:14.492810', mode: 'production', statistics };
    writeFileSync(
      join(folder, 'statistics_population_report_20251019_141714.json'),
      JSON.stringify(original),
    );
    writeFileSync(join(folder, 'statistics_population_report_20251020_141714.json'), '{"half": ');
    expect(readStatus(folder, now).jockeys.last_completed).toMatchObject({
      ended: original.timestamp,
      exit_code: null,
      successful: 2,
    });
  });

  it('tells what --resume would do', () => {
    const checkpoint = new Checkpoint(folder, jockeys);
    checkpoint.add(['jky_1', 'jky_2']);
    checkpoint.save();
    writeFileSync(join(folder, 'checkpoint_owners.json'), '{"torn');
    const status = readStatus(folder, now);
    expect(status.jockeys.resume).toMatchObject({ written: 2 });
    expect(status.owners.resume).toEqual({ unusable: 'it is not a whole checkpoint' });
    expect(describeStatus(status)).toContain('would leave out 2 written');
    expect(describeStatus(status)).toContain('would refuse');
  });
});
