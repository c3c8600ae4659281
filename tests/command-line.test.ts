import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { entityTypes } from '../src/entity-types.js';
import { exitCodeMeanings, exitCodes } from '../src/errors.js';
import { createProgram, parseCommandLine, type Request } from '../src/options.js';

/** What the command line understands and refuses, and that --help and the documentation say so. */
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

function expectRefused(args: string[], ...told: string[]): void {
  expect(() => parse(...args)).toThrow(expect.objectContaining({ exitCode: exitCodes.usage }));
  for (const text of told) expect(printed).toContain(text);
}

const [jockeys, trainers, owners] = entityTypes;
const defaults = {
  entities: entityTypes,
  dryRun: false,
  skipExisting: false,
  resume: false,
  clearCheckpoints: false,
  strategy: 'auto',
  rate: 2,
  force: false,
  quiet: false,
  refresh: false,
  html: false,
};

describe('an option', () => {
  it.each<[string[], object]>([
    [['--all'], {}],
    [['--entities', 'owners'], { entities: [owners] }],
    [['--entities', 'owners', 'jockeys'], { entities: [jockeys, owners] }],
    [['--entities', 'owners', 'owners', 'trainers', 'owners'], { entities: [trainers, owners] }],
    [['--entities', 'owners', '--entities', 'trainers'], { entities: [trainers, owners] }],
    [['--all', '--limit', '1'], { limit: 1 }],
    [['--all', '--strategy', 'walk'], { strategy: 'walk' }],
    [['--all', '--strategy', 'sweep'], { strategy: 'sweep' }],
    [['--all', '--rate', '0.5'], { rate: 0.5 }],
    [['--all', '--stale-after', '30m'], { staleAfter: { text: '30m', ms: 1_800_000 } }],
    [['--all', '--stale-after', '12h'], { staleAfter: { text: '12h', ms: 43_200_000 } }],
    [['--all', '--stale-after', '7d'], { staleAfter: { text: '7d', ms: 604_800_000 } }],
    [
      ['--skip-existing', '--limit', '7', '--entities', 'jockeys', 'trainers', '--dry-run', '--resume'],
      { entities: [jockeys, trainers], limit: 7, dryRun: true, skipExisting: true, resume: true },
    ],
    [
      ['--all', '--clear-checkpoints', '--force', '--quiet', '--html'],
      { clearCheckpoints: true, force: true, quiet: true, html: true },
    ],
  ])('%j is understood', (args, changed) => {
    const all = args.includes('--all');
    expect(parse(...args)).toEqual({ command: 'populate', options: { ...defaults, all, ...changed } });
    expect(printed).toBe('');
  });

  it.each([
    ...['0', '-1', 'abc', '1.5', '1e3', '', ' 3', '0x10', '9007199254740993', 'Infinity'].map((n) => ['--limit', n]),
    ...['0', '-2', 'abc', 'Infinity', 'NaN', '1e1', '', '0.05', '1001'].map((n) => ['--rate', n]),
    ...['0h', '12', 'h', '-1h', '1.5h', '12 h', '1w', '12H', ''].map((time) => ['--stale-after', time]),
  ])('%s %j is refused with what it must be', (option, value) => {
    const mustBe = { '--limit': 'a whole number from 1', '--rate': 'a number from 0.1 to 1000' }[option];
    expectRefused(['--all', option, value], `'${option} <`, mustBe ?? '30m, 12h, 7d');
  });

  it.each([
    [['--entities', 'jocky'], 'Did you mean jockeys?'],
    [['--entities', 'jockeys', 'Owner'], 'Did you mean owners?'],
    [['--entities', 'horses'], 'The types are jockeys, trainers, owners.'],
    [['--dry-run'], 'say --all or --entities'],
    [['--all', '--entities', 'owners'], 'exclude each other'],
    [['--all', '--limit'], 'argument missing'],
    [['--all', '--limt', '3'], 'Did you mean --limit?'],
    [['--all', '--skip-existing', '--stale-after', '7d'], 'cannot be used with'],
    [['--all', '--strategy', 'run'], 'auto, walk, sweep'],
    [['--all', 'jockeys'], 'arguments'],
    [['verify', '--sample', '0'], 'a whole number from 1'],
    [['verify', '--rate', '0'], 'a number from 0.1'],
    [['verify', '--entities', 'jocky'], 'Did you mean jockeys?'],
    [['verify', '--limit', '5'], "unknown option '--limit'"],
    [['verify', 'jockeys'], 'arguments'],
    [['--rate', '1', 'verify'], "'--rate <n>' has to stand after"],
    [['--all', 'status'], "'--all' has to stand after"],
  ])('among %j that makes no sense is refused', (args, told) => {
    expectRefused(args, 'error: ', told);
  });
});

