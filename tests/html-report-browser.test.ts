import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { htmlReport } from '../src/show/page/html-report.js';
import { failures, fullInput, reportWith } from './html-report-input.js';
import { neededProgram } from './needed-program.js';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const browser = neededProgram(...names);
const title =
  browser === undefined
    ? `the run's page in a browser (skipped: none of ${names.join(', ')} is in PATH)`
    : `the run's page in ${browser}`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'html-report-'));
});
// The browser's last processes may still write into its profile.
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));

const quiet = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage'],
  ...['--enable-logging=stderr', '--dump-dom'],
];

/** What the browser makes of a page, and what it says on its console, errors of the policy and of SVG included. */
async function open(
  page: string,
  scheme: 'light' | 'dark' = 'light',
): Promise<{ dom: string; said: string[] }> {
  const path = join(mkdtempSync(join(folder, 'page-')), 'page.html');
  writeFileSync(path, page);
  const own = [
    `--user-data-dir=${path}.profile`,
    `--blink-settings=preferredColorScheme=${scheme === 'dark' ? 0 : 1}`,
  ];
  const { stdout, stderr } = await promisify(execFile)(
    browser ?? '',
    [...quiet, ...own, pathToFileURL(path).href],
    { maxBuffer: 100 * 1024 * 1024, timeout: 50_000, killSignal: 'SIGKILL' },
  );
  return { dom: stdout, said: stderr.split('\n').filter((line) => /:CONSOLE[:(]/.test(line)) };
}

interface Layout {
  wider: number;
  background: string;
  lines: { width: number; height: number }[];
  labels: { left: number; right: number }[];
  scrolledRows: boolean;
}

/** Runs in the browser, in a page around the report's frame. */
const measure = `(frame) => {
  const page = frame.contentDocument;
  const boxes = (selector) => [...page.querySelectorAll(selector)].map((one) => one.getBoundingClientRect());
  const failures = page.querySelector('.failures');
  const layout = {
    wider: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    background: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    lines: boxes('.plot path.line').map(({ width, height }) => ({ width, height })),
    labels: boxes('.plot text.time').slice(0, -1).map(({ left, right }) => ({ left, right })),
    scrolledRows: failures.scrollHeight > failures.clientHeight,
  };
  document.querySelector('pre').append(JSON.stringify(layout));
}`;

/** The report, unchanged, in a frame of this width. */
async function layoutAt(width: number, scheme: 'light' | 'dark'): Promise<Layout> {
  const escaped = htmlReport(fullInput()).replaceAll('&', '&amp;').replaceAll('"', '&quot;');
  const { dom, said } = await open(
    `<!doctype html><meta charset="utf-8"><pre></pre><script>const measure = ${measure}</script>
    <iframe style="border: 0; width: ${width}px; height: 700px" onload="measure(this)" srcdoc="${escaped}"></iframe>`,
    scheme,
  );
  expect(said).toEqual([]);
  return JSON.parse(/<pre>(.*?)<\/pre>/.exec(dom)?.[1] ?? '');
}

describe.skipIf(browser === undefined)(title, () => {
  it('would show here that a page has errors', async () => {
    const { said } = await open(`<script>console.error('wrong')</script><svg><path d="M NaN"/></svg>`);
    expect(said).toHaveLength(2);
  });

  it('renders whole and without a word on the console', async () => {
    const { dom, said } = await open(htmlReport(fullInput()));
    expect(said).toEqual([]);
    expect(dom).toContain(
      'Statistics run of <time datetime="2026-11-23T05:00:12.345Z">2026-11-23 05:00:12 UTC',
    );
    expect(dom.match(/<svg class="phase-\d"/g)).toHaveLength(3);
    expect(dom.match(/<tr>/g)).toHaveLength(5 + 3 * 11 + 31);
    expect(dom.trimEnd()).toMatch(/<\/footer>\s*<\/body><\/html>$/);
  });

  it('renders without samples, leaders, failures and types', async () => {
    const report = reportWith({ exit_code: 6, stopped_by: 'The database failed.', statistics: {} });
    const { dom, said } = await open(htmlReport({ report, samples: [], leaders: {} }));
    expect(said).toEqual([]);
    expect(dom).toContain('No progress was recorded.');
  });

  it('renders 10,000 failures', async () => {
    const report = reportWith({ exit_code: 3, failures: failures(10_000) });
    const { dom, said } = await open(htmlReport({ ...fullInput(), report }));
    expect(said).toEqual([]);
    expect(dom.match(/<td class="reason">/g)).toHaveLength(10_000);
  });

  it('takes texts from outside as text', async () => {
    const hostile = `</td></table></style><script>console.error(1)</script><img src=x onerror="console.error(2)">'"&lt;`;
    const failure = { entity_type: 'owners' as const, id: hostile, name: hostile, reason: hostile };
    const page = htmlReport({
      report: reportWith({ exit_code: 3, stopped_by: hostile, failures: [failure] }),
      samples: [{ seconds: 1, phase: hostile, done: 1, total: 2, requests: 1 }],
      leaders: { jockeys: [{ id: hostile, name: hostile, wins: 1, runs: 1, winRate: 100 }] },
    });
    // Not only does the policy stop them: without it, too, nothing of theirs runs.
    for (const shown of [page, page.replace(/<meta http-equiv[^>]*>/, '')]) {
      const { dom, said } = await open(shown);
      expect(said).toEqual([]);
      expect(dom).toContain('<td class="reason">&lt;/td&gt;&lt;/table&gt;&lt;/style&gt;&lt;script&gt;');
    }
  });

  it.each([360, 768, 1200])('fits a screen of %i pixels, with a plot that can be read', async (width) => {
    const { wider, lines, labels, scrolledRows } = await layoutAt(width, 'light');
    expect(wider).toBe(0);
    expect(scrolledRows).toBe(true);
    expect(lines).toHaveLength(4);
    for (const line of lines) expect(Math.min(line.width, line.height)).toBeGreaterThan(10);
    expect(labels.length).toBeGreaterThan(2);
    for (const [index, { left, right }] of labels.entries()) {
      expect(left).toBeGreaterThan(labels[index - 1]?.right ?? 0);
      expect(right).toBeLessThanOrEqual(width);
    }
  });

  it('is dark where the system is', async () => {
    const [light, dark] = [await layoutAt(1200, 'light'), await layoutAt(1200, 'dark')];
    expect(light.background).toBe('rgb(246, 246, 243)');
    expect(dark.background).toBe('rgb(20, 20, 19)');
  });
});
