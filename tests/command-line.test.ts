import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import packageJson from '../package.json' with { type: 'json' };
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

/** Refused in the error alone, which whoever has asked tells. */
function expectRefused(args: string[], ...told: string[]): void {
  for (const text of [...told, '\nSee populate-all-statistics --help.']) {
    const message = expect.stringContaining(text);
    expect(() => parse(...args)).toThrow(expect.objectContaining({ exitCode: exitCodes.usage, message }));
    expect(() => parse(...args)).not.toThrow(/undefined/);
  }
  expect(printed).toBe('');
}

const [jockeys, trainers, owners] = entityTypes;
const defaults = {
  entities: entityTypes,
  dryRun: false,
  skipExisting: false,
  resume: false,
  refresh: false,
  clearCheckpoints: false,
  strategy: 'auto',
  rate: 2,
  force: false,
  quiet: false,
  verbose: false,
  json: false,
  html: false,
  logDir: 'logs',
};

describe('an option', () => {
  it.each<[string[], object]>([
    [['--all'], {}],
    [['--entities', 'owners'], { entities: [owners] }],
    [['--entities', 'owners', 'jockeys'], { entities: [jockeys, owners] }],
    [['--entities', 'owners', 'owners', 'trainers', 'owners'], { entities: [trainers, owners] }],
    [['--entities', 'owners', '--entities', 'trainers'], { entities: [trainers, owners] }],
    [['--entities', 'owners,trainers', 'jockeys'], { entities: [jockeys, trainers, owners] }],
    [['--entities=owners, trainers'], { entities: [trainers, owners] }],
    [['--entities', 'owners,', 'trainers'], { entities: [trainers, owners] }],
    [['--all', '--refresh'], { refresh: true }],
    [['--all', '-n', '-q', '-v'], { dryRun: true, quiet: true, verbose: true }],
    [['--all', '--json', '--log-dir', '/var/log/racing'], { json: true, logDir: '/var/log/racing' }],
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
    [['--entities', 'ockeys'], 'Did you mean jockeys?'],
    [['--entities', 'OWNERS'], 'Did you mean owners?'],
    [['--entities', 'jockeys', 'Owner'], 'Did you mean owners?'],
    [['--entities', ','], 'say --all or --entities'],
    [['--all', '--log-dir', ' '], "'--log-dir <folder>' argument ' ' is invalid. It must name a folder."],
    [['--check'], "unknown option '--check'. It belongs to status: populate-all-statistics status --check"],
    [['status', '-q'], "unknown option '-q'. It belongs to a run: populate-all-statistics -q"],
    [['--all=yes'], "option '--all' takes no value"],
    [['verify', '--json=true'], "option '--json' takes no value"],
    [['--all', '--sample', '9'], "'--sample'. It belongs to verify: populate-all-statistics verify --sample"],
    [['--entities', 'horses'], 'There are jockeys, trainers, owners.'],
    [['--dry-run'], 'say --all or --entities <types...>\nSee'],
    [['--all', '--entities', 'owners'], 'exclude each other'],
    [['--all', '--limit'], 'argument missing'],
    [['--all', '--limt', '3'], 'Did you mean --limit?'],
    [['--all', '--skip-existing', '--stale-after', '7d'], 'cannot be used with'],
    [['--all', '--refresh', '--strategy', 'walk'], 'exclude each other'],
    ...[['--limit', '3'], ['--skip-existing'], ['--stale-after', '7d'], ['--resume']].map(
      (other): [string[], string] => [['--all', '--refresh', ...other], 'cannot be used with'],
    ),
    [['--all', '--strategy', 'run'], 'There are auto, walk, sweep.'],
    [['--strategy', 'wlk'], 'Did you mean walk?'],
    [['--strategy', 'Sweap'], 'Did you mean sweep?'],
    [[], 'say --all or --entities'],
    [['stauts'], "unknown command 'stauts'. Did you mean status?"],
    [['jockeys'], 'Did you mean --entities jockeys?'],
    [['--all', 'jockeys'], 'Did you mean --entities jockeys?'],
    [['populate'], 'The commands are verify, status and help.'],
    [['verfy', '--sample', '5'], "unknown command 'verfy'. Did you mean verify?"],
    [['--all', 'verfy'], 'Did you mean verify?'],
    [['tatus', '--check'], 'Did you mean status?'],
    [['help', 'stauts'], 'Did you mean status?'],
    [['help', 'populate'], 'The commands are verify, status and help.'],
    [['--all', 'help', 'stauts'], 'The commands are verify, status and help.'],
    [['verify', '--sample', '0'], 'a whole number from 1'],
    [['verify', '--rate', '0'], 'a number from 0.1'],
    [['verify', '--entities', 'jocky'], 'Did you mean jockeys?'],
    [['verify', '--smaple', '5'], 'Did you mean --sample?'],
    [['verify', 'jockeys'], 'Did you mean --entities jockeys?'],
    [['verify', '--all', '--entities', 'owners'], 'exclude each other'],
    [['status', '--json', '--check'], 'cannot be used with'],
    [['status', '--json', '--max-age', '2h'], 'cannot be used with'],
    [['status', '--max-age', 'day'], '30m, 12h, 7d'],
    [['--rate', '1', 'verify'], "'--rate <n>' has to stand after"],
    [['--all', 'status'], "'--all' has to stand after"],
  ])('among %j that makes no sense is refused', (args, told) => {
    expectRefused(args, 'error: ', told);
  });
});

