import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import packageJson from '../package.json' with { type: 'json' };
import lock from '../package-lock.json' with { type: 'json' };

const root = fileURLToPath(new URL('..', import.meta.url));
const name = 'populate-all-statistics.js';
const built = join(root, 'dist', name);
const temporary = fs.mkdtempSync(join(tmpdir(), 'built-file-'));
afterAll(() => fs.rmSync(temporary, { recursive: true, force: true }));

/** Starts a program by its #! line, on this Node, which runs `first` before it. */
function start(program: string, args: string[], { cwd = temporary, first = '' } = {}) {
  return spawnSync(program, args, {
    cwd,
    encoding: 'utf8',
    env: {
      PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(first)}`,
    },
  });
}

describe('the built file', () => {
  const folder = fs.mkdtempSync(join(temporary, 'alone-'));
  fs.copyFileSync(built, join(folder, name));

  it.each([
    [['--help'], '--entities <types...>'],
    [['status'], 'No run yet.'],
  ])('alone in a folder: %j', (args, told) => {
    const { status, stdout, stderr } = start(join(folder, name), args, { cwd: folder });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain(told);
    expect(fs.readdirSync(folder)).toEqual([name]);
  });

  it('runs through a link, as npm link makes it', () => {
    const link = join(temporary, 'populate-all-statistics');
    fs.symlinkSync(built, link);
    expect(start(link, ['--version'])).toMatchObject({ status: 0, stdout: `${packageJson.version}\n` });
  });

  it('on a Node that is too old says which one it needs', () => {
    const first = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.18.3' } });
      Object.defineProperty(process, 'version', { value: 'v20.18.3' });`;
    const stderr = 'populate-all-statistics needs Node.js 20.19 or newer; this is v20.18.3.\n';
    expect(start(built, ['--version'], { first })).toMatchObject({ status: 2, stdout: '', stderr });
    // It would not even load there if it named what older ones lack.
    expect(fs.readFileSync(built, 'utf8')).not.toMatch(/import *{[^}]*styleText[^}]*} *from/);
  });

  it('in a folder that is gone is a sentence', () => {
    const gone = fs.mkdtempSync(join(temporary, 'gone-'));
    const shell = spawnSync('sh', [
      '-c',
      'cd "$0" && rmdir "$0" && exec "$1" "$2" --all',
      gone,
      process.execPath,
      built,
    ]);
    expect(shell.status).toBe(8);
    expect(shell.stderr.toString()).toMatch(/^ENOENT.*See whether the folder is still there/);
  });

  it('loads what asks the API and the database only where it is needed', () => {
    const first = `process.on('exit', () =>
      console.log(process.moduleLoadList.filter((name) => / (tls|http)$/.test(name))))`;
    expect(start(built, ['--version'], { first }).stdout).toBe(`${packageJson.version}\n[]\n`);
  });

  it('names the lines of src/ in a trace of our own bug', () => {
    fs.mkdirSync(join(temporary, 'logs'));
    const first = `import fs from 'node:fs';
      import { syncBuiltinESMExports } from 'node:module';
      fs.readdirSync = () => { throw new TypeError('broken'); };
      syncBuiltinESMExports();`;
    const { status, stderr } = start(built, ['status'], { first });
    expect(status).toBe(1);
    expect(stderr).toContain('This is a bug of populate-all-statistics');
    const [, file = '', line] = /at savedReports \((src\/[\w/-]+\.ts):(\d+):\d+\)/.exec(stderr) ?? [];
    expect(fs.readFileSync(join(root, file), 'utf8').split('\n')[Number(line) - 1]).toContain('readdirSync(');
    expect(stderr).toMatch(/at status \(src\/commands\.ts:\d+:\d+\)/);
  });
});

it('a rebuild leaves an executable file and nothing of the build before', () => {
  const folder = join(temporary, 'dist');
  for (const old of ['first', 'second']) {
    fs.mkdirSync(join(folder, old), { recursive: true });
    execFileSync(process.execPath, ['build.js', folder], { cwd: root });
    expect(fs.statSync(join(folder, name)).mode & 0o777).toBe(0o755);
    expect(fs.readdirSync(folder).sort()).toEqual(['THIRD-PARTY-LICENSES.txt', name, `${name}.map`]);
  }
});

it('the licences are those of all packages that are not for development alone', () => {
  const text = fs.readFileSync(join(root, 'dist', 'THIRD-PARTY-LICENSES.txt'), 'utf8');
  const wanted = Object.entries(lock.packages).flatMap(([path, one]) =>
    // A folder of ours has no version.
    path === '' || 'dev' in one || !('version' in one) ? [] : `${path.replace(/^.*node_modules\//, '')} ${one.version}`,
  );
  expect(text.match(/^\S+ \d+\.\d+\.\d+(?= \()/gm)?.sort()).toEqual(wanted.sort());
  expect(text.match(/WITHOUT WARRANTY|"AS IS"/gi)?.length).toBeGreaterThanOrEqual(wanted.length);
});

it('npm pack takes only what a user needs', () => {
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const [{ files }] = JSON.parse(execFileSync('npm', args, { cwd: root, encoding: 'utf8' }));
  const tops = new Set(files.map(({ path }: { path: string }) => path.split('/')[0]));
  const wanted = ['.env.example', 'CHANGELOG.md', 'README.md', 'dist', 'docs', 'package.json', 'supabase'];
  expect([...tops].sort()).toEqual(wanted);
});