it.each([
  [[], { entities: entityTypes, sample: 200, rate: 2 }],
  [
    ['--entities', 'owners', 'jockeys', '--sample', '50', '--rate', '5'],
    { entities: [jockeys, owners], sample: 50, rate: 5 },
  ],
])('verify has options of its own: %j', (args, options) => {
  expect(parse('verify', ...args)).toEqual({ command: 'verify', options });
});

it('status has --json', () => {
  expect(parse('status')).toEqual({ command: 'status', options: { json: false } });
  expect(parse('status', '--json')).toEqual({ command: 'status', options: { json: true } });
});

const program = createProgram(() => {});

describe('--help', () => {
  it.each([program, ...program.commands].map((command) => [command.name(), command.options] as const))(
    'of %s is no request and no error, and tells every option, and the default of those that have a value',
    (name, options) => {
      expect(parse(...(name === program.name() ? [] : [name]), '--help')).toBeUndefined();
      expect(printed).toContain('Usage: populate-all-statistics');
      for (const { flags } of options) expect(printed).toContain(`  ${flags} `);
      const valued = options.filter((option) => option.defaultValue !== undefined && !option.isBoolean());
      expect(printed.match(/default:\s/g) ?? []).toHaveLength(valued.length);
    },
  );

  it('tells every exit code', () => {
    parse('--help');
    const told = printed.slice(printed.indexOf('Exit codes:'));
    for (const code of Object.values(exitCodes)) expect(told).toMatch(new RegExp(`^ +${code}  \\w`, 'm'));
  });
});

describe('the documentation', () => {
  const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
  const readme = read('README.md');
  const operators = read('docs/operators.md');

  it('explains every option', () => {
    const options = program.options.map(({ long, flags }) => (flags.includes('<') ? flags : `${long}`));
    const commands = program.commands.map(
      (command) => `${command.name()} ${command.options.map(({ flags }) => `[${flags}]`).join(' ')}`,
    );
    for (const option of [...options, ...commands]) expect(readme).toContain(`\`${option}\``);
  });

  it('names no option that there is not', () => {
    const all = [program, ...program.commands].flatMap(({ options }) => options.map(({ long }) => `${long}`));
    const known = new Set([...all, '--help', '--now']);
    const commands = `${readme}\n${operators}`.matchAll(
      /(?<=dist\/\S+|npm start --|npm run demo --|verify|status|`)[^\n|]*?--[a-z][a-z-]+/g,
    );
    const named = [...commands].flatMap(([text]) => text.match(/--[a-z][a-z-]+/g) ?? []);
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((option) => !known.has(option))).toEqual([]);
  });

  it.each(Object.entries(exitCodeMeanings))('explains exit code %s, to operators too', (code, meaning) => {
    const row = new RegExp(`^\\| ([\\d, ]*\\b)?${code}\\b.*$`, 'm');
    expect(row.exec(readme)?.[0]).toContain(meaning.split(' (')[0]);
    if (code !== '0') expect(operators).toMatch(row);
  });

  it('and .env.example name every variable', () => {
    const variables =
      read('src/config.ts')
        .match(/^ +[A-Z_]+(?=: )/gm)
        ?.map((name) => name.trim()) ?? [];
    expect(variables).toHaveLength(9);
    for (const variable of variables) {
      expect(readme).toContain(variable);
      expect(read('.env.example')).toContain(`${variable}=`);
    }
  });
});
