import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTinyWorld } from './faults.js';
import { neededProgram } from './needed-program.js';
import { latestReport, until } from './watching.js';
import type { World } from './world.js';

/** What README and docs/ show can be done as it stands there. */
const root = fileURLToPath(new URL('..', import.meta.url));
/** The first one ends with a run that goes well, the other one with a run that is stopped. */
const pages = ['docs/operators.md', 'README.md'];
const read = (page: string) => readFileSync(join(root, page), 'utf8');

/** A block of code; `reason` says why it cannot be run here. */
interface Block {
  place: string;
  language: string;
  text: string;
  reason: string | undefined;
}

function blocksOf(page: string): Block[] {
  const markdown = read(page);
  return [...markdown.matchAll(/(?:^<!-- not run: ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$/gms)].map((found) => {
    const [, reason, language = '', text = ''] = found;
    const line = markdown.slice(0, found.index).split('\n').length + (reason ? 1 : 0);
    return { place: `${page}:${line}`, language, text, reason };
  });
}

const blocks = pages.flatMap(blocksOf);
const toRun = (language: string) => blocks.filter((block) => block.language === language && !block.reason);

let world: World;
/** Stands for the clone in /srv: with the built command, the world's variables and a sweep of before. */
let clone = '';
const log = (name: string) => join(clone, 'logs', name);

beforeAll(async () => {
  world = await startTinyWorld();
  clone = mkdtempSync(join(tmpdir(), 'documentation-'));
  for (const name of ['package.json', 'dist']) symlinkSync(join(root, name), join(clone, name));
  const variables = Object.entries(world.environment).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(join(clone, '.env'), variables.join(''));
  // So that runs know how few requests a sweep of this season takes, for they keep to 2 a second.
  await runShell('npm start -- --all --strategy sweep --rate 1000');
});
afterAll(async () => {
  const run = backgroundRun();
  if (run !== undefined) process.kill(run);
  await endOfBackgroundRun();
  await world.close();
  rmSync(clone, { recursive: true });
});

const ownPath = `${dirname(process.execPath)}:${process.env.PATH}`;

/** As it stands on this machine. */
function here(text: string): string {
  return text.replaceAll('/srv/populate-all-statistics', clone).replaceAll('/usr/bin/node', process.execPath);
}

/** Runs a shell's text in the clone and returns what it printed; fails unless it ends well. */
async function runShell(text: string, path = ownPath): Promise<string> {
  const child = spawn('sh', ['-e', '-c', here(text)], { cwd: clone, env: { PATH: path } });
  let said = '';
  for (const output of [child.stdout, child.stderr]) output.on('data', (chunk) => (said += chunk));
  const [code] = await once(child, 'close');
  expect(code, `${text}\n${said}`).toBe(0);
  return said;
}

/** The process that a block has left in the background, while it runs. */
function backgroundRun(): number | undefined {
  try {
    const pid = Number(readFileSync(log('run.pid'), 'utf8'));
    process.kill(pid, 0);
    return pid;
  } catch {
    return undefined;
  }
}

/** What the API's answers wait for. */
let released = () => {};

function holdResults(): void {
  const held = new Promise<void>((resolve) => {
    released = resolve;
  });
  world.api.options.intercept = async (_call, _response, next) => {
    await held;
    await next();
  };
}

async function endOfBackgroundRun(): Promise<void> {
  released();
  await until('the end of the run', () => backgroundRun() === undefined);
}

it('every block is run here, or says why not', () => {
  const known = ['sh', 'cron', 'ini', 'conf', 'sql', 'mermaid'];
  const others = blocks.filter(({ language, reason }) => !known.includes(language) && !reason);
  expect(others).toEqual([]);
  expect(blocks.filter(({ reason }) => !reason).length).toBeGreaterThan(12);
});

describe('a shell’s block', () => {
  for (const { place, text } of toRun('sh')) {
    const needsJq = /^jq /m.test(text);
    const isBackground = /^nohup/m.test(text);
    it.skipIf(needsJq && !neededProgram('jq'))(`does what it says: ${place}`, async () => {
      const isOfRunBefore = /^(npm run status|kill)/.test(text);
      if (!isOfRunBefore) await endOfBackgroundRun();
      const run = backgroundRun();
      // It is there to be looked at by the block after it, however slow this machine is.
      if (isBackground) holdResults();
      const said = await runShell(text);
      if (isBackground) await until('the run', () => existsSync(log('run_owners.lock')));
      if (text.startsWith('chmod')) expect(statSync(join(clone, '.env')).mode & 0o777).toBe(0o600);
      if (text.includes('--check')) expect(said.split('\n')).toHaveLength(2);
      if (text.startsWith('kill')) {
        expect(run).toBeDefined();
        await endOfBackgroundRun();
        expect(latestReport({ folder: clone }).exit_code).toBe(143);
      }
    });
  }
});

describe('a line of cron', () => {
  for (const { place, text } of toRun('cron')) {
    it(`runs with nothing but cron's PATH, silently: ${place}`, async () => {
      await endOfBackgroundRun();
      const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
      expect(lines).toHaveLength(1);
      const [, times, command = ''] = /^((?:[\d*/,-]+ ){5})(.*)$/.exec(lines[0] ?? '') ?? [];
      expect(times).toBeDefined();
      expect(await runShell(command, '/usr/bin:/bin')).toBe('');
    });
  }
});

/** Writes files that name themselves in their first line into a folder of their own; returns their paths. */
function placeFiles(language: string): string[] {
  const folder = mkdtempSync(join(clone, 'files-'));
  return toRun(language).map(({ text }) => {
    const [, name = ''] = /^# \/etc\/.*\/(\S+)\n/.exec(text) ?? expect.fail(`No file's name: ${text}`);
    writeFileSync(join(folder, name), here(text), { mode: 0o644 });
    return join(folder, name);
  });
}

describe('a file of settings', () => {
  const analyze = neededProgram('systemd-analyze');
  it.skipIf(!analyze)('of systemd has nothing that systemd objects to', async () => {
    const paths = placeFiles('ini');
    expect(paths).toHaveLength(2);
    expect(await runShell(`systemd-analyze verify ${paths.join(' ')}`)).toBe('');
  });

  it('of systemd has a command that runs', async () => {
    const commands = toRun('ini').flatMap(({ text }) => text.match(/(?<=^ExecStart=).*$/m) ?? []);
    expect(commands).toHaveLength(1);
    await runShell(commands.join());
  });

  const logrotate = neededProgram('logrotate', '/usr/sbin/logrotate');
  it.skipIf(!logrotate)('of logrotate rotates what is there', async () => {
    const [path = ''] = placeFiles('conf');
    // Where there is no user of that name.
    const { username } = userInfo();
    writeFileSync(path, readFileSync(path, 'utf8').replace('su racing racing', `su ${username} ${username}`));
    writeFileSync(log('cron.log'), 'A line.\n');
    await runShell(`${logrotate} --force --state ${path}.state ${path}`);
    expect(existsSync(log('cron.log.1.gz'))).toBe(true);
  });
});

it.each(toRun('sql'))('the database takes each statement: $place', async ({ text }) => {
  for (const statement of text.split(';').filter((one) => /^\s*select/.test(one)))
    await world.database.query(statement.replace('<pid>', '0'));
});

const places = pages.flatMap((page) =>
  [...read(page).matchAll(/\]\((?!https?:)([^)#]*)(#[^)]*)?\)/g)].map(
    (found) => [page, found[1], found[2] ?? ''] as const,
  ),
);

it.each(places)('%s: what %s%s links to is there', (page, path = '', anchor = '') => {
  const file = path === '' ? join(root, page) : join(root, dirname(page), path);
  expect(existsSync(file)).toBe(true);
  const headings = path.endsWith('.md') || path === '' ? (readFileSync(file, 'utf8').match(/^#+ .*$/gm) ?? []) : [];
  const anchors = headings.map((heading) =>
    heading
      .replace(/^#+ /, '')
      .toLowerCase()
      .replace(/[^\w -]/g, ''),
  );
  if (anchor !== '') expect(anchors.map((one) => `#${one.replaceAll(' ', '-')}`)).toContain(anchor);
});

it.each(['docs/run.svg', 'docs/page.png'])('%s is shown and has at most 200 kB', (picture) => {
  expect(read('README.md')).toContain(`](${picture})`);
  expect(statSync(join(root, picture)).size).toBeLessThan(200_000);
});
