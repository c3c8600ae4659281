import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type EntityTypeName, entityTypes } from '../src/entity-types.js';
import { exitCodes } from '../src/errors.js';
import { openCheckpoint } from '../src/files/checkpoint.js';
import { lockTypes } from '../src/files/locks.js';
import type { Report } from '../src/files/report.js';
import { runBefore, saveReport } from '../src/files/saved-reports.js';
import { checkStatus, describeStatus, readStatus } from '../src/show/status.js';
import { jockeys, typeNamed } from './faults.js';
import { reportWith } from './sample-report.js';
import { ownFolder } from './watching.js';

const now = new Date('2026-07-01T12:00:00Z');
const folder = ownFolder();
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'performance'] }));
afterEach(() => void vi.useRealTimers());

const read = (...types: EntityTypeName[]) =>
  readStatus(folder(), now, types.length > 0 ? types.map(typeNamed) : entityTypes);
/** What people read, but for the last line: where the files are. */
function told(...types: EntityTypeName[]): string[] {
  const lines = describeStatus(read(...types), folder(), now).split('\n');
  expect(lines.length).toBeLessThan(10);
  expect(lines.pop()).toBe(`Files: ${resolve(folder())}`);
  return lines;
}
const check = (hours = 26) => checkStatus(read(), { text: `${hours}h`, ms: hours * 3_600_000 }, now);

/** Figures of a type of which one failed, all others by default were written. */
const figures = (total = 10, processed = total, failed = 1) => {
  return { total, processed, successful: processed - failed, failed, skipped: 0, duration: 1, rate: 10 };
};
/** Saves the report of a run that ended at an hour of a day; by default of jockeys alone. */
function saveRun(time: string, more: Partial<Report> = {}, ofJockeys = figures()): string {
  const report = reportWith({ timestamp: `${time}:00:00.000Z`, entity_types: ['jockeys'], ...more });
  return saveReport(folder(), { ...report, statistics: more.statistics ?? { jockeys: ofJockeys } }).reportPath ?? '';
}
/** A run of all types in which everything was written. */
function saveFull(time: string, more: Partial<Report> = {}): string {
  const statistics = {
    jockeys: figures(3_483, 3_483, 0),
    trainers: figures(2_781, 2_781, 0),
    owners: figures(48_165, 48_165, 0),
  };
  return saveRun(time, { entity_types: ['jockeys', 'trainers', 'owners'], statistics, ...more });
}
/** A run of all types that ended before it had selected anything. */
const refused = 'The Racing API refuses the account (401). Check RACING_API_PASSWORD.';
const saveRefused = (time: string) => saveFull(time, { statistics: {}, exit_code: 5, stopped_by: refused });

it('of a folder without files is empty and says where it has looked, also where there is none', () => {
  const none = { last_run: null, last_completed: null, last_full: null, last_success: null, failed_run: null };
  const all = { ...none, running: null, killed: null, failing_since: null, resume: null };
  const elsewhere = '. There is no such folder: ask where the runs are started.';
  for (const [directory, told] of [
    [folder(), ''],
    [folder('none'), elsewhere],
  ] as const) {
    const status = readStatus(directory, now);
    for (const { name } of entityTypes) expect(status[name]).toEqual(all);
    expect(describeStatus(status, directory, now)).toBe(
      `No run yet.\nNext: populate-all-statistics --all\nFiles: ${resolve(directory)}${told}`,
    );
  }
  expect(readdirSync(folder())).toEqual([]);
  expect(check()).toEqual({ isWell: false, line: 'Not well: no run yet.' });
});

