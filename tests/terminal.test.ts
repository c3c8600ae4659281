import { execFileSync } from 'node:child_process';
import { describe, expect, it, onTestFinished } from 'vitest';
import { neededProgram } from './needed-program.js';
import { until } from './watching.js';
import { command, sharedWorld, startWorld } from './world.js';

const tmux = neededProgram('tmux');
const server = `populate-${process.pid}`;
const walk = '--entities jockeys --strategy walk --rate 40';

const world = sharedWorld(startWorld);

/** Asks a tmux of our own, whose terminals are UTF-8 and have what the command needs in their environment. */
function ask(...args: string[]): string {
  return execFileSync(tmux ?? '', ['-u', '-f', '/dev/null', '-L', server, ...args], {
    encoding: 'utf8',
    cwd: world.folder,
    env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', TERM: 'xterm', ...world.environment },
  });
}

/** Starts the command in a terminal that stays open after it, and shows its exit code. */
function open(columns: number, args: string): void {
  const shell = `'${process.execPath}' '${command}' ${args}; echo "exit code $?"; exec sleep 60`;
  ask('new-session', '-d', '-x', String(columns), '-y', '40', '-c', world.folder, shell);
  onTestFinished(() => void ask('kill-session'));
}
/** Waits for the bar of a walk. */
async function startCommand(columns: number): Promise<void> {
  open(columns, walk);
  await until('the bar', () => /[1-3]\d\/40 \d+%/.test(screen()));
}
const screen = () => ask('capture-pane', '-p').trimEnd();
/** As the terminal has them when it has broken those that are too long. */
const lines = () => screen().split('\n');

describe.skipIf(tmux === undefined)(`a terminal${tmux ? '' : ' (skipped: no tmux in PATH)'}`, () => {
  it.each([100, 80, 50, 30])('of %i columns shows one line that grows and becomes its outcome', async (columns) => {
    await startCommand(columns);
    expect(screen().match(/^walking.* \d+\/40 \d+%.*$/gm)).toHaveLength(1);
    await until('the end', () => screen().includes('exit code 0'));
    expect(screen()).not.toMatch(/^walking/m);
    expect(screen().match(/^✓ walking.* 40\/40 in/gm)).toHaveLength(1);
    expect(lines().join(' ').replaceAll(/ +/g, ' ')).toContain('40 requests,');
    // None was broken by the terminal, which would have filled its last column.
    for (const line of lines()) expect(line.length).toBeLessThan(columns);
  });

  it('shows a sweep that the plan does not allow as stopped, and tells everything else once', async () => {
    world.api.options.plan = 'pro-without-results';
    open(100, '--all --rate 500');
    await until('the end', () => screen().includes('exit code')).finally(() => {
      world.api.options.plan = 'pro';
    });
    const refused = 'Cannot sweep, so trying to walk: The Racing API refuses the account \\(401, asked twice\\)\\.';
    expect(screen()).toMatch(/^Everything: sweeping/);
    const order = `120 selected\n✗ sweeping 0/132, stopped after .*\n${refused}\n✓ walking 190/190 in .*\ntype `;
    expect(screen()).toMatch(new RegExp(order));
    expect(new Set(lines()).size).toBe(lines().length);
    expect(lines().at(-1)).toBe('exit code 0');
  });

  it('of 20 columns breaks the line of status --check between words', async () => {
    open(20, 'status --check');
    await until('the end', () => screen().includes('exit code 12'));
    expect(lines().slice(0, 2)).toEqual(['Not well: no run', 'yet.']);
  });

  it('shows blocks, and its Ctrl-C ends the run in good order', async () => {
    await startCommand(100);
    expect(screen().match(/^walking.* █+░+ \d+\/40 \d+% · .*left · \ds so far.*$/gm)).toHaveLength(1);
    ask('send-keys', 'C-c');
    await until('the end', () => screen().includes('exit code 130'));
    expect(screen()).toContain('SIGINT: writing what is gathered, then ending.');
    expect(screen()).toMatch(/^✗ walking.* \d+\/40, stopped after/m);
    expect(lines().slice(-2)).toEqual(['Interrupted by SIGINT. Run again with --resume to go on.', 'exit code 130']);
  });
});

it('a walk of whole batches ends once', async () => {
  const { stdout } = await world.run(['--entities', 'owners', '--strategy', 'walk', '--limit', '100', '--rate', '500']);
  expect(stdout.match(/ walking \d+\/100 in/g)).toEqual([' walking 100/100 in']);
});
