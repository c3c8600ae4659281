import fs, { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { expect, it, onTestFinished } from 'vitest';
import { exitCodes } from '../src/errors.js';
import { openCheckpoint, readCheckpoint } from '../src/files/checkpoint.js';
import { createFileLock } from '../src/files/locks.js';
import { claimFile, makeFolder, writeWholeFile } from '../src/files/whole-file.js';
import { jockeys } from './faults.js';
import { ownFolder } from './watching.js';

const folder = ownFolder();
const checkpoint = 'checkpoint_jockeys.json';
const open = () => openCheckpoint(folder(), jockeys, undefined, new Date().toISOString().slice(0, 10));

it('a file is claimed once, and replaced as a whole', () => {
  expect([claimFile(folder('one')), claimFile(folder('one'), 'again')]).toEqual([true, false]);
  expect(readFileSync(folder('one'), 'utf8')).toBe('');
  writeWholeFile(folder('one'), 'new');
  expect(readFileSync(folder('one'), 'utf8')).toBe('new');
  makeFolder(folder());
  expect(readdirSync(folder())).toEqual(['one']);
});

/** Has one of Node's functions on files do something else until the test's end. */
function replace(
  name: 'linkSync' | 'mkdirSync' | 'writeFileSync',
  change: (real: (...args: never[]) => unknown) => unknown,
): void {
  const real = fs[name];
  const put = (value: unknown) => {
    Object.assign(fs, { [name]: value });
    syncBuiltinESMExports();
  };
  put(change(real as never));
  onTestFinished(() => put(real));
}

it('a folder that another process makes in the same instant is there, and so are those that it lies in', () => {
  replace('mkdirSync', (real) => (path: never) => [real(path), real(path)]);
  makeFolder(folder('one/two'));
  expect(readdirSync(folder('one'))).toEqual(['two']);
});

it.each(['EPERM', 'ENOTSUP'])('a file is claimed once where there are no hard links (%s)', (code) => {
  replace('linkSync', () => () => {
    throw Object.assign(new Error('No links'), { code });
  });
  expect([claimFile(folder('one'), 'first'), claimFile(folder('one'), 'again')]).toEqual([true, false]);
  expect(readFileSync(folder('one'), 'utf8')).toBe('first');
  expect(readdirSync(folder())).toEqual(['one']);
});

it('a file that another process has claimed in the same instant is not replaced', () => {
  replace('linkSync', (real) => (draft: never, path: never) => {
    writeFileSync(folder('one'), 'other');
    return real(draft, path);
  });
  expect(claimFile(folder('one'), 'ours')).toBe(false);
  expect(readFileSync(folder('one'), 'utf8')).toBe('other');
  expect(readdirSync(folder())).toEqual(['one']);
});

it('a file whose content does not fit on the disk is not claimed', () => {
  replace('writeFileSync', (real) => (path: never) => {
    real(path, '{"half' as never);
    throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
  });
  expect(() => claimFile(folder('one'), '{"half": 1}')).toThrow('ENOSPC');
  expect(readdirSync(folder())).toEqual([]);
});

it('an empty checkpoint is not worth keeping when a new run begins', () => {
  writeFileSync(folder(checkpoint), '{"entity_type":"jockeys","processed_ids":[],"count":0,"timestamp":""}');
  expect(open().aside).toBeUndefined();
  expect(readdirSync(folder())).toEqual([checkpoint]);
});

it.each<[string, string, () => unknown]>([
  ['is in no folder', 'file/one cannot be written: ENOTDIR', () => writeWholeFile(folder('file/one'), '')],
  ['is in no folder', 'file/one cannot be written: ENOTDIR', () => claimFile(folder('file/one'))],
  ['is in no folder', 'file/one cannot be made: ENOTDIR', () => makeFolder(folder('file/one'))],
  ['is in no folder', `file/${checkpoint} cannot be read: ENOTDIR`, () => readCheckpoint(folder('file'), jockeys)],
  ['is a folder', 'taken cannot be written: EISDIR', () => writeWholeFile(folder('taken'), '')],
  ['is a folder', 'taken cannot be read: EISDIR', () => createFileLock(folder('taken')).tryAcquire()],
  ['cannot be moved', `${checkpoint} cannot be kept aside: `, open],
])('what %s: %s', (_, told, use) => {
  writeFileSync(folder('file'), '');
  for (const name of ['taken', `${checkpoint}.previous`]) mkdirSync(folder(name));
  open().add(['jky_1'], 0);
  const before = readdirSync(folder());
  const message = expect.stringContaining(`${folder(told)}`);
  const error = { exitCode: exitCodes.filesUnusable, message, cause: expect.any(Error) };
  expect(use).toThrow(expect.objectContaining(error));
  expect(readdirSync(folder())).toEqual(before);
});