it('tells the run that processes a type, from its lock', () => {
  const since = '2026-07-01T11:50:00.000Z';
  const lock = lockTypes(folder(), [jockeys], since);
  expect(read().jockeys?.running).toMatchObject({ rate: 0, seconds_left: null });
  expect(told()[0]).toBe(`jockeys: Running as pid ${process.pid}, began 10 min ago: selecting.`);
  vi.setSystemTime('2026-07-01T11:59:30Z');
  lock.take({ kind: 'gathering', strategy: 'walk' });
  lock.take({ kind: 'phase', label: 'walking', done: 0, total: 180 });
  vi.advanceTimersByTime(2_000);
  lock.take({ kind: 'step', label: 'walking', done: 60, total: 180 });
  const phase = { phase: 'walking', done: 60, total: 180, rate: 2, seconds_left: 60, paused: null };
  expect(read().jockeys?.running).toEqual({ pid: process.pid, since, strategy: 'walk', ...phase });
  expect(read().owners?.running).toBeNull();
  expect(told()[0]).toContain('walking 60/180, 1m 00s left');
  lock.take({ kind: 'pause', seconds: 300, reason: 'refused (429)' });
  expect(read().jockeys?.running).toMatchObject({ seconds_left: null, paused: { until: '2026-07-01T12:04:32.000Z' } });
  vi.advanceTimersByTime(60_000);
  expect(told()[0]).toContain(' walking 60/180, paused for 4m 32s: refused (429).');
  lock.take({ kind: 'request' });
  expect(read().jockeys?.running).toMatchObject({ paused: null });
  lock.release();
  expect(read().jockeys?.running).toBeNull();
});

it('the run before is the last one of the same types', () => {
  const jockeys5 = saveRun('2026-07-01T05');
  saveFull('2026-07-01T06');
  const own = saveRun('2026-07-01T07');
  const before = (name: EntityTypeName, reportPath: string | null) =>
    runBefore(folder(), { report: reportWith({ entity_types: [name] }), reportPath })?.path;
  expect(before('jockeys', own)).toBe(jockeys5);
  expect(before('jockeys', null)).toBe(own);
  expect(before('owners', null)).toBeUndefined();
});

describe('the lock of a run', () => {
  const since = '2026-07-01T11:59:00.000Z';
  const secondRun = (...types: EntityTypeName[]) => lockTypes(folder(), types.map(typeNamed), since);
  const refusal = (message: string) => expect.objectContaining({ exitCode: exitCodes.alreadyRunning, message });
  const advice = `Wait for its end, or stop it with: kill ${process.pid}`;

  it('tells a second one what it does, at most twice a second, and leaves it the other types', () => {
    vi.setSystemTime(now);
    const lock = lockTypes(folder(), [jockeys], since);
    lock.take({ kind: 'phase', label: 'walking jockeys', done: 0, total: 1_800 });
    lock.take({ kind: 'step', label: 'walking jockeys', done: 1_200, total: 1_800 });
    const toldOf = (done: string) =>
      refusal(
        `Another run is processing jockeys: pid ${process.pid}, began 1 min ago, walking jockeys ${done}. ${advice}`,
      );
    expect(() => secondRun('owners', 'jockeys')).toThrow(toldOf('0 of 1,800'));
    vi.advanceTimersByTime(500);
    lock.take({ kind: 'request' });
    expect(() => secondRun('owners', 'jockeys')).toThrow(toldOf('1,200 of 1,800'));
    secondRun('owners').release();
    expect(readdirSync(folder())).toEqual(['run_jockeys.lock']);
  });

  const bare = JSON.stringify({ token: '', pid: process.pid, process_start: null });
  it.each([
    ['', 'Another run for jockeys is just starting: try again in a few seconds.'],
    [bare, `Another run is processing jockeys: pid ${process.pid}. ${advice}`],
  ])('that holds only %j says so much, and is no run for status', (content, expected) => {
    vi.useRealTimers();
    writeFileSync(folder('run_jockeys.lock'), content);
    expect(() => secondRun('jockeys')).toThrow(refusal(expected));
    expect(read().jockeys?.running).toBeNull();
  });
});

