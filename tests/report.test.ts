import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { exitCodes, FatalError } from '../src/errors.js';
import { type Report, startReport } from '../src/files/report.js';
import { type PastRun, savedReports, saveReport } from '../src/files/saved-reports.js';
import { jockeys, typeNamed } from './faults.js';
import { batchOf, failures, reportWith } from './sample-report.js';
import { ownFolder } from './watching.js';
import { usualOptions } from './world.js';

const folder = ownFolder();
afterEach(() => void vi.useRealTimers());

const going = new AbortController().signal;
const pathOf = (time: string) => folder(`statistics_population_report_${time}.json`);
const readReport = (path: string) => JSON.parse(readFileSync(path, 'utf8'));

it('has the documented format, and what was asked', () => {
  const asked = { dryRun: true, skipExisting: true, limit: 10, staleAfter: { text: '12h', ms: 1 } };
  vi.useFakeTimers({ now: new Date('2026-07-01T05:00:09Z') });
  const report = startReport({ ...usualOptions, ...asked }, new Date('2026-07-01T05:00:00Z')).ended(going);
  expect(report).toEqual({
    timestamp: '2026-07-01T05:00:09.000Z',
    started_at: '2026-07-01T05:00:00.000Z',
    entity_types: ['jockeys', 'trainers', 'owners'],
    mode: 'dry_run',
    options: { skip_existing: true, stale_after: '12h', resume: false, limit: 10 },
    statistics: {},
    overall: { total_entities: 0, total_processed: 0, total_successful: 0, total_failed: 0, duration: 0 },
    ...{ strategy: null, requests: 0, changed: 0, exit_code: 0, stopped_by: null, forced: [], failures: [] },
    ...{ rows_from: null, after_killed: null },
  });
});

it.each([
  ['walk', 10, 5, 16],
  ['sweep', 12, 17, 18],
] as const)('sums up what a %s did, and how long each type took', (strategy, first, second, all) => {
  vi.useFakeTimers({ toFake: ['performance'] });
  const trainers = typeNamed('trainers');
  const written = (count: number) => batchOf(jockeys, Array(count).fill({ id: 'jky_2', name: '', wins: 0 })).written;
  vi.advanceTimersByTime(300);
  const { take, ended } = startReport(usualOptions, new Date());
  take({ kind: 'selected', type: jockeys, total: 100, skipped: 7 });
  take({ kind: 'selected', type: trainers, total: 50, skipped: 0 });
  take({ kind: 'request' });
  take({ kind: 'over' });
  vi.advanceTimersByTime(500);
  // A walk is refused at its first entity: another strategy begins anew.
  take({ kind: 'gathering', strategy: 'walk' });
  vi.advanceTimersByTime(500);
  take({ kind: 'gathering', strategy });
  // A walk gathers as it populates.
  vi.advanceTimersByTime(strategy === 'sweep' ? 2_000 : 0);
  take({ kind: 'batch', type: jockeys, written: written(40), failures: failures(1) });
  vi.advanceTimersByTime(10_000);
  take({ kind: 'batch', type: jockeys, written: written(20), failures: failures(2) });
  vi.advanceTimersByTime(5_000);
  take({ kind: 'batch', type: trainers, written: written(50), failures: [] });
  const report = ended(going);
  expect(report).toMatchObject({ mode: 'production', strategy, requests: 1, exit_code: 3 });
  expect(report.failures).toEqual([...failures(1), ...failures(2)]);
  const figures = [report.statistics.jockeys, report.statistics.trainers, report.overall];
  // Total, processed, successful, failed, skipped, duration, rate.
  expect(figures.map((one) => Object.values(one ?? {}))).toEqual([
    [100, 63, 60, 3, 7, first, 63 / first],
    [50, 50, 50, 0, 0, second, Number((50 / second).toFixed(3))],
    [150, 113, 110, 3, all],
  ]);
});

