import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { exitCodes } from '../src/errors.js';
import {
  type Failure,
  newReport,
  type Report,
  savedReports,
  saveReport,
  sumUp,
} from '../src/files/report.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'report-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function reportOf(timestamp: string, more: Partial<Report> = {}): Report {
  const selectors = { limit: null, dryRun: false, skipExisting: false, staleAfter: null, resume: true };
  const report = newReport({ types: entityTypes, ...selectors }, new Date(timestamp));
  const failures: Failure[] = [
    { entity_type: 'owners', id: 'own_1', name: 'A. Name', reason: 'results vanished' },
  ];
  return { ...report, timestamp, failures, exit_code: exitCodes.someFailed, ...more };
}

describe('a report', () => {
  it('has the documented format', () => {
    const selectors = {
      types: entityTypes,
      limit: 10,
      dryRun: true,
      skipExisting: true,
      staleAfter: null,
      resume: false,
    };
    expect(newReport(selectors, new Date('2026-07-01T05:00:00Z'))).toMatchObject({
      timestamp: '2026-07-01T05:00:00.000Z',
      entity_types: ['jockeys', 'trainers', 'owners'],
      mode: 'dry_run',
      options: { skip_existing: true, resume: false, limit: 10 },
      statistics: {},
      overall: { total_entities: 0, total_processed: 0, total_successful: 0, total_failed: 0, duration: 0 },
      failures: [],
    });
    expect(reportOf('2026-07-01T05:00:00Z').mode).toBe('production');
  });

  it.each([
    ['2026-07-01T05:00:09.999Z', 'statistics_population_report_20260701_050009.json'],
    ['2026-07-01T00:30:00.000+02:00', 'statistics_population_report_20260630_223000.json'],
    ['2024-02-29T23:59:59.000Z', 'statistics_population_report_20240229_235959.json'],
  ])('of %s is %s, by UTC', (timestamp, name) => {
    const report = reportOf(timestamp);
    const path = saveReport(folder, report);
    expect(path).toBe(join(folder, name));
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(report);
    expect(readdirSync(folder)).toEqual([name]);
  });

  it('never replaces another one: it takes the name of a later second', () => {
    const paths = ['first', 'second', 'third'].map((stopped_by) =>
      saveReport(folder, reportOf('2026-12-31T23:59:59.500Z', { stopped_by })),
    );
    expect(paths.map((path) => path.slice(-20))).toEqual([
      '20261231_235959.json',
      '20270101_000000.json',
      '20270101_000001.json',
    ]);
    const saved = paths.map((path) => JSON.parse(readFileSync(path, 'utf8')).stopped_by);
    expect(saved).toEqual(['first', 'second', 'third']);
  });

  it('never replaces that of another process', async () => {
    const source = new URL('../src/report.ts', import.meta.url);
    const script = `
      import { saveReport } from ${JSON.stringify(source)};
      const report = ${JSON.stringify(reportOf('2026-07-01T05:00:00Z'))};
      process.stdin.once('data', () => {
        for (let count = 0; count < 15; count += 1)
          console.log(saveReport(process.argv[1], { ...report, stopped_by: process.pid + ' ' + count }));
        process.exit();
      });
      console.error('ready');`;
    const args = ['--import', 'tsx', '--input-type=module', '-e', script, folder];
    const children = Array.from({ length: 3 }, () =>
      spawn(process.execPath, args, { cwd: fileURLToPath(new URL('..', import.meta.url)) }),
    );
    const outputs = children.map(({ stdout }) => text(stdout));
    await Promise.all(children.map(({ stderr }) => new Promise((ready) => stderr.once('data', ready))));
    for (const child of children) child.stdin.write('go');
    const paths = (await Promise.all(outputs)).flatMap((output) => output.trim().split('\n'));
    expect(paths).toHaveLength(45);
    const reasons = paths.map((path) => JSON.parse(readFileSync(path, 'utf8')).stopped_by);
    expect(new Set(reasons).size).toBe(45);
  });

  it('that cannot be written says so', () => {
    expect(() => saveReport(join(folder, 'missing'), reportOf('2026-07-01T05:00:00Z'))).toThrow(
      expect.objectContaining({ exitCode: exitCodes.filesUnusable }),
    );
  });
});

it('the saved reports are told newest first, other files passed over', () => {
  expect([...savedReports(join(folder, 'missing'))]).toEqual([]);
  for (const [day, stopped_by] of [
    ['2026-07-02', 'newest'],
    ['2026-06-30', 'oldest'],
    ['2026-07-01', 'middle'],
  ])
    saveReport(folder, reportOf(`${day}T05:00:00Z`, { stopped_by }));
  writeFileSync(join(folder, 'statistics_population_report_20260703_050000.json'), '{"torn": ');
  writeFileSync(join(folder, 'statistics_population_report_20260704_050000.json'), '{"foreign": 1}');
  writeFileSync(join(folder, 'statistics_population_report_20260705_050000.html'), '<html>');
  mkdirSync(join(folder, 'statistics_population_report_20260706_050000.json'));
  expect([...savedReports(folder)].map(({ stopped_by }) => stopped_by)).toEqual([
    'newest',
    'middle',
    'oldest',
  ]);
});

describe('the sums', () => {
  const figures = (total: number, successful: number, failed: number) => ({
    total,
    processed: successful + failed,
    successful,
    failed,
    skipped: 7,
    duration: 3,
    rate: 1,
  });

  it('are those of all types, and the duration is that of the run', () => {
    const report = reportOf('2026-07-01T05:00:00Z', {
      statistics: { jockeys: figures(100, 60, 3), owners: figures(50, 50, 0) },
    });
    sumUp(report, 12.5);
    expect(report.overall).toEqual({
      total_entities: 150,
      total_processed: 113,
      total_successful: 110,
      total_failed: 3,
      duration: 12.5,
    });
  });

  it('of no type are nothing', () => {
    const report = reportOf('2026-07-01T05:00:00Z');
    sumUp(report, 0.5);
    expect(Object.values(report.overall)).toEqual([0, 0, 0, 0, 0.5]);
  });
});