it('a run that was killed is told, until the next one', () => {
  vi.setSystemTime('2026-07-01T10:00:00Z');
  saveFull('2026-07-01T05');
  const lock = lockTypes(folder(), entityTypes, '2026-07-01T10:00:00.000Z');
  lock.take({ kind: 'phase', label: 'writing', done: 12_000, total: 54_429 });
  openCheckpoint(folder(), typeNamed('owners'), undefined, '2026-07-01').add(['own_1'], 0);
  expect(check().isWell).toBe(true);
  for (const { name } of entityTypes) {
    const path = folder(`run_${name}.lock`);
    writeFileSync(path, readFileSync(path, 'utf8').replace(/"process_start":"[^"]*"/, '"process_start":"1"'));
  }
  expect(read().owners).toMatchObject({ running: null, killed: { phase: 'writing', done: 12_000, total: 54_429 } });
  expect(told()).toEqual([
    'The run that began 2 h ago was killed: writing 12,000/54,429.',
    'Next: run again with --resume.',
    'Last full run 7 h ago: 54,429 written, 0 failed.',
    'owners: --resume leaves out what is written: 1 entity.',
  ]);
  const line = 'Not well: the run that began 2 h ago was killed, last success 7 h ago.';
  expect(check()).toEqual({ isWell: false, line });
  const next = lockTypes(folder(), entityTypes, '2026-07-01T11:00:00.000Z');
  expect(next.afterKilled).toBe('2026-07-01T10:00:00.000Z');
  next.release();
  expect(check().isWell).toBe(true);
  // One that ends leaves no such lock.
  const third = lockTypes(folder(), entityTypes, '2026-07-01T11:30:00.000Z');
  expect(third.afterKilled).toBeNull();
  third.release();
});

it('while a run goes on, nothing else is to be done', () => {
  vi.setSystemTime(now);
  const statistics = { jockeys: figures(10, 0, 0) };
  saveRun('2026-07-01T11', { exit_code: 5, stopped_by: refused, after_killed: '2026-07-01T10:00:00Z', statistics });
  const before = ['The run that began 2 h ago was killed: no run of all rows has ended well since then.'];
  expect(told('jockeys').slice(0, 2)).toEqual([...before, 'Next: run again.']);
  expect(told('jockeys').join()).toContain('Check RACING_API_PASSWORD.');
  const lock = lockTypes(folder(), [jockeys], '2026-07-01T12:00:00.000Z');
  expect(told('jockeys')).toEqual([
    expect.stringMatching(/^Running as pid /),
    ...before,
    'No full run yet.',
    expect.stringMatching(/^Last run 60 min ago FAILED with exit code 5 /),
    'The Racing API refuses the account (401).',
  ]);
  lock.release();
});

describe('after full runs', () => {
  it('the last one is told in one line, and all is well', () => {
    saveFull('2026-06-30T05');
    saveFull('2026-07-01T07');
    expect(told()).toEqual(['Last full run 5 h ago: 54,429 written, 0 failed.']);
    expect(check()).toEqual({ isWell: true, line: 'All is well: last success 5 h ago.' });
    expect(check(4)).toEqual({
      isWell: false,
      line: 'Not well: last success 5 h ago, allowed are 4h.',
    });
  });

  it('one that is too old is stale', () => {
    saveFull('2026-06-29T07');
    expect(told()).toEqual([
      'Last full run 2 d ago: 54,429 written, 0 failed. Stale: see whether the daily run is scheduled.',
    ]);
    expect(check().isWell).toBe(false);
  });

  it('runs that fail before they have selected are told, and since when', () => {
    saveFull('2026-06-29T05');
    saveRefused('2026-06-30T05');
    saveRefused('2026-07-01T05');
    saveFull('2026-07-01T06', { mode: 'dry_run' });
    expect(told().slice(1)).toEqual([
      'All runs have FAILED since 31 h ago. ' +
        'Last run 7 h ago FAILED with exit code 5 (API credentials or plan refused): 0 written, 0 failed.',
      refused,
    ]);
    expect(read().owners).toMatchObject({ failing_since: '2026-06-30T05:00:00.000Z', last_run: { exit_code: 5 } });
    expect(check(99).line).toBe('Not well: failing since 31 h ago, exit code 5, last success 2 d ago.');
  });

  it('single failures have a next step', () => {
    vi.setSystemTime('2026-07-01T04:59:00Z');
    openCheckpoint(folder(), typeNamed('owners'), undefined, '2026-07-01').add(['own_1'], 0);
    const report = saveFull('2026-07-01T05', {
      exit_code: 3,
      statistics: { owners: figures(48_165, 48_165, 2) },
      entity_types: ['owners'],
    });
    expect(told('owners')).toEqual([
      'Last full run 7 h ago: 48,163 written, 2 failed.',
      'Last run 7 h ago FAILED with exit code 3 (finished, some entities failed): 48,163 written, 2 failed.',
      `Next: run again with --resume. The reasons are in ${report}`,
      '--resume leaves out what is written: 1 entity.',
    ]);
  });

  const limited = { skip_existing: false, stale_after: null, resume: false, limit: 10 };
  const ofNewOnes = { ...limited, skip_existing: true, limit: null };
  const ofStaleOnes = { ...limited, limit: null, stale_after: '30d' };
  it.each([limited, ofNewOnes, ofStaleOnes])(
    'one of a few is the last run, and neither a full one nor a success: %j',
    (options) => {
      saveFull('2026-06-30T05');
      saveRun('2026-07-01T11', { options }, figures(10, 10, 0));
      expect(told()).toEqual([
        'Last full run 31 h ago: 54,429 written, 0 failed. Stale: see whether the daily run is scheduled.',
        'jockeys: Last run 60 min ago: 10 written, 0 failed.',
      ]);
      expect(check().line).toContain('allowed are 26h');
    },
  );

  it.each([limited, ofNewOnes, ofStaleOnes])('one of a few makes none of all good, but one of a few: %j', (options) => {
    const stopped = { exit_code: 4, stopped_by: 'The API is gone.' } as const;
    saveFull('2026-07-01T05');
    saveRun('2026-07-01T08', { ...stopped, options: limited }, figures(10, 5, 0));
    saveRun('2026-07-01T09', { options }, figures(10, 10, 0));
    expect(check().isWell).toBe(true);
    saveFull('2026-07-01T07', { ...stopped });
    expect(read().jockeys?.failed_run?.ended).toBe('2026-07-01T07:00:00.000Z');
    expect(check().isWell).toBe(false);
  });

  const saveRefresh = (more: Partial<Report> = {}) => {
    const statistics = { owners: figures(7, 7, 0) };
    const entity_types: EntityTypeName[] = ['jockeys', 'trainers', 'owners'];
    return saveRun('2026-07-01T11', { strategy: 'refresh', entity_types, statistics, ...more });
  };

  it('a refresh that failed for one advises no --resume, and is told of that type alone', () => {
    saveFull('2026-07-01T05');
    openCheckpoint(folder(), jockeys, undefined, '2026-07-01').add(['jky_1'], 0);
    const statistics = { jockeys: figures(7, 7, 1), owners: figures(7, 7, 0) };
    const report = saveRefresh({ exit_code: 3, statistics });
    expect(told()).toEqual([
      'Last full run 7 h ago: 54,429 written, 0 failed.',
      'jockeys: Last refresh 60 min ago FAILED with exit code 3 (finished, some entities failed): 13 written, 1 failed.',
      `Next: run again. The reasons are in ${report}`,
      'jockeys: --resume leaves out what is written: 1 entity.',
    ]);
  });

  it('a refresh does not make good what a full run could not write', () => {
    saveFull('2026-07-01T04');
    const statistics = { owners: figures(48_165, 48_165, 2) };
    const report = saveFull('2026-07-01T05', { exit_code: 3, statistics, entity_types: ['owners'] });
    saveRefresh();
    expect(told()).toEqual([
      'jockeys, trainers: Last full run 8 h ago: 54,429 written, 0 failed.',
      'owners: Last full run 7 h ago: 48,163 written, 2 failed.',
      'Last refresh 60 min ago: 7 written, 0 failed.',
      'owners: Last run 7 h ago FAILED with exit code 3 (finished, some entities failed): 48,163 written, 2 failed.',
      `Next: run again. The reasons are in ${report}`,
    ]);
    expect(check()).toMatchObject({
      isWell: false,
      line: expect.stringContaining('failing since 7 h ago, exit code 3'),
    });
    saveFull('2026-07-01T10');
    expect(check()).toMatchObject({ isWell: true });
  });

  it('one that went on tells what was written before too, and one with other types left the same next step', () => {
    vi.setSystemTime('2026-07-01T04:59:00Z');
    openCheckpoint(folder(), typeNamed('owners'), undefined, '2026-07-01').add(['own_1'], 0);
    const statistics = { jockeys: figures(10, 10, 0), owners: figures(20, 20, 1) };
    const entity_types: EntityTypeName[] = ['jockeys', 'owners'];
    const report = saveRun('2026-07-01T05', { exit_code: 3, statistics, entity_types });
    expect(told('jockeys', 'owners').slice(1)).toEqual([
      'owners: Last run 7 h ago FAILED with exit code 3 (finished, some entities failed): 29 written, 1 failed.',
      `Next: run again with --resume. The reasons are in ${report}`,
      'owners: --resume leaves out what is written: 1 entity.',
    ]);
    const rest = { jockeys: { ...figures(0, 0, 0), skipped: 10 }, owners: { ...figures(1, 1, 0), skipped: 19 } };
    const options = { skip_existing: false, stale_after: null, resume: true, limit: null };
    saveRun('2026-07-01T06', { statistics: rest, entity_types, options });
    expect(told('owners')).toEqual(['Last full run 6 h ago: 1 written and 29 before, 0 failed.']);
  });

  it('a refresh is the last success', () => {
    saveFull('2026-06-30T05');
    const refresh = reportWith({
      timestamp: '2026-07-01T11:55:00.000Z',
      strategy: 'refresh',
      statistics: { owners: figures(7, 7, 0) },
    });
    writeFileSync(folder('statistics_refresh_report.json'), JSON.stringify(refresh));
    expect(told()).toContain('Last refresh 5 min ago: 7 written, 0 failed.');
    expect(check()).toEqual({ isWell: true, line: 'All is well: last success 5 min ago.' });
    expect(read().owners?.last_completed?.ended).toBe('2026-06-30T05:00:00.000Z');
  });
});

describe('an interrupted run', () => {
  it('is told with its own advice, and is no failure where everything was written by then', () => {
    const stopped_by = 'Interrupted by SIGINT. Run again with --resume to go on.';
    saveRun('2026-07-01T10', { exit_code: 130, stopped_by }, figures(10, 4, 0));
    expect(told('jockeys').slice(1)).toEqual(['Last run 2 h ago: 4 written, 0 failed, 6 not done.', stopped_by]);
    expect(check().isWell).toBe(false);
    const all = saveFull('2026-07-01T11', { exit_code: 130, stopped_by: 'Everything was written by then.' });
    expect(told()).toEqual(['Last full run 60 min ago: 54,429 written, 0 failed.']);
    expect(check().isWell).toBe(true);
    expect(read().owners?.last_success?.report).toBe(all);
  });

  const resume = { skip_existing: false, stale_after: null, resume: true, limit: null };
  const stopped = { exit_code: 130, stopped_by: 'Interrupted by SIGINT. Nothing was changed.' } as const;
  const nothingLeft = { jockeys: { ...figures(0, 0, 0), skipped: 10 } };

  it.each([
    [0, '2026-07-01T05:00:00.000Z', 'Last full run 7 h ago: 10 written, 0 failed.'],
    [10, '2026-07-01T10:00:00.000Z', 'Last full run 2 h ago: 0 written and 10 before, 0 failed.'],
  ])(
    'that had written %i rows: the last success after a resume that found nothing left is that of %s',
    (written, ended, line) => {
      saveRun('2026-07-01T05', {}, figures(10, 10, 0));
      saveRun('2026-07-01T08', { ...stopped, exit_code: 4 }, figures(10, written, 0));
      // A second one tells nothing new.
      for (const time of ['2026-07-01T10', '2026-07-01T11'])
        saveRun(time, { options: resume, statistics: nothingLeft });
      const { last_success, failed_run, last_full } = read().jockeys ?? {};
      expect([last_success?.ended, last_full?.ended]).toEqual([ended, ended]);
      expect(failed_run === null).toBe(written > 0);
      expect(told('jockeys')[0]).toBe(line);
    },
  );

  it('whose rows are of an earlier day, for --resume, is as old as these', () => {
    saveFull('2026-07-01T11', { rows_from: '2026-06-28', options: resume });
    expect(told()[0]).toMatch(/^Last full run 2 d ago: .* Stale/);
    expect(check().line).toBe('Not well: last success 2 d ago, allowed are 26h.');
  });
});

describe('after a run that was killed', () => {
  const few = { skip_existing: false, stale_after: null, resume: false, limit: 10 };
  const killed = { after_killed: '2026-07-01T09:00:00.000Z' };
  const line = 'the run that began 3 h ago was killed, last success 7 h ago';

  it.each<[string, Partial<Report>, boolean]>([
    ['of a few', { options: few }, false],
    ['that failed', { exit_code: 4, stopped_by: 'The API is gone.' }, false],
    ['of all', {}, true],
    ['that had nothing left to do', { options: { ...few, limit: null, resume: true } }, true],
  ])('one %s makes it good or not', (_, more, isGood) => {
    saveFull('2026-07-01T05');
    const statistics = { jockeys: more.options?.resume ? figures(0, 0, 0) : figures(10, 10, 0) };
    saveRun('2026-07-01T10', { ...killed, ...more, statistics });
    expect(check().line.includes(line)).toBe(!isGood);
    const told = describeStatus(read('jockeys'), folder(), now);
    const what = 'The run that began 3 h ago was killed: no run of all rows has ended well since then.';
    expect(told.includes(what)).toBe(!isGood);
    saveFull('2026-07-01T11');
    expect(check().isWell).toBe(true);
  });
});

it('a report of a clock that was ahead hides none that has come after it', () => {
  saveFull('2026-07-09T05');
  saveFull('2026-07-01T05');
  saveRefused('2026-07-01T06');
  expect(check().line).toBe('Not well: failing since 6 h ago, exit code 5, last success 7 h ago.');
});

it('a report that may not be read is told: nobody knows whether all is well', () => {
  saveFull('2026-07-01T05');
  const refused = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
  const path = saveRefused('2026-07-01T06');
  const reading = vi.spyOn(JSON, 'parse').mockImplementationOnce(() => {
    throw refused;
  });
  expect(() => read()).toThrow(
    expect.objectContaining({ exitCode: exitCodes.filesUnusable, message: expect.stringContaining(path) }),
  );
  reading.mockRestore();
});

it('a full run that left other types tells of a type that it finished its own figures', () => {
  const statistics = { jockeys: figures(10, 10, 0), owners: figures(20, 5, 0) };
  const entity_types: EntityTypeName[] = ['jockeys', 'owners'];
  saveRun('2026-07-01T11', { exit_code: 4, stopped_by: 'The API is gone.', statistics, entity_types });
  expect(told('jockeys')[0]).toBe('Last full run 60 min ago: 10 written, 0 failed.');
  expect(told('owners')[0]).toBe('No full run yet.');
});

it('one that failed for some entities is well for the other types', () => {
  saveFull('2026-07-01T11', { exit_code: 3, statistics: { jockeys: figures(), owners: figures(20, 20, 0) } });
  saveRun('2026-07-01T10', { statistics: { trainers: figures(10, 10, 0) }, entity_types: ['trainers'] });
  expect(check().line).toBe('Not well: jockeys: failing since 60 min ago, exit code 3, last success never.');
});

it('tells the last run and, where that did not reach its end, the last completed one', () => {
  saveRun('2026-06-28T05');
  const completed = saveRun('2026-06-29T05');
  const last = saveRun('2026-06-30T05', { exit_code: 4, stopped_by: 'The API is gone.' }, figures(10, 4));
  saveRun('2026-07-01T05', { mode: 'dry_run' });
  const { jockeys: status, owners } = read();
  const first = { ended: '2026-06-29T05:00:00.000Z', exit_code: 0, stopped_by: null, report: completed };
  const of_all = { successful: 9, resumed: 0, failed: 1, left: 0 };
  expect(status?.last_completed).toEqual({ ...first, total: 10, successful: 9, failed: 1, resumed: 0, of_all });
  expect(status?.last_run).toMatchObject({ report: last, exit_code: 4, total: 10, successful: 3, failed: 1 });
  expect(owners?.last_run).toBeNull();
  expect(told()).toEqual([
    'jockeys: Last full run 2 d ago: 9 written, 1 failed.',
    'trainers, owners: No full run yet.',
    'jockeys: Last run 31 h ago FAILED with exit code 4 (API unavailable or cooling off for too long, resumable): ' +
      '3 written, 1 failed, 6 not done.',
    'The API is gone.',
  ]);
});

it('reads reports of the original program', () => {
  const ended = '2025-10-19T14:17:14.492810';
  const original = { timestamp: ended, mode: 'production', statistics: { jockeys: figures(2, 2, 0) } };
  writeFileSync(folder('statistics_population_report_20251019_141714.json'), JSON.stringify(original));
  expect(read().jockeys?.last_completed).toMatchObject({ ended, exit_code: null, successful: 2 });
  expect(told('jockeys')[0]).toMatch(/^Last full run 25\d d ago: 2 written, 0 failed/);
});

describe('a checkpoint', () => {
  it('is told where a run has left something to do', () => {
    const saved = new Date('2026-07-01T10:00:00Z');
    vi.setSystemTime(saved);
    const checkpoint = openCheckpoint(folder(), jockeys, undefined, new Date().toISOString().slice(0, 10));
    checkpoint.add(['jky_1', 'jky_2'], 0);
    expect(read().jockeys?.resume).toEqual({ written: 2, saved: saved.toISOString() });
    const left = 'jockeys: --resume leaves out what is written: 2 entities.';
    expect(told()).toContain(left);
    const lock = lockTypes(folder(), [jockeys], saved.toISOString());
    expect(told()).not.toContain(left);
    lock.release();
    // Of a run after that one, which was killed.
    saveFull('2026-07-01T09');
    expect(told()).toContain(left);
    saveFull('2026-07-01T11');
    expect(told()).toHaveLength(1);
  });

  it('that cannot be used hides nothing else', () => {
    saveFull('2026-07-01T11');
    writeFileSync(folder('checkpoint_owners.json'), '{"torn');
    mkdirSync(folder('checkpoint_jockeys.json'));
    symlinkSync('checkpoint_trainers.json', folder('checkpoint_trainers.json'));
    expect(read().owners?.resume).toEqual({ unusable: 'it is not a whole checkpoint' });
    expect(told()).toEqual([
      'Last full run 60 min ago: 54,429 written, 0 failed.',
      'jockeys: The checkpoint cannot be used: it is a folder',
      expect.stringMatching(/^trainers: The checkpoint cannot be used: .* cannot be read: ELOOP/),
      'owners: The checkpoint cannot be used: it is not a whole checkpoint',
    ]);
  });
});

it('of something that is no folder is a sentence', () => {
  writeFileSync(folder('logs'), '');
  const message = expect.stringMatching(/logs.*ENOTDIR.*move that away, or choose another folder with --log-dir/);
  expect(() => readStatus(folder('logs'), now)).toThrow(
    expect.objectContaining({ exitCode: exitCodes.filesUnusable, message }),
  );
});
