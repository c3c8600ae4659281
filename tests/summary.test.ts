import { describe, expect, it } from 'vitest';
import type { Report } from '../src/files/report.js';
import { closingWords, summarize, watchPace } from '../src/show/summary.js';
import { failures, reportWith } from './sample-report.js';

const reportPath = 'logs/statistics_population_report_20260701_050000.json';
const summaryOf = (changes: Partial<Report>, columns = 49, pace = '') =>
  summarize({ report: reportWith(changes), reportPath, pagePath: 'logs/latest.html' }, columns, pace).split('\n');

describe('the summary', () => {
  it('tells what was written, failed and left, how long, how close to the limit, and where the report is', () => {
    const summary = summaryOf({}, 49, '135 requests, 1.95/s: 98% of --rate 2.');
    expect(summary).toEqual([
      'type      written  failed  not done  left out',
      'jockeys     3,483       0     3,483         0',
      'trainers    2,781       0     2,781        12',
      'owners     48,070      30    48,165         0',
      '54,334 written, 30 failed, 65 not done in 1m 35s.',
      '135 requests, 1.95/s: 98% of --rate 2.',
      `Report: ${reportPath}`,
      'Page: logs/latest.html',
    ]);
  });

  it('leaves out what is nowhere, and in 30 columns what does not fit', () => {
    const figures = { total: 10, processed: 9, successful: 9, failed: 0, skipped: 0, duration: 1, rate: 9 };
    const statistics = { trainers: figures };
    expect(summaryOf({ statistics: { trainers: { ...figures, total: 9 } } })[0]).toBe('type      written  failed');
    expect(summaryOf({ statistics })[0]).toBe('type      written  failed  not done');
    expect(summaryOf({ statistics }, 29)[0]).toBe('type      written  failed');
  });

  it('has no table of zeros', () => {
    const overall = { total_entities: 0, total_processed: 0, total_successful: 0, total_failed: 0, duration: 1 };
    const found = ['Report: ', 'Page: '].map((start) => expect.stringContaining(start));
    const none = { total: 0, processed: 0, successful: 0, failed: 0, skipped: 7, duration: 1, rate: 0 };
    const statistics = { trainers: none, owners: none };
    expect(summaryOf({ overall, statistics, exit_code: 5, stopped_by: 'It refuses.' })).toEqual(found);
    expect(summaryOf({ overall, statistics })).toEqual(['0 written in 1.0s.', ...found]);
  });
});

it.each<[Partial<Report>, string | undefined]>([
  [{ stopped_by: 'It refuses. Check the key.', failures: failures(3) }, 'It refuses. Check the key.'],
  [{ failures: failures(1) }, '1 entity failed; its row stays as before. Run again with --resume to try it again.'],
  [
    { failures: failures(2), strategy: 'refresh' },
    '2 entities failed; their rows stay as before. Run again to try them again.',
  ],
  [{}, undefined],
])('a run with %j ends with "%s"', (changes, words) => {
  expect(closingWords(reportWith(changes))).toBe(words);
});

it.each([
  [2, 0, '101 requests, 1.60/s: 80% of --rate 2.'],
  [1.6, 0, '101 requests, 1.60/s: 100% of the 1.60/s that the API allows.'],
  [1.3, 20, '101 requests, 1.28/s: 98% of the 1.30/s that the API allows. 20 refused (429).'],
])('the pace, where %d/s are allowed and %i refused, is that between the first request and the last', (...row) => {
  const [allowed, refused, words] = row;
  let nowMs = 5_000;
  const { take, described } = watchPace(
    2,
    () => allowed,
    () => nowMs,
  );
  for (let request = 0; request < 101; request += 1) {
    if (request === 9) expect(described()).toBe('');
    take({ kind: 'request' });
    take({
      kind: 'answer',
      from: 'API',
      request: 'GET /v1/results',
      status: request < refused ? 429 : 200,
      seconds: 1,
    });
    nowMs += 625;
  }
  nowMs += 60_000;
  expect(described()).toBe(words);
});