it.each<[number, string, object]>([
  [0, 'nothing', {}],
  [1, 'the last ride', { last_ride_date: '2026-06-30' }],
  [1, 'the last win', { last_win_date: null }],
  [1, 'the rides of 30 days', { recent_30d_rides: 10 }],
  [1, 'the wins of 30 days', { recent_30d_wins: 2 }],
  [0, 'the days since the last ride, which pass by themselves', { days_since_last_ride: 3 }],
])('counts %i rows as changed where what differs from before is %s', (changed, _, changes) => {
  const before = { lastDate: '2026-06-29', lastWinDate: '2026-06-29', recentRuns: 9, recentWins: 1 };
  const entity = { id: 'jky_1', name: '', ...before, statsUpdatedAtMs: 1 };
  const dates = { last_ride_date: '2026-06-29', last_win_date: '2026-06-29', days_since_last_ride: 2 };
  const row = { id: 'jky_1', ...dates, recent_30d_rides: 9, recent_30d_wins: 1, ...changes };
  const { take, ended } = startReport(usualOptions, new Date());
  take({ kind: 'batch', type: jockeys, written: [{ entity, row }], failures: [] });
  expect(ended(going).changed).toBe(changed);
});

it('counts no row of a refresh as changed that is as another run has left it', () => {
  const { take, ended } = startReport(usualOptions, new Date());
  take({ kind: 'gathering', strategy: 'refresh' });
  const row = { last_ride_date: null, last_win_date: null, recent_30d_rides: 0, recent_30d_wins: 0 };
  const [one] = batchOf(jockeys, [{ id: 'jky_1', name: '', wins: 0 }]).written;
  const written = one ? [{ entity: { ...one.entity, recentRuns: 0 }, row: { id: 'jky_1', ...row } }] : [];
  take({ kind: 'batch', type: jockeys, written, failures: [] });
  expect(ended(going).changed).toBe(0);
});

it.each([
  [new FatalError(exitCodes.apiRefused, 'Refused.'), exitCodes.apiRefused, 'Refused.'],
  [new Error('A bug.'), exitCodes.ownBug, 'A bug.'],
])('of a run that %s ended has that one’s exit code and message', (error, exit_code, stopped_by) => {
  const report = startReport(usualOptions, new Date()).ended(AbortSignal.abort(error));
  expect(report).toMatchObject({ exit_code, stopped_by });
});

it('is saved under its time, by UTC', () => {
  const report = reportWith({ timestamp: '2026-07-01T00:30:09.999+02:00' });
  const reportPath = pathOf('20260630_223009');
  expect(saveReport(folder(), report)).toEqual({ report, reportPath });
  expect(readReport(reportPath)).toEqual(report);
  expect(readdirSync(folder())).toHaveLength(1);
  mkdirSync(folder('json'));
  const { pagePath = '' } = saveReport(folder('json'), report, ({ timestamp }) => timestamp);
  expect(pagePath).toBe(folder('json/statistics_population_report_20260630_223009.html'));
  for (const path of [pagePath, folder('json/latest.html')]) expect(readFileSync(path, 'utf8')).toBe(report.timestamp);
  expect(readdirSync(folder('json'))).toHaveLength(3);
});

it('of a dry run, of a refresh and of a few entities leaves the latest page alone', () => {
  for (const mode of ['production', 'dry_run'] as const) saveReport(folder(), reportWith({ mode }), () => mode);
  saveReport(folder(), reportWith({ strategy: 'refresh' }), () => 'refresh');
  const few = [{ limit: 1 }, { skip_existing: true }, { stale_after: '12h' }];
  for (const some of few)
    saveReport(folder(), reportWith({ options: { ...reportWith().options, ...some } }), () => 'a few');
  expect(readFileSync(folder('latest.html'), 'utf8')).toBe('production');
  expect(readFileSync(folder('statistics_refresh_report.html'), 'utf8')).toBe('refresh');
  expect(readFileSync(pathOf('20261123_050148').replace('json', 'html'), 'utf8')).toBe('dry_run');
});

it('tells its page of the runs before, the latest first, and of their pages', () => {
  for (const [day, mode] of [
    ['01', 'production'],
    ['02', 'dry_run'],
    ['03', 'production'],
  ] as const) {
    const report = reportWith({ timestamp: `2026-11-${day}T05:00:00Z`, mode });
    saveReport(folder(), report, day === '01' ? () => '' : undefined);
  }
  let told: readonly PastRun[] = [];
  saveReport(folder(), reportWith(), (_, before) => {
    told = before;
    return '';
  });
  const page = 'statistics_population_report_20261101_050000.html';
  const figures = { requests: 135, changed: 1234, overall: { duration: 95 } };
  expect(told).toMatchObject([
    { timestamp: '2026-11-03T05:00:00Z', page: undefined, ...figures },
    { timestamp: '2026-11-01T05:00:00Z', page, ...figures },
  ]);
});

