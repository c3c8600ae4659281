import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { exitCodes, FatalError } from '../src/errors.js';
import type { Failure, Written } from '../src/events.js';
import { type Report, savedReports, saveReport, startReport } from '../src/files/report.js';
import { usualOptions } from './world.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'report-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  vi.useRealTimers();
});

const [jockeys, trainers] = entityTypes;
if (jockeys === undefined || trainers === undefined) throw new Error('There are no jockeys and trainers');
const going = new AbortController().signal;
const failure: Failure = { entity_type: 'jockeys', id: 'jky_1', name: 'A. Name', reason: 'results vanished' };

function reportOf(timestamp: string, more: Partial<Report> = {}): Report {
  const report = startReport(usualOptions, new Date(timestamp)).ended(going);
  return { ...report, timestamp, failures: [failure], exit_code: exitCodes.someFailed, ...more };
}

function written(count: number): Written[] {
  const entity = { id: 'jky_2', name: '', lastDate: null, statsUpdatedAtMs: null };
  return Array(count).fill({ entity, row: { id: 'jky_2' } });
}

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
    ...{ strategy: null, requests: 0, exit_code: 0, stopped_by: null, failures: [] },
  });
});

it.each([
  ['walk', 10, 5],
  ['sweep', 12, 7],
] as const)('sums up what a %s did, and how long each type took', (strategy, first, second) => {
  vi.useFakeTimers({ toFake: ['performance'] });
  const { take, ended } = startReport(usualOptions, new Date());
  take({ kind: 'selected', type: jockeys, total: 100, skipped: 7 });
  take({ kind: 'selected', type: trainers, total: 50, skipped: 0 });
  take({ kind: 'request' });
  vi.advanceTimersByTime(1_000);
  take({ kind: 'gathering', strategy });
  vi.advanceTimersByTime(2_000);
  take({ kind: 'populating', type: jockeys });
  take({ kind: 'batch', type: jockeys, written: written(40), failures: [failure] });
  vi.advanceTimersByTime(10_000);
  take({ kind: 'batch', type: jockeys, written: written(20), failures: [failure, failure] });
  take({ kind: 'populating', type: trainers });
  vi.advanceTimersByTime(5_000);
  take({ kind: 'batch', type: trainers, written: written(50), failures: [] });
  const report = ended(going);
  expect(report).toMatchObject({
    strategy,
    requests: 1,
    exit_code: 3,
    failures: [failure, failure, failure],
  });
  const figures = [report.statistics.jockeys, report.statistics.trainers, report.overall];
  // Total, processed, successful, failed, skipped, duration, rate.
  expect(figures.map((one) => Object.values(one ?? {}))).toEqual([
    [100, 63, 60, 3, 7, first, 63 / first],
    [50, 50, 50, 0, 0, second, Number((50 / second).toFixed(3))],
    [150, 113, 110, 3, 18],
  ]);
});

it.each([
  [undefined, exitCodes.allWritten, null],
  [new FatalError(exitCodes.apiRefused, 'Refused.'), exitCodes.apiRefused, 'Refused.'],
  [new Error('A bug.'), exitCodes.ownBug, 'A bug.'],
])('of a run that %s ended has that one’s exit code and message', (error, exit_code, stopped_by) => {
  const stop = error ? AbortSignal.abort(error) : going;
  expect(startReport(usualOptions, new Date()).ended(stop)).toMatchObject({ exit_code, stopped_by });
});

it.each([
  ['2026-07-01T05:00:09.999Z', 'statistics_population_report_20260701_050009.json'],
  ['2026-07-01T00:30:00.000+02:00', 'statistics_population_report_20260630_223000.json'],
  ['2024-02-29T23:59:59.000Z', 'statistics_population_report_20240229_235959.json'],
])('of %s is saved as %s, by UTC', (timestamp, name) => {
  const report = reportOf(timestamp);
  const path = join(folder, name);
  expect(saveReport(folder, report)).toEqual({ report, reportPath: path });
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(report);
  expect(readdirSync(folder)).toEqual([name]);
});

