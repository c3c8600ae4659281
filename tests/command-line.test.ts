import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { exitCodes, FatalError } from '../src/errors.js';
import { parseCommandLine, type Request } from '../src/options.js';

let printed: string;
beforeEach(() => {
  printed = '';
  const take = (text: string | Uint8Array) => {
    printed += text;
    return true;
  };
  vi.spyOn(process.stdout, 'write').mockImplementation(take);
  vi.spyOn(process.stderr, 'write').mockImplementation(take);
});
afterEach(() => vi.restoreAllMocks());

function parse(...args: string[]): Request | undefined {
  return parseCommandLine(['node', 'populate-all-statistics', ...args]);
}

/** The options of `populate`, the names of their types in place of the types. */
function optionsOf(...args: string[]) {
  const request = parse(...args);
  if (request?.command !== 'populate') throw new Error(`The command is ${request?.command}`);
  const { entities, ...options } = request.options;
  return { ...options, types: entities.map(({ name }) => name) };
}

function refused(...args: string[]): string {
  try {
    parse(...args);
  } catch (error) {
    if (!(error instanceof FatalError)) throw error;
    expect(error.exitCode).toBe(exitCodes.usage);
    return printed;
  }
  throw new Error('It was accepted');
}

const defaults = {
  types: ['jockeys', 'trainers', 'owners'],
  dryRun: false,
  skipExisting: false,
  resume: false,
  clearCheckpoints: false,
  strategy: 'auto',
  rate: 2,
  force: false,
  quiet: false,
  html: false,
};

describe('an option', () => {
  it.each([
    [['--all'], {}],
    [['--entities', 'owners'], { types: ['owners'] }],
    [['--entities', 'owners', 'jockeys'], { types: ['jockeys', 'owners'] }],
    [['--entities', 'owners', 'owners', 'trainers', 'owners'], { types: ['trainers', 'owners'] }],
    [['--entities', 'owners', '--entities', 'trainers'], { types: ['trainers', 'owners'] }],
    [['--entities=jockeys'], { types: ['jockeys'] }],
    [['--all', '--limit', '1'], { limit: 1 }],
    [['--all', '--limit=54429'], { limit: 54_429 }],
    [['--all', '--dry-run'], { dryRun: true }],
    [['--all', '--skip-existing'], { skipExisting: true }],
    [['--all', '--resume'], { resume: true }],
    [['--all', '--clear-checkpoints'], { clearCheckpoints: true }],
    [['--all', '--strategy', 'auto'], { strategy: 'auto' }],
    [['--all', '--strategy', 'walk'], { strategy: 'walk' }],
    [['--all', '--strategy', 'sweep'], { strategy: 'sweep' }],
    [['--all', '--rate', '5'], { rate: 5 }],
    [['--all', '--rate', '0.5'], { rate: 0.5 }],
    [['--all', '--force'], { force: true }],
    [['--all', '--stale-after', '30m'], { staleAfter: { text: '30m', ms: 1_800_000 } }],
    [['--all', '--stale-after', '12h'], { staleAfter: { text: '12h', ms: 43_200_000 } }],
    [['--all', '--stale-after', '7d'], { staleAfter: { text: '7d', ms: 604_800_000 } }],
    [['--all', '--quiet'], { quiet: true }],
    [['--all', '--html'], { html: true }],
    [
      ['--skip-existing', '--limit', '7', '--entities', 'jockeys', 'trainers', '--dry-run', '--resume'],
      { types: ['jockeys', 'trainers'], limit: 7, dryRun: true, skipExisting: true, resume: true },
    ],
  ])('%j is understood', (args, changed) => {
    expect(optionsOf(...args)).toMatchObject({ ...defaults, ...changed });
    expect(printed).toBe('');
  });

  it.each(['0', '-1', 'abc', '1.5', '1e3', '', ' 3', '0x10', '9007199254740993', 'Infinity'])(
    '--limit %j is refused',
    (value) => {
      const message = refused('--all', '--limit', value);
      expect(message).toContain('--limit <n>');
      expect(message).toContain('whole number');
    },
  );

  it.each(['0', '-2', 'abc', 'Infinity', 'NaN', '1e1', '', '0.05', '1001'])(
    '--rate %j is refused',
    (value) => {
      const message = refused('--all', '--rate', value);
      expect(message).toContain('--rate <n>');
      expect(message).toContain('from 0.1 to 1000');
    },
  );

  it.each(['0h', '12', 'h', '-1h', '1.5h', '12 h', '1w', '12H', ''])(
    '--stale-after %j is refused',
    (value) => {
      expect(refused('--all', '--stale-after', value)).toContain('30m, 12h, 7d');
    },
  );

  it.each([
    ['jocky', 'jockeys'],
    ['jockey', 'jockeys'],
    ['Jockeys', 'jockeys'],
    ['trainer', 'trainers'],
    ['owner', 'owners'],
  ])('--entities %s suggests %s', (value, meant) => {
    expect(refused('--entities', value)).toContain(`Did you mean ${meant}?`);
  });

  it('--entities horses tells the types', () => {
    expect(refused('--entities', 'jockeys', 'horses')).toContain('The types are jockeys, trainers, owners.');
  });

  it.each([
    [[], 'say --all or --entities'],
    [['--dry-run'], 'say --all or --entities'],
    [['--all', '--entities', 'owners'], 'exclude each other'],
    [['--entities'], 'argument missing'],
    [['--all', '--limit'], 'argument missing'],
    [['--all', '--limt', '3'], 'Did you mean --limit?'],
    [['--everything'], "unknown option '--everything'"],
    [['--all', '--skip-existing', '--stale-after', '7d'], 'cannot be used with'],
    [['--all', '--strategy', 'run'], 'auto, walk, sweep'],
    [['populate'], 'arguments'],
    [['--all', 'jockeys'], 'arguments'],
  ])('among %j that makes no sense is refused', (args, message) => {
    expect(refused(...args)).toContain(message);
  });
});