it('tells its page of no more than 14 runs', () => {
  for (let day = 1; day <= 15; day += 1)
    saveReport(folder(), reportWith({ timestamp: `2026-11-${String(day).padStart(2, '0')}T05:00:00Z` }));
  let told: readonly PastRun[] = [];
  saveReport(folder(), reportWith(), (_, before) => {
    told = before;
    return '';
  });
  expect([told.length, told.at(-1)?.timestamp]).toEqual([14, '2026-11-02T05:00:00Z']);
});

describe('old files', () => {
  const ended = (day: number, changes: Partial<Report> = {}) => {
    const timestamp = new Date(Date.UTC(2026, 0, day)).toISOString();
    return reportWith({ timestamp, exit_code: exitCodes.apiRefused, stopped_by: 'Refused.', ...changes });
  };
  const place = (day: number, changes?: Partial<Report>) => {
    const report = ended(day, changes);
    const path = pathOf(`${report.timestamp.slice(0, 10).replaceAll('-', '')}_000000`);
    writeFileSync(path, JSON.stringify(report));
    writeFileSync(path.replace('json', 'html'), '');
    return path;
  };

  it('are removed from the 401st run on, but the last of all rows that went well, checkpoints and what is not ours', () => {
    const good = { exit_code: exitCodes.allWritten, stopped_by: null };
    const ofAFew = { ...good, options: { ...reportWith().options, skip_existing: true } };
    const outcomes = [good, good, ofAFew];
    const paths = Array.from({ length: 405 }, (_, index) => place(index + 1, outcomes[index] ?? {}));
    const others = ['checkpoint_jockeys.json', 'checkpoint_jockeys.json.previous', 'notes.html', 'x.json.tmp'];
    for (const name of others) {
      writeFileSync(folder(name), '');
      utimesSync(folder(name), 0, 0);
    }
    const { reportPath } = saveReport(folder(), ended(1000));
    const kept = [paths[1], ...paths.slice(6)].flatMap((path = '') => [path, path.replace('json', 'html')]);
    const left = readdirSync(folder()).map((name) => folder(name));
    expect(left.sort()).toEqual([...kept, reportPath, ...others.map((name) => folder(name))].sort());
  });

  it.each([
    [59, 4],
    [61, 0],
  ])('that killed runs have drafted %i minutes ago: %i are left', (minutes, left) => {
    const drafts = [
      ...[`${pathOf('20260101_000000')}.x-1.tmp`, `${pathOf('20260101_000000').replace('json', 'html')}.tmp`],
      ...[folder('run_owners.lock.x-1.tmp'), folder('request_budget.lock.clearing.x-1.tmp')],
    ];
    for (const path of drafts) {
      writeFileSync(path, '');
      utimesSync(path, new Date(), Date.now() / 1000 - minutes * 60);
    }
    saveReport(folder(), reportWith());
    expect(readdirSync(folder()).filter((name) => name.endsWith('tmp'))).toHaveLength(left);
  });
});

/** Saves a report and its page in a process that is killed before its `nth` change of a file; false if it has fewer. */
async function isKilledBefore(nth: number): Promise<boolean> {
  const script = `
    const { syncBuiltinESMExports } = require('node:module');
    const { saveReport } = require('./src/files/saved-reports.ts');
    let left = ${nth};
    for (const name of ['writeFileSync', 'linkSync', 'renameSync', 'rmSync']) {
      const real = fs[name];
      fs[name] = (...args) => {
        if (left-- === 0) process.kill(process.pid, 'SIGKILL');
        return real(...args);
      };
    }
    syncBuiltinESMExports();
    saveReport('${folder()}', ${JSON.stringify(reportWith())}, () => '<html>');`;
  const args = ['--import', 'tsx', '-e', script];
  const ended = promisify(execFile)(process.execPath, args);
  return await ended.then(
    () => false,
    ({ signal }) => signal === 'SIGKILL',
  );
}

