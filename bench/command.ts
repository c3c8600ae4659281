import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const command = fileURLToPath(new URL('../dist/populate-all-statistics.js', import.meta.url));
const pollMs = 10;

/** What a run of the command took. */
export interface CommandRun {
  /** From start to exit. */
  wallSeconds: number;
  /** The most memory that was resident at once, in MB of 1,000,000 bytes; null where the system does not tell. */
  peakMegabytes: number | null;
}

/** Runs the built command in an empty working directory. Throws with its output if it does not exit with 0. */
export async function runInEmptyFolder(args: string[], environment: Record<string, string>): Promise<CommandRun> {
  const folder = mkdtempSync(join(tmpdir(), 'populate-bench-'));
  try {
    return await runCommand(args, environment, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs the built command in a folder. Throws with its output if it does not exit with 0. */
export async function runCommand(
  args: string[],
  environment: Record<string, string>,
  folder: string,
): Promise<CommandRun> {
  const startedAtMs = performance.now();
  const child = spawn(process.execPath, [command, ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let peakMegabytes: number | null = null;
  const watch = setInterval(() => {
    peakMegabytes = readPeakMegabytes(child.pid) ?? peakMegabytes;
  }, pollMs);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on('error', reject).on('close', resolve);
    });
    const wallSeconds = (performance.now() - startedAtMs) / 1000;
    if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}:\n${output}`);
    return { wallSeconds, peakMegabytes };
  } finally {
    clearInterval(watch);
  }
}

/** VmHWM of proc(5), the high-water mark of the resident set: it only grows, so the last reading is the peak. */
function readPeakMegabytes(pid: number | undefined): number | undefined {
  try {
    const [, kilobytes] = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return kilobytes === undefined ? undefined : (Number(kilobytes) * 1024) / 1e6;
  } catch {
    return undefined;
  }
}
