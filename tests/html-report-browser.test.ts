import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { neededProgram } from './needed-program.js';
import { failures, pageOf } from './sample-report.js';

const browser = neededProgram('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable');
const where = browser ?? 'a browser (skipped: none is in PATH)';

const quiet = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage'],
  ...['--lang=en-US', '--enable-logging=stderr', '--dump-dom'],
];

/** What the browser makes of a page, and what it says on its console, errors of the policy and of SVG included. */
async function open(page: string, scheme = 'light', zone = 'UTC'): Promise<{ dom: string; said: string[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'page-'));
  // The browser's last processes may still write into its profile.
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  const path = join(folder, 'page.html');
  writeFileSync(path, page);
  const colours = `--blink-settings=preferredColorScheme=${scheme === 'dark' ? 0 : 1}`;
  const args = [...quiet, `--user-data-dir=${path}.profile`, colours, pathToFileURL(path).href];
  const env = { ...process.env, TZ: zone };
  const limits = { env, maxBuffer: 100 * 1024 * 1024, timeout: 50_000, killSignal: 'SIGKILL' } as const;
  const { stdout, stderr } = await promisify(execFile)(browser ?? '', args, limits);
  return { dom: stdout, said: stderr.split('\n').filter((line) => /:CONSOLE[:(]/.test(line)) };
}

/** Runs in the browser, in a page around the report's frame. */
const measure = `(frame) => {
  const page = frame.contentDocument;
  const all = (selector) => [...page.querySelectorAll(selector)];
  const boxes = (selector) => all(selector).map((one) => one.getBoundingClientRect());
  const styleOf = (one) => frame.contentWindow.getComputedStyle(one);
  const failures = page.querySelector('.failures');
  const layout = {
    wider: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    background: styleOf(page.body).backgroundColor,
    tones: all('.plot path.line').map((one) => styleOf(one).stroke),
    lines: boxes('.plot path.line').map(({ width, height }) => ({ width, height })),
    labels: boxes('.plot text.time').slice(0, -1).map(({ left, right }) => ({ left, right })),
    scrolledRows: failures.scrollHeight > failures.clientHeight,
  };
  document.querySelector('pre').append(JSON.stringify(layout));
}`;

describe.skipIf(browser === undefined)(`the run's page in ${where}`, () => {
  it('would show here that a page has errors', async () => {
    const { said } = await open(`<script>console.error('wrong')</script><svg><path d="M NaN"/></svg>`);
    expect(said).toHaveLength(2);
  });

  // Types, failures, news of up to ten people, the winners of each type, and 15 runs; each table with a head.
  const rows = 5 + 31 + (11 + 11 + 10 + 10) + 3 * 11 + 16;
  it.each<[string, string, Record<string, number>]>([
    ['whole', pageOf(), { '<tr>': rows, '<path class="line"': 3, '</script>\n\n\n</body></html>': 1 }],
    ['with 10,000 failures', pageOf({ report: { failures: failures(10_000) } }), { 'class="reason"': 10_000 }],
  ])('renders %s, without a word on the console', async (_, page, parts) => {
    const { dom, said } = await open(page);
    expect(said).toEqual([]);
    for (const [part, count] of Object.entries(parts)) expect(dom.split(part)).toHaveLength(count + 1);
  });

  it('tells times by the reader’s clock, with UTC at hand', async () => {
    const { dom, said } = await open(pageOf(), 'light', 'America/New_York');
    expect(said).toEqual([]);
    const times = [...dom.matchAll(/<time datetime="(.*?)" title="(.*?)">(.*?)<\/time>/g)].map((match) =>
      match.slice(1),
    );
    const local = expect.stringMatching(/^Nov 23, 2026, 12:00\sAM EST$/);
    expect(times[0]).toEqual(['2026-11-23T05:00:12.345Z', '2026-11-23 05:00:12 UTC', local]);
    // The head's, the page before, the runs, and the footer's.
    expect(times).toHaveLength(1 + 1 + 15 + 2);
  });

  it('lets no script run but that one', async () => {
    const { dom, said } = await open(pageOf().replace('<main>', '<main><script>document.title = "changed"</script>'));
    expect(dom).toContain('<title>Statistics run');
    expect(said).toEqual([expect.stringContaining('Content Security Policy')]);
  });

  it.each([
    [360, 'light', 'Asia/Kolkata', 'rgb(246, 246, 243)'],
    [768, 'dark', 'UTC', 'rgb(20, 20, 19)'],
  ])('fits a screen of %i pixels, %s as the system is, in %s, with a legible plot', async (...of) => {
    const [width, scheme, zone, background] = of;
    // Unchanged, in a frame of this width.
    const escaped = pageOf().replaceAll('&', '&amp;').replaceAll('"', '&quot;');
    const { dom, said } = await open(
      `<!doctype html><meta charset="utf-8"><pre></pre><script>const measure = ${measure}</script>
      <iframe style="border: 0; width: ${width}px; height: 700px" onload="measure(this)" srcdoc="${escaped}"></iframe>`,
      scheme,
      zone,
    );
    expect(said).toEqual([]);
    const { lines, tones, labels, ...page } = JSON.parse(/<pre>(.*?)<\/pre>/.exec(dom)?.[1] ?? '');
    expect(page).toEqual({ background, wider: 0, scrolledRows: true });
    expect(new Set(tones).size).toBe(3);
    for (const line of lines) expect(Math.min(line.width, line.height)).toBeGreaterThan(10);
    expect(labels.length).toBeGreaterThan(2);
    for (const [index, { left, right }] of labels.entries()) {
      expect(left).toBeGreaterThan(labels[index - 1]?.right ?? 0);
      expect(right).toBeLessThanOrEqual(width);
    }
  });
});