it('and its page are whole or not there, whenever the run is killed', async () => {
  let moments = 0;
  for (; await isKilledBefore(moments); moments += 1) {
    const names = readdirSync(folder());
    for (const name of names.filter((one) => !one.endsWith('.tmp'))) {
      const text = readFileSync(folder(name), 'utf8');
      if (name.endsWith('.json')) expect(JSON.parse(text)).toEqual(reportWith());
      else expect(text).toBe('<html>');
    }
    for (const name of names) rmSync(folder(name));
  }
  // Its draft, its name, the draft's end; and two pages with a draft and a name each.
  expect(moments).toBe(7);
});

it('never replaces another one: it takes the name of a later second', () => {
  const times = ['20261231_235959', '20270101_000000', '20270101_000001'];
  for (const time of times) {
    const report = reportWith({ timestamp: '2026-12-31T23:59:59.500Z', stopped_by: time });
    expect(saveReport(folder(), report).reportPath).toBe(pathOf(time));
  }
  expect(times.map((time) => readReport(pathOf(time)).stopped_by)).toEqual(times);
});

it('never replaces that of another process', async () => {
  // They wait for each other.
  const script = `
    const { saveReport } = require('./src/files/saved-reports.ts');
    fs.writeFileSync('${folder()}/' + process.pid, '');
    while (fs.readdirSync('${folder()}').length < 3);
    for (let count = 0; count < 15; count += 1)
      saveReport('${folder()}', { ...${JSON.stringify(reportWith())}, stopped_by: process.pid + ' ' + count });`;
  const args = ['--import', 'tsx', '-e', script];
  await Promise.all([1, 2, 3].map(() => promisify(execFile)(process.execPath, args)));
  const saved = [...savedReports(folder())].map(({ stopped_by }) => stopped_by);
  expect(saved).toHaveLength(45);
  expect(new Set(saved).size).toBe(45);
});

it('that cannot be written is the outcome, unless something worse is', () => {
  const missing = folder('missing');
  const failed = { exit_code: exitCodes.filesUnusable, stopped_by: expect.stringContaining(missing) };
  expect(saveReport(missing, reportWith({ exit_code: 3 }))).toMatchObject({ report: failed, reportPath: null });
  const stopped = reportWith({ exit_code: exitCodes.apiRefused, stopped_by: 'Refused.' });
  expect(saveReport(missing, stopped)).toEqual({ report: stopped, reportPath: null });
});

it.each([true, false])('is there, whole, before its page, and then tells why there is none, if it can: %j', (can) => {
  const report = reportWith();
  const reportPath = pathOf('20261123_050147');
  const { pagePath, ...ended } = saveReport(folder(), report, () => {
    expect(readReport(reportPath)).toEqual(report);
    mkdirSync(`${reportPath.replace('json', 'html')}.tmp`);
    if (!can) mkdirSync(`${reportPath}.tmp`);
    return '<html>';
  });
  expect({ ...ended, pagePath }).toMatchObject({ report: { exit_code: 8 }, reportPath, pagePath: undefined });
  expect(readReport(reportPath)).toEqual(can ? ended.report : report);
});

it('stays even where a bug keeps its page from being made', () => {
  const bug = () => {
    throw new Error('A bug.');
  };
  expect(() => saveReport(folder(), reportWith(), bug)).toThrow('A bug.');
  expect(readReport(pathOf('20261123_050147'))).toEqual(reportWith());
});

it('is told newest first, other files passed over', () => {
  expect([...savedReports(folder('missing'))]).toEqual([]);
  for (const day of ['2026-07-02', '2026-06-30', '2026-07-01'])
    saveReport(folder(), reportWith({ timestamp: `${day}T05:00:00Z`, stopped_by: day }));
  writeFileSync(pathOf('20260703_050000'), '{"torn": ');
  writeFileSync(pathOf('20260704_050000'), '{"foreign": 1}');
  const other = JSON.stringify(reportWith({ stopped_by: 'other' }));
  for (const path of [
    `${pathOf('20260705_050000')}.tmp`,
    folder('old_statistics_population_report_20260705_050000.json'),
  ])
    writeFileSync(path, other);
  mkdirSync(pathOf('20260706_050000'));
  const days = [...savedReports(folder())].map(({ stopped_by }) => stopped_by);
  expect(days).toEqual(['2026-07-02', '2026-07-01', '2026-06-30']);
});
