import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
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

/** The options of a command, the names of their types in place of the types. */
function optionsOf(request: Request | undefined) {
  if (request?.command !== 'populate' && request?.command !== 'verify') throw new Error(`It is ${request?.command}`);
  const { entities, ...options } = request.options;
  return { command: request.command, ...options, types: entities.map(({ name }) => name) };
}

function expectRefused(args: string[], ...told: string[]): void {
  expect(() => parse(...args)).toThrow(expect.objectContaining({ exitCode: exitCodes.usage }));
  for (const text of told) expect(printed).toContain(text);
}

const allTypes = ['jockeys', 'trainers', 'owners'];
const defaults = {
  types: allTypes,
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
  it.each<[string[], object]>([
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
    ...['auto', 'walk', 'sweep'].map(
      (strategy) => [['--all', '--strategy', strategy], { strategy }] as [string[], object],
    ),
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
    const { command, all, ...options } = optionsOf(parse(...args)) as Record<string, unknown>;
    expect(command).toBe('populate');
    expect(options).toEqual({ ...defaults, ...changed });
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
    ['jocky', 'Did you mean jockeys?'],
    ['jockey', 'Did you mean jockeys?'],
    ['Jockeys', 'Did you mean jockeys?'],
    ['trainer', 'Did you mean trainers?'],
    ['owner', 'Did you mean owners?'],
    ['horses', 'The types are jockeys, trainers, owners.'],
  ])('--entities %s tells: %s', (value, advice) => {
    expectRefused(['--entities', 'jockeys', value], advice);
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
    [['verify', '--sample', '0'], 'a whole number from 1'],
    [['verify', '--sample', 'many'], 'a whole number from 1'],
    [['verify', '--rate', '0'], 'a number from 0.1'],
    [['verify', '--entities', 'jocky'], 'Did you mean jockeys?'],
    [['verify', '--limit', '5'], "unknown option '--limit'"],
    [['verify', '--all'], "unknown option '--all'"],
    [['verify', 'jockeys'], 'arguments'],
    [['--rate', '1', 'verify'], "'--rate <n>' has to stand after"],
    [['--all', 'status'], "'--all' has to stand after"],
  ])('among %j that makes no sense is refused', (args, told) => {
    expectRefused(args, 'error: ', told);
  });
});

it.each([
  [[], { types: allTypes, sample: 200, rate: 2 }],
  [['--entities', 'owners', 'jockeys'], { types: ['jockeys', 'owners'], sample: 200, rate: 2 }],
  [['--sample', '50', '--rate', '5'], { types: allTypes, sample: 50, rate: 5 }],
])('verify has options of its own: %j', (args, options) => {
  expect(optionsOf(parse('verify', ...args))).toEqual({ command: 'verify', ...options });
});

it.each([
  [[], false],
  [['--json'], true],
])('status understands %j', (args, json) => {
  expect(parse('status', ...args)).toEqual({ command: 'status', options: { json } });
});

const program = createProgram(() => {});

describe('--help', () => {
  it.each([program, ...program.commands].map((command) => [command.name(), command.options] as const))(
    'of %s is no request and no error, and tells every option',
    (name, options) => {
      expect(parse(...(name === program.name() ? [] : [name]), '--help')).toBeUndefined();
      expect(printed).toContain('Usage: populate-all-statistics');
      for (const { flags } of options) expect(printed).toContain(`  ${flags} `);
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

  it.each([
    ...program.options.map(({ long, flags }) => (flags.includes('<') ? flags : `${long}`)),
    ...program.commands.map(
      (command) => `${command.name()} ${command.options.map(({ flags }) => `[${flags}]`).join(' ')}`,
    ),
  ])('explains %s', (option) => {
    expect(readme).toContain(`\`${option}\``);
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

  it.each([
    'RACING_API_USERNAME',
    'RACING_API_PASSWORD',
    'RACING_API_BASE_URL',
    'SUPABASE_URL',
    'SUPABASE_SERVICE_KEY',
    'NOTIFY_EMAIL_TO',
    'SMTP_URL',
    'NOTIFY_ON',
    'HEARTBEAT_URL',
  ])('and .env.example name %s', (variable) => {
    expect(readme).toContain(variable);
    expect(read('.env.example')).toContain(variable);
  });
});