it('never replaces another one: it takes the name of a later second', () => {
  const runs = ['first', 'second', 'third'];
  const paths = runs.map(
    (stopped_by) => saveReport(folder, reportOf('2026-12-31T23:59:59.500Z', { stopped_by })).reportPath ?? '',
  );
  const seconds = ['20261231_235959.json', '20270101_000000.json', '20270101_000001.json'];
  expect(paths.map((path) => path.slice(-20))).toEqual(seconds);
  expect(paths.map((path) => JSON.parse(readFileSync(path, 'utf8')).stopped_by)).toEqual(runs);
});

it('never replaces that of another process', async () => {
  const source = new URL('../src/files/report.ts', import.meta.url);
  const script = `
    import { saveReport } from ${JSON.stringify(source)};
    const report = ${JSON.stringify(reportOf('2026-07-01T05:00:00Z'))};
    process.stdin.once('data', () => {
      for (let count = 0; count < 15; count += 1)
        console.log(saveReport(process.argv[1], { ...report, stopped_by: process.pid + ' ' + count }).reportPath);
      process.exit();
    });
    console.error('ready');`;
  const args = ['--import', 'tsx', '--input-type=module', '-e', script, folder];
  const cwd = fileURLToPath(new URL('..', import.meta.url));
  const children = Array.from({ length: 3 }, () => spawn(process.execPath, args, { cwd }));
  const outputs = children.map(({ stdout }) => text(stdout));
  await Promise.all(children.map(({ stderr }) => new Promise((ready) => stderr.once('data', ready))));
  for (const child of children) child.stdin.write('go');
  const paths = (await Promise.all(outputs)).flatMap((output) => output.trim().split('\n'));
  const reasons = paths.map((path) => JSON.parse(readFileSync(path, 'utf8')).stopped_by);
  expect(reasons).toHaveLength(45);
  expect(new Set(reasons).size).toBe(45);
});

it('that cannot be written is the outcome, unless something worse is', () => {
  const missing = join(folder, 'missing');
  const report = reportOf('2026-07-01T05:00:00Z');
  const failed = { exit_code: exitCodes.filesUnusable, stopped_by: expect.stringContaining(missing) };
  expect(saveReport(missing, report)).toMatchObject({ report: failed, reportPath: null });
  const stopped = { ...report, exit_code: exitCodes.apiRefused, stopped_by: 'Refused.' };
  expect(saveReport(missing, stopped)).toEqual({ report: stopped, reportPath: null });
});

it('of which the page cannot be written tells that, without the page', () => {
  mkdirSync(join(folder, 'statistics_population_report_20260701_050000.html'));
  const { report, reportPath, pagePath } = saveReport(folder, reportOf('2026-07-01T05:00:00Z'), () => '<html>');
  expect({ ...report, pagePath }).toMatchObject({ exit_code: exitCodes.filesUnusable, pagePath: undefined });
  expect(JSON.parse(readFileSync(reportPath ?? '', 'utf8'))).toEqual(report);
});

it('is told newest first, other files passed over', () => {
  expect([...savedReports(join(folder, 'missing'))]).toEqual([]);
  for (const day of ['2026-07-02', '2026-06-30', '2026-07-01'])
    saveReport(folder, reportOf(`${day}T05:00:00Z`, { stopped_by: day }));
  const path = (name: string) => join(folder, `statistics_population_report_${name}`);
  writeFileSync(path('20260703_050000.json'), '{"torn": ');
  writeFileSync(path('20260704_050000.json'), '{"foreign": 1}');
  writeFileSync(path('20260705_050000.html'), '<html>');
  mkdirSync(path('20260706_050000.json'));
  const days = [...savedReports(folder)].map(({ stopped_by }) => stopped_by);
  expect(days).toEqual(['2026-07-02', '2026-07-01', '2026-06-30']);
});
