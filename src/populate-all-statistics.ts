#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { type ExitCode, errorCode, exitCodes, FatalError } from './errors.js';
import { parseCommandLine } from './options.js';
import { complain } from './show/screen.js';

// On a machine with much memory V8 lets garbage pile up to several times what is in use, and each page of results
// leaves about 10 MB of it. We are a guest on that machine: collect when there is a tenth more. Measured by
// `npm run bench`; --optimize-for-size needs as much memory and half as much time again.
setFlagsFromString('--heap-growing-percent=10');
setFlagsFromString('--semi-space-growth-factor=1');
// Undici's HTTP parser is WebAssembly, which V8's optimizing compiler takes some 35 MB to compile, for work so little.
setFlagsFromString('--liftoff-only');

/** No stack trace for what is not our own bug. */
function explain(error: unknown): ExitCode {
  if (error instanceof FatalError) {
    complain(error.message);
    return error.exitCode;
  }
  // What the system refuses: a folder that is gone, too many open files.
  if (error instanceof Error && 'syscall' in error) {
    complain(`${error.message}. See whether the folder is still there, the disk has space and you may use both.`);
    return exitCodes.filesUnusable;
  }
  console.error('This is a bug of populate-all-statistics; nothing uncertain was written. Please report it:');
  console.error(traceOf(error));
  return exitCodes.ownBug;
}

/**
 * An error with its stack and its causes, as console.error shows it, but with the lines of src/. Node itself
 * would have to be told before it loads the built file, and would then read the source map at every start.
 */
function traceOf(error: unknown): string {
  const trace = inspect(error);
  try {
    const map = new SourceMap(JSON.parse(readFileSync(`${fileURLToPath(import.meta.url)}.map`, 'utf8')));
    return trace.replaceAll(/(file:\/\/\S+?):(\d+):(\d+)/g, (place, file, line, column) => {
      const origin = map.findOrigin(Number(line), Number(column));
      if (file !== import.meta.url || !('fileName' in origin)) return place;
      return `${origin.fileName.replace(/^(\.\.\/)+/, '')}:${origin.lineNumber}:${origin.columnNumber}`;
    });
  } catch {
    // The file stands alone, or src/ itself is run.
    return trace;
  }
}

// A reader that closes our output, such as head, stops nothing; nor does a full disk, but that is no success.
process.stdout.once('error', (error) => {
  if (errorCode(error) !== 'EPIPE') process.exitCode = explain(error);
});
for (const output of [process.stdout, process.stderr]) output.on('error', () => {});
// What is thrown where nobody waits for it.
process.on('uncaughtException', (error) => process.exit(explain(error)));
try {
  const request = parseCommandLine(process.argv);
  if (request) {
    // Only now: --help and --version start in half the time without what asks the API and the database.
    const { carryOut } = await import('./commands.js');
    const exitCode = await carryOut(request);
    if (exitCode !== exitCodes.allWritten) process.exitCode = exitCode;
  }
} catch (error) {
  process.exitCode = explain(error);
}
