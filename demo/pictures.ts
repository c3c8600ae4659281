import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { type Html, html } from '../src/format.js';
import { seedEntities, startEmbeddedDatabase } from './database.js';
import { daysBefore, makeSeason } from './season.js';
import { startSimulatedRacingApi } from './simulator.js';

// Makes the pictures of README: docs/run.svg is a run in a terminal, docs/page.png the page that it leaves. Needs tmux
// and Chromium in PATH, and some two minutes.

const command = fileURLToPath(new URL('../dist/populate-all-statistics.js', import.meta.url));
const docs = fileURLToPath(new URL('../docs/', import.meta.url));
const columns = 80;
const rows = 60;

/** A season's day as it goes by: the command runs before the results of the last two days are there, and after. */
async function takePictures(folder: string): Promise<void> {
  const today = new Date().toISOString().slice(0, 10);
  const credentials = { username: 'demo', password: 'demo-password' };
  const season = makeSeason({ today });
  const database = await startEmbeddedDatabase();
  await seedEntities(database, season);
  const requestsPerSecond = Number.POSITIVE_INFINITY;
  const api = await startSimulatedRacingApi({ season, ...credentials, requestsPerSecond, latencyMs: 250 });
  const environment = {
    ...{ PATH: process.env.PATH, LC_ALL: 'C.UTF-8', TERM: 'xterm-256color', TZ: 'UTC' },
    ...{ RACING_API_BASE_URL: api.url, SUPABASE_URL: database.url, SUPABASE_SERVICE_KEY: database.serviceKey },
    ...{ RACING_API_USERNAME: credentials.username, RACING_API_PASSWORD: credentials.password },
  };
  try {
    const yesterday = daysBefore(today, 1);
    const latest = season.races.filter(({ date }) => date >= yesterday);
    for (const { race_id } of latest) api.withdraw(race_id);
    const args = [command, '--all', '--html', '--rate', '100'];
    await promisify(execFile)(process.execPath, args, { cwd: folder, env: environment });
    for (const race of latest) api.publish(race);
    const screen = await screenAfter(['--all', '--html'], folder, environment);
    writeFileSync(join(docs, 'run.svg'), drawn(screen));
    photograph(join(folder, 'logs', 'latest.html'), join(docs, 'page.png'), folder);
  } finally {
    await api.close();
    await database.close();
  }
}

/** What stands in a terminal, colours included, when the command has ended in it. */
async function screenAfter(options: string[], folder: string, env: NodeJS.ProcessEnv): Promise<string> {
  const tmux = (...args: string[]) =>
    execFileSync('tmux', ['-u', '-f', '/dev/null', '-L', `pictures-${process.pid}`, ...args], {
      encoding: 'utf8',
      cwd: folder,
      env,
    });
  const prompt = `printf '\\033[32m$\\033[0m populate-all-statistics ${options.join(' ')}\\n'`;
  const run = `'${process.execPath}' '${command}' ${options.join(' ')}`;
  const size = ['-x', String(columns), '-y', String(rows)];
  tmux('new-session', '-d', ...size, `${prompt}; ${run}; exec sleep 600`);
  try {
    while (!tmux('display-message', '-p', '#{pane_current_command}').startsWith('sleep')) await sleep(500);
    return tmux('capture-pane', '-e', '-p').trimEnd();
  } finally {
    tmux('kill-server');
  }
}

const palette = ['#484f58', '#ff7b72', '#3fb950', '#d29922', '#58a6ff', '#bc8cff', '#39c5cf', '#b1bac4'];
const size = { cell: 8.4, line: 19, margin: 18, font: 14 };

/** A terminal's lines with their colours (SGR) as an SVG. */
function drawn(screen: string): string {
  const lines = screen.split('\n');
  const width = columns * size.cell + 2 * size.margin;
  const height = lines.length * size.line + 2 * size.margin;
  let style = plain;
  const texts: Html[] = [];
  for (const [row, line] of lines.entries()) {
    let column = 0;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
    for (const [index, text] of line.split(/\u001b\[([\d;]*)m/).entries()) {
      if (index % 2 === 1) style = styleAfter(style, text);
      else {
        texts.push(...words(text, row, column, style));
        column += text.length;
      }
    }
  }
  return html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="${size.font}">
<title>A run in a terminal</title>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
${texts}</svg>
`.markup;
}

const plain = { fill: '#e6edf3', weight: 400, opacity: 1 };

/** Each word at its place, so that wide spaces need no viewer's goodwill. */
function words(text: string, row: number, column: number, { fill, weight, opacity }: typeof plain): Html[] {
  return [...text.matchAll(/\S+( \S+)*/g)].map(({ 0: word, index }) => {
    const x = (size.margin + (column + index) * size.cell).toFixed(1);
    const y = (size.margin + (row + 0.75) * size.line).toFixed(1);
    const width = (word.length * size.cell).toFixed(1);
    return html`<text x="${x}" y="${y}" fill="${fill}" font-weight="${weight}" opacity="${opacity}" textLength="${width}" lengthAdjust="spacingAndGlyphs">${word}</text>\n`;
  });
}

/** The codes that a terminal knows for colours, bold and dim; others change nothing. */
function styleAfter(before: typeof plain, codes: string): typeof plain {
  const style = { ...before };
  for (const code of codes.split(';').map(Number)) {
    if (code === 0) Object.assign(style, plain);
    if (code === 1) style.weight = 700;
    if (code === 2) style.opacity = 0.65;
    if (code === 22) Object.assign(style, { weight: 400, opacity: 1 });
    if (code === 39) style.fill = plain.fill;
    const isColour = (code >= 30 && code < 38) || (code >= 90 && code < 98);
    if (isColour) style.fill = palette[code % 10] ?? plain.fill;
  }
  return style;
}

function photograph(page: string, picture: string, folder: string): void {
  const args = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--hide-scrollbars',
    `--user-data-dir=${folder}/browser`,
  ];
  const what = ['--window-size=1000,1180', `--screenshot=${picture}`, pathToFileURL(page).href];
  execFileSync('chromium', [...args, ...what], { stdio: 'ignore', env: { ...process.env, TZ: 'UTC' } });
}

const folder = mkdtempSync(join(tmpdir(), 'pictures-'));
try {
  await takePictures(folder);
} finally {
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}
// PGlite's end sets an exit code of its own.
process.exitCode = 0;
