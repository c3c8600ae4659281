import { execFileSync } from 'node:child_process';
import { afterAll, describe, expect, it } from 'vitest';
import { neededProgram } from './needed-program.js';
import { until } from './watching.js';
import { command, sharedWorld, startWorld } from './world.js';

const tmux = neededProgram('tmux');
const server = `populate-${process.pid}`;
const walk = '--entities jockeys --strategy walk --rate 20';

const world = sharedWorld(startWorld);

/** Asks a tmux of our own, whose terminals are UTF-8 and have what the command needs in their environment. */
function ask(...args: string[]): string {
  return execFileSync(tmux ?? '', ['-u', '-f', '/dev/null', '-L', server, ...args], {
    encoding: 'utf8',
    cwd: world.folder,
    env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', TERM: 'xterm', ...world.environment },
  });
}

/** Starts the command in a terminal that stays open after it, and shows its exit code; waits for the bar. */
async function startCommand(columns: number): Promise<void> {
  const shell = `'${process.execPath}' '${command}' ${walk}; echo "exit code $?"; exec sleep 60`;
  ask('new-session', '-d', '-x', String(columns), '-y', '20', '-c', world.folder, shell);
  await until('the bar', () => /[1-3]\d\/40 \d+%/.test(screen()));
}
const screen = () => ask('capture-pane', '-p').trimEnd();

describe.skipIf(tmux === undefined)(`a terminal${tmux ? '' : ' (skipped: no tmux in PATH)'}`, () => {
  afterAll(() => void ask('kill-server'));

  it('that is narrow shows one bar, which grows, and then how the run ended', async () => {
    await startCommand(40);
    expect(screen().match(/^walking jockeys \d+\/40 \d+%.*$/gm)).toHaveLength(1);
    await until('the end', () => screen().includes('exit code 0'));
    expect(screen().match(/^walking jockeys.* 40\/40 100%/gm)).toHaveLength(1);
    ask('kill-session');
  });

  it('that is wide shows blocks, and its Ctrl-C ends the run in good order', async () => {
    await startCommand(100);
    expect(screen().match(/^walking jockeys █+░+ \d+\/40 \d+% · .*left.*$/gm)).toHaveLength(1);
    ask('send-keys', 'C-c');
    await until('the end', () => screen().includes('exit code 130'));
    expect(screen()).toContain('SIGINT: writing what is gathered, then ending.');
  });
});
