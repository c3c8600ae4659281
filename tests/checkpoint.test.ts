import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type EntityType, entityTypes } from '../src/entity-types.js';
import { exitCodes, FatalError } from '../src/errors.js';
import type { Tell } from '../src/events.js';
import { type Checkpoint, openCheckpoint, readCheckpoint } from '../src/files/checkpoint.js';
import { usualOptions } from './world.js';

let folder: string;
let path: string;
let lines: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'checkpoint-'));
  path = join(folder, 'checkpoint_jockeys.json');
  lines = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

function typeOf(name: string): EntityType {
  const type = entityTypes.find((one) => one.name === name);
  if (type === undefined) throw new Error(`There is no type ${name}`);
  return type;
}
const jockeys = typeOf('jockeys');

/** The ids that a run leaves out. */
function open(options: { resume?: boolean; clear?: boolean; readOnly?: boolean } = {}): string[] {
  const { resume = false, clear = false, readOnly = false } = options;
  const asked = { ...usualOptions, resume, clearCheckpoints: clear, dryRun: readOnly };
  const tell: Tell = (event) => event.kind === 'line' && lines.push(event.line);
  return [...openCheckpoint(folder, jockeys, asked, tell).writtenIds];
}

/** A new checkpoint, as a run starts one, of which nothing is told. */
function newCheckpoint(type = jockeys): Checkpoint {
  return openCheckpoint(folder, type, { ...usualOptions, clearCheckpoints: true }, () => {});
}

function unusable(options: { readOnly?: boolean } = {}): FatalError {
  try {
    open({ resume: true, ...options });
  } catch (error) {
    if (error instanceof FatalError) return error;
    throw error;
  }
  throw new Error('It was used');
}

function saveIds(...ids: string[]): void {
  const checkpoint = newCheckpoint();
  checkpoint.add(ids);
  checkpoint.save();
}

describe('a saved checkpoint', () => {
  it('has the documented format, each id once', () => {
    const before = Date.now();
    const checkpoint = newCheckpoint();
    checkpoint.add(['jky_1']);
    checkpoint.add(['jky_2', 'jky_1']);
    checkpoint.add(['jky_3']);
    checkpoint.save();
    const saved = JSON.parse(readFileSync(path, 'utf8'));
    expect(saved).toEqual({
      entity_type: 'jockeys',
      processed_ids: ['jky_1', 'jky_2', 'jky_3'],
      count: 3,
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    });
    expect(Date.parse(saved.timestamp)).toBeGreaterThanOrEqual(before);
    expect(readdirSync(folder)).toEqual(['checkpoint_jockeys.json']);
  });

  it.each(entityTypes)('of $name has a file of its own', (type) => {
    newCheckpoint(type).save();
    expect(readdirSync(folder)).toEqual([`checkpoint_${type.name}.json`]);
  });

  it('is gone on from with --resume alone', () => {
    saveIds('jky_1', 'jky_2');
    expect(open({ resume: true })).toEqual(['jky_1', 'jky_2']);
    expect(lines).toEqual([expect.stringMatching(/^jockeys: resuming after 2 written, checkpoint of 20/)]);
    lines = [];
    // A run that starts over forgets it at once: it must not hide what that run leaves undone.
    expect(open()).toEqual([]);
    expect(lines).toEqual([]);
    expect(open({ resume: true })).toEqual([]);
  });

  it('may be one of the original program: pretty-printed, its time without a zone', () => {
    const original = {
      entity_type: 'jockeys',
      processed_ids: ['jky_301080', 'jky_301081'],
      count: 2,
      timestamp: '2025-10-19T14:03:27.123456',
    };
    writeFileSync(path, JSON.stringify(original, null, 2));
    expect(open({ resume: true })).toEqual(original.processed_ids);
    expect(lines.join()).toContain(original.timestamp);
  });

  it('without a time is gone on from, and nothing undefined is told', () => {
    writeFileSync(path, JSON.stringify({ entity_type: 'jockeys', processed_ids: ['jky_1'], count: 1 }));
    expect(open({ resume: true })).toEqual(['jky_1']);
    expect(lines.join()).not.toContain('undefined');
  });

  it('is forgotten with --clear-checkpoints, but stays in a dry run', () => {
    saveIds('jky_1');
    expect(open({ clear: true, resume: true, readOnly: true })).toEqual([]);
    expect(open({ resume: true })).toEqual(['jky_1']);
    expect(open({ clear: true, resume: true })).toEqual([]);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ processed_ids: [], count: 0 });
  });

  it('may be missing', () => {
    expect(open({ readOnly: true })).toEqual([]);
    expect(lines).toEqual([]);
    expect(existsSync(path)).toBe(false);
    expect(open({ resume: true })).toEqual([]);
    expect(lines).toEqual(['jockeys: no checkpoint to resume from; starting from the beginning.']);
  });
});

