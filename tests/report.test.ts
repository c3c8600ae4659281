import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterEach, expect, it, vi } from 'vitest';
import { exitCodes, FatalError } from '../src/errors.js';
import type { Written } from '../src/events.js';
import { savedReports, saveReport, startReport } from '../src/files/report.js';
import { typeNamed } from './faults.js';
import { failures, reportWith } from './sample-report.js';
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
    ...{ strategy: null, requests: 0, exit_code: 0, stopped_by: null, forced: [], failures: [] },
  });
});

it.each([
  ['walk', 10, 5, 16],
  ['sweep', 12, 17, 18],
] as const)('sums up what a %s did, and how long each type took', (strategy, first, second, all) => {
  vi.useFakeTimers({ toFake: ['performance'] });
  const [jockeys, trainers] = [typeNamed('jockeys'), typeNamed('trainers')];
  const entity = { id: 'jky_2', name: '', lastDate: null, statsUpdatedAtMs: null };
  const written = (count: number): Written[] => Array(count).fill({ entity, row: { id: 'jky_2' } });
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
  expect(readFileSync(pagePath, 'utf8')).toBe(report.timestamp);
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
    const { saveReport } = require('./src/files/report.ts');
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
  mkdirSync(`${pathOf('20261123_050147')}.tmp`);
  expect(saveReport(folder(), stopped)).toEqual({ report: stopped, reportPath: null });
  expect(readdirSync(folder())).toEqual([expect.stringContaining('.tmp')]);
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