describe('verify', () => {
  it.each([
    [[], { entities: entityTypes, sample: 200, rate: 2 }],
    [['--entities', 'owners', 'jockeys'], { entities: [entityTypes[0], entityTypes[2]] }],
    [['--sample', '50', '--rate', '5'], { sample: 50, rate: 5 }],
  ])('has options of its own: %j', (args, options) => {
    expect(parse('verify', ...args)).toMatchObject({ command: 'verify', options });
  });

  it.each([
    ['--sample', '0'],
    ['--sample', 'many'],
    ['--rate', '0'],
    ['--entities', 'jocky'],
    ['--limit', '5'],
    ['--all'],
    ['jockeys'],
  ])('%j %j is refused', (...args) => {
    expect(refused('verify', ...args)).toContain('error: ');
  });

  it('does not pass over options that stand before it', () => {
    let accepted: Request | undefined;
    try {
      accepted = parse('--rate', '1', 'verify');
    } catch (error) {
      expect(error).toMatchObject({ exitCode: exitCodes.usage });
      return;
    }
    expect(accepted).toMatchObject({ command: 'verify', options: { rate: 1 } });
  });
});

it.each([
  [[], false],
  [['--json'], true],
])('status understands %j', (args, json) => {
  expect(parse('status', ...args)).toEqual({ command: 'status', options: { json } });
});

describe('--help', () => {
  it('is no request and no error', () => {
    expect(parse('--help')).toBeUndefined();
    expect(printed).toContain('Usage: populate-all-statistics');
  });

  it.each([
    ['--all'],
    ['--entities <types...>'],
    ['--limit <n>'],
    ['--dry-run'],
    ['--skip-existing'],
    ['--resume'],
    ['--clear-checkpoints'],
    ['--strategy <name>'],
    ['--rate <n>'],
    ['--force'],
    ['--stale-after <duration>'],
    ['--quiet'],
    ['--html'],
  ])('tells %s', (option) => {
    parse('--help');
    expect(printed).toContain(`  ${option} `);
  });

  it.each(Object.entries(exitCodes))('tells the exit code of %s', (_, code) => {
    parse('--help');
    expect(printed.slice(printed.indexOf('Exit codes:'))).toMatch(
      new RegExp(`(^|[ ,])${code}(,| +\\w)`, 'm'),
    );
  });

  it.each(['--entities <types...>', '--sample <n>', '--rate <n>'])('of verify tells %s', (option) => {
    expect(parse('verify', '--help')).toBeUndefined();
    expect(printed).toContain(option);
  });
});