const whole = JSON.stringify({ entity_type: 'jockeys', processed_ids: ['jky_1'], count: 1, timestamp: '' });

describe.each<[string, (path: string) => void]>([
  ['is torn', (at) => writeFileSync(at, whole.slice(0, -20))],
  ['is empty', (at) => writeFileSync(at, '')],
  ['is no JSON', (at) => writeFileSync(at, 'processed: 17\n')],
  ['is null', (at) => writeFileSync(at, 'null')],
  ['is a foreign object', (at) => writeFileSync(at, '{"position": 17}')],
  ['has ids that are no texts', (at) => writeFileSync(at, whole.replace('"jky_1"', '17'))],
  ['is of another type', (at) => writeFileSync(at, whole.replace('jockeys', 'owners\\u001b[2J'))],
  ['is a folder', (at) => mkdirSync(at)],
])('a checkpoint that %s', (_, make) => {
  beforeEach(() => make(path));

  const asides = () => readdirSync(folder).filter((name) => name !== 'checkpoint_jockeys.json');

  it('is kept aside, and ends a run with --resume', () => {
    const error = unusable();
    expect(error.exitCode).toBe(exitCodes.filesUnusable);
    expect(existsSync(path)).toBe(false);
    expect(asides()).toHaveLength(1);
    expect(error.message).toContain(path);
    expect(error.message).toContain(join(folder, asides()[0] ?? ''));
    expect(error.message).not.toMatch(/\p{Cc}/u);
  });

  it('is kept aside with a line otherwise, and the run saves its own', () => {
    expect(open()).toEqual([]);
    expect(asides()).toHaveLength(1);
    expect(lines).toEqual([expect.stringContaining(join(folder, asides()[0] ?? ''))]);
    saveIds('jky_9');
    expect(readCheckpoint(folder, jockeys)).toMatchObject({ ids: new Set(['jky_9']) });
  });

  it('stays where it is in a dry run', () => {
    expect(unusable({ readOnly: true }).exitCode).toBe(exitCodes.filesUnusable);
    expect(open({ readOnly: true })).toEqual([]);
    expect(lines).toEqual([expect.stringContaining('cannot be used')]);
    expect(asides()).toEqual([]);
    expect(existsSync(path)).toBe(true);
  });
});

it('that cannot be saved ends the run, and the old one stays whole', () => {
  saveIds('jky_1');
  const before = readFileSync(path, 'utf8');
  mkdirSync(`${path}.tmp`);
  expect(() => saveIds('jky_2')).toThrow(
    expect.objectContaining({ exitCode: exitCodes.filesUnusable, message: expect.stringContaining(path) }),
  );
  expect(readFileSync(path, 'utf8')).toBe(before);
});

describe('at every moment', () => {
  it('a reader sees a whole checkpoint while others are saved', async () => {
    saveIds('jky_0');
    // Reads until the last id is there; prints how many readings were not whole, and how many different ones it saw.
    const reader = `
      const { readFileSync } = require('node:fs');
      let torn = 0;
      const counts = new Set();
      console.error('reading');
      for (;;) {
        try {
          const { processed_ids, count } = JSON.parse(readFileSync(process.argv[1], 'utf8'));
          if (processed_ids.length !== count) torn += 1;
          counts.add(count);
          if (processed_ids.at(-1) === 'last') break;
        } catch { torn += 1; }
      }
      console.log(JSON.stringify({ torn, several: counts.size > 1 }));`;
    const child = spawn(process.execPath, ['-e', reader, path], { stdio: ['ignore', 'pipe', 'pipe'] });
    const output = text(child.stdout);
    await new Promise((resolve) => child.stderr.once('data', resolve));
    const checkpoint = newCheckpoint();
    for (let save = 0; save < 150; save += 1) {
      checkpoint.add(Array.from({ length: 100 }, (_, index) => `jky_${save}_${index}`));
      checkpoint.save();
      await sleep(0);
    }
    checkpoint.add(['last']);
    checkpoint.save();
    expect(JSON.parse(await output)).toEqual({ torn: 0, several: true });
  });
});