it.each([
  [[], {}],
  [['--all'], { all: true }],
  [['--limit', '7', '-v', '--json'], { sample: 7, verbose: true, json: true }],
  [
    ['--entities', 'owners', 'jockeys', '--sample', '50', '--rate', '5', '--log-dir', 'other'],
    { entities: [jockeys, owners], sample: 50, rate: 5, logDir: 'other' },
  ],
])('verify has options of its own: %j', (args, changed) => {
  const plain = { verbose: false, json: false, logDir: 'logs' };
  const usual = { all: false, entities: entityTypes, sample: 200, rate: 2, ...plain };
  expect(parse('verify', ...args)).toEqual({ command: 'verify', options: { ...usual, ...changed } });
});

it.each([
  [[], {}],
  [['--json'], { json: true }],
  [['--all', '--check'], { all: true, check: true }],
  [
    ['--entities', 'owners', '--max-age', '2h', '--log-dir', 'other'],
    { entities: [owners], check: true, maxAge: { text: '2h', ms: 7_200_000 }, logDir: 'other' },
  ],
])('status has options of its own: %j', (args, changed) => {
  const maxAge = { text: '26h', ms: 93_600_000 };
  const usual = { all: false, entities: entityTypes, check: false, maxAge, json: false, logDir: 'logs' };
  expect(parse('status', ...args)).toEqual({ command: 'status', options: { ...usual, ...changed } });
});

it('--version is no request, and is that of the package', () => {
  expect(parse('--version')).toBeUndefined();
  expect(printed).toBe(`${packageJson.version}\n`);
});

const program = createProgram(() => {});

describe('--help', () => {
  // Commander's help ends with the code that is there, and a PGlite of this process leaves one at each error.
  beforeEach(() => {
    process.exitCode = undefined;
  });

  it.each([program, ...program.commands].map((command) => [command.name(), command.options] as const))(
    'of %s is no request and no error, and tells every option, and the default of those that have a value',
    (name, options) => {
      expect(parse(...(name === program.name() ? [] : [name]), '--help')).toBeUndefined();
      expect(printed).toContain('Usage: populate-all-statistics');
      for (const { flags } of options) expect(printed).toContain(`  ${flags} `);
      const isTold = ({ defaultValue, defaultValueDescription }: (typeof options)[number]) =>
        defaultValue !== undefined && defaultValueDescription !== 'none';
      const valued = options.filter((option) => isTold(option) && !option.isBoolean());
      expect(printed.match(/default:\s/g) ?? []).toHaveLength(valued.length);
    },
  );

  it.each([[['help']], [['help', 'status']]])('is what %j tells too', (args) => {
    expect(parse(...args)).toBeUndefined();
    expect(printed).toContain(`Usage: populate-all-statistics ${args[1] ?? '[options]'}`);
  });

  it.each([100, 80, 50, 30, 0])('is no wider than a terminal of %i columns, and breaks no word', (columns) => {
    const { isTTY, columns: before } = process.stdout;
    onTestFinished(() => void Object.assign(process.stdout, { isTTY, columns: before }));
    const helpIn = (size: number, ...args: string[]) => {
      Object.assign(process.stdout, { isTTY: true, columns: size });
      printed = '';
      parse(...args, '--help');
      return printed;
    };
    for (const name of [[], ['verify'], ['status']]) {
      const help = helpIn(columns, ...name);
      expect(Math.max(...help.split('\n').map((line) => line.length))).toBeLessThanOrEqual(columns || 80);
      // A URL, which is wider than the narrowest, breaks at its joints.
      const words = (text: string) => text.replaceAll(/(https:\/\/)\s+/g, '$1').split(/\s+/);
      expect(words(help)).toEqual(words(helpIn(500, ...name)));
    }
  });

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
    for (const { flags } of program.options) expect(readme).toMatch(new RegExp(`^\\| .*\`${flags}\``, 'm'));
    for (const command of program.commands) {
      const row = new RegExp(`^\\| \`${command.name()} .*$`, 'm').exec(readme)?.[0];
      for (const { flags } of command.options) expect(row).toContain(flags);
    }
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
    expect(variables).toHaveLength(10);
    parse('--help');
    for (const variable of variables) {
      expect(printed).toMatch(new RegExp(`\\b${variable}\\b`));
      expect(readme).toContain(variable);
      expect(read('.env.example')).toContain(`${variable}=`);
    }
  });
});
