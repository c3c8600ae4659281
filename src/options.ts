import { Command, Help, Option } from '@commander-js/extra-typings';
import { CommanderError, InvalidArgumentError } from 'commander';
import packageJson from '../package.json' with { type: 'json' };
import { type EntityType, type EntityTypeName, entityTypes } from './entity-types.js';
import { exitCodeMeanings, exitCodes, FatalError } from './errors.js';
import { wrapped } from './format.js';

const program = 'populate-all-statistics';

/** What a person might type, and for what. */
const examples: [term: string, description: string][] = [
  ['populate-all-statistics --all', 'everything, in some 70 seconds'],
  ['populate-all-statistics --entities jockeys --limit 10', ''],
  ['populate-all-statistics --all --dry-run', 'shows what would be done'],
  ['populate-all-statistics --all --resume', 'goes on after an interruption'],
  ['populate-all-statistics --all --refresh -q', 'for cron, every five minutes'],
  ['populate-all-statistics verify --sample 50', 'compares stored rows with the API'],
  ['populate-all-statistics status --check', 'for a monitor: exit code 0 or 12'],
];

const variables: [term: string, description: string][] = [
  ['RACING_API_USERNAME, RACING_API_PASSWORD', 'the account at theracingapi.com'],
  ['SUPABASE_URL, SUPABASE_SERVICE_KEY', 'the project and its secret key'],
  ['RACING_API_BASE_URL', 'optional: another one than https://api.theracingapi.com/v1'],
  ['NOTIFY_EMAIL_TO, SMTP_URL', 'optional: mail at the end of a run,'],
  ['NOTIFY_WEBHOOK_URL', 'a line to a chat,'],
  ['NOTIFY_ON', 'both on failure (default) or always'],
  ['HEARTBEAT_URL', 'optional: a cron monitor'],
];

/** What follows the options in --help. */
function moreHelp(): string {
  const codes = Object.entries(exitCodeMeanings).map(([code, meaning]): [string, string] => [
    code.padStart(3),
    meaning,
  ]);
  return Object.entries({
    'Examples:': examples,
    'Environment, .env.local or .env (the first one that has it):': variables,
    'Exit codes:': codes,
  })
    .map(([heading, items]) => {
      const termWidth = Math.max(...items.map(([term, description]) => (description ? term.length : 0)));
      const lines = items.map(([term, description]) => helpItem(term, termWidth, description));
      return `\n${wrapped(heading, helpColumns())}\n${lines.join('\n')}`;
    })
    .join('\n');
}

/** Fewer columns are too few for a description. */
const leastDescription = 20;

/** A term and its description beside it; below it where the terminal is too narrow. */
function helpItem(term: string, termWidth: number, description: string): string {
  const left = 2 + termWidth + 2;
  const isBeside = helpColumns() - left >= leastDescription && term.length <= termWidth;
  const indent = ' '.repeat(isBeside ? left : 6);
  const told = description && wrapped(indent + description, helpColumns());
  if (isBeside) return `  ${term.padEnd(termWidth)}  ${told.slice(left)}`.trimEnd();
  return [wrapped(`  ${term}`, helpColumns()), told].filter(Boolean).join('\n');
}

const helpColumns = () => (process.stdout.isTTY && process.stdout.columns) || 80;

const allOption = () => new Option('--all', 'all three types').default(false).implies({ entities: entityTypes });
const entitiesOption = (standard: readonly EntityType[], standardName: string) =>
  new Option('--entities <types...>', 'only these types: jockeys, trainers, owners')
    .argParser(namedTypes)
    .default(standard, standardName);
const rateOption = () => new Option('--rate <n>', 'API requests a second').argParser(requestsPerSecond).default(2);
const verboseOption = () => new Option('-v, --verbose', 'a line for each request and each retry').default(false);
const logDirOption = () =>
  new Option('--log-dir <folder>', 'where checkpoints, reports and locks are').argParser(notBlank).default('logs');

const strategies = ['auto', 'walk', 'sweep'] as const;

/** The main command. `--all` implies all types, so that `entities` always says which. */
function populateCommand() {
  return new Command(program)
    .description('Fills the statistics of jockeys, trainers and owners in Supabase from The Racing API.')
    .addOption(allOption())
    .addOption(entitiesOption([], 'none'))
    .option('--limit <n>', 'at most n entities of each type', positiveInteger)
    .option('-n, --dry-run', 'show what would be done: asks the API nothing, writes no row', false)
    .option('--skip-existing', 'only entities without statistics', false)
    .addOption(
      new Option('--stale-after <duration>', 'only entities without statistics or with older ones: 12h, 7d')
        .argParser(duration)
        .conflicts('skipExisting'),
    )
    .addOption(
      new Option('--refresh', 'read the last three days again, write what differs; a full run where none was today')
        .default(false)
        .conflicts(['limit', 'skipExisting', 'staleAfter', 'resume']),
    )
    .option('--resume', 'leave out what the checkpoints hold; failed entities are tried again', false)
    .option('--clear-checkpoints', 'delete the checkpoints first', false)
    .addOption(
      new Option('--strategy <name>', 'walk: entity by entity; sweep: all results once; auto: the cheaper one')
        .argParser((given): (typeof strategies)[number] => nameOf(given, strategies))
        .default('auto' as const),
    )
    .addOption(rateOption())
    .option('--force', 'write what a witness contradicts; allow --rate above 5', false)
    .option('-q, --quiet', 'print nothing when all went well, everything on stderr otherwise', false)
    .addOption(verboseOption())
    .option('--json', 'print the report on stdout, all else on stderr', false)
    .option('--html', 'write the report as a web page too', false)
    .addOption(logDirOption())
    .version(packageJson.version)
    .addHelpText('after', moreHelp);
}

function verifyCommand() {
  return new Command('verify')
    .description('compare random stored rows with what their own results give; exit code 10 if they differ')
    .addOption(allOption())
    .addOption(entitiesOption(entityTypes, 'all'))
    .option('--limit, --sample <n>', 'how many entities to check', positiveInteger, 200)
    .addOption(rateOption())
    .addOption(verboseOption())
    .option('--json', 'print what is found on stdout, all else on stderr', false)
    .addOption(logDirOption());
}

function statusCommand() {
  return new Command('status')
    .description('what runs now, how the last runs ended, what to do next; reads local files only')
    .addOption(allOption())
    .addOption(entitiesOption(entityTypes, 'all'))
    .addOption(new Option('--check', 'one line for a monitor; exit code 12 unless all is well').default(false))
    .addOption(
      new Option('--max-age <duration>', 'how old the newest success may be: 26h, 7d')
        .argParser(duration)
        .default(duration('26h'), '26h')
        .implies({ check: true }),
    )
    .addOption(new Option('--json', 'for scripts').default(false).conflicts('check'))
    .addOption(logDirOption());
}

/** What a run was asked, as the command line has it. */
export type PopulateOptions = ReturnType<ReturnType<typeof populateCommand>['opts']>;
export type VerifyOptions = ReturnType<ReturnType<typeof verifyCommand>['opts']>;
export type StatusOptions = ReturnType<ReturnType<typeof statusCommand>['opts']>;

/** What the command line asks for. */
export type Request =
  | { command: 'populate'; options: PopulateOptions }
  | { command: 'verify'; options: VerifyOptions }
  | { command: 'status'; options: StatusOptions };

/** That a flag is off, or no type named, unless it is given goes without saying. */
function optionDescription(option: Option): string {
  const isSilent = option.isBoolean() || option.defaultValueDescription === 'none';
  return isSilent ? option.description : new Help().optionDescription(option);
}

/** The whole command line; `onRequest` gets what was asked for. */
export function createProgram(onRequest: (request: Request) => void) {
  const program = populateCommand();
  const verify = verifyCommand().action((options) => onRequest({ command: 'verify', options }));
  const status = statusCommand().action((options) => onRequest({ command: 'status', options }));
  program
    // So that --entities and --rate after `verify` are its own.
    .enablePositionalOptions()
    .helpCommand('help [command]', 'tell about a command')
    .action((options) => {
      if (options.refresh && options.strategy === 'walk')
        program.error('error: --refresh and --strategy walk exclude each other');
      if (options.entities.length === 0) program.error('error: say --all or --entities <types...>');
      onRequest({ command: 'populate', options });
    })
    .hook('preSubcommand', () => {
      const misplaced = program.options.find(
        (option) => program.getOptionValueSource(option.attributeName() as keyof PopulateOptions) === 'cli',
      );
      // Commander would drop it without a word.
      if (misplaced) program.error(`error: option '${misplaced.flags}' has to stand after the command's name`);
    })
    .hook('preAction', (_, command) => {
      const [stray] = command.args;
      if (stray !== undefined) refuseName(stray, command);
      const named = command.getOptionValueSource('entities') === 'cli';
      if (command.opts().all && named) program.error('error: --all and --entities exclude each other');
    })
    .addCommand(verify)
    .addCommand(status);
  const usageIndent = ' '.repeat('Usage: '.length);
  const commandUsage: Help['commandUsage'] = (command) =>
    wrapped(usageIndent + new Help().commandUsage(command), helpColumns()).trimStart();
  for (const command of [program, verify, status]) {
    command
      .allowExcessArguments()
      .exitOverride()
      .configureHelp({ optionDescription, commandUsage, formatItem: helpItem, minWidthToWrap: 1 })
      // Who asks for the request tells what is wrong with it.
      .configureOutput({ writeErr: () => {}, getOutHelpWidth: helpColumns });
  }
  return program;
}

const commandNames = ['verify', 'status', 'help'];

/** Commander would only count what stands where a command's name could. */
function refuseName(given: string, command: { error(message: string): never }): never {
  const type = meantBy(given, entityTypeNames);
  const meant = meantBy(given, commandNames) ?? (type && `--entities ${type}`);
  const advice = meant ? `Did you mean ${meant}?` : 'The commands are verify, status and help.';
  command.error(`error: unknown command '${given}'. ${advice}`);
}

/**
 * The request in the arguments; undefined when they only asked for help, which has then been printed.
 * @throws FatalError (usage) that says what is wrong
 */
export function parseCommandLine(argv: readonly string[]): Request | undefined {
  let request: Request | undefined;
  try {
    const program = createProgram((asked) => {
      request = asked;
    });
    // Before commander finds that the options behind it are no options of a run.
    const [first = '', second] = argv.slice(2);
    const name = first === 'help' ? second : first;
    if (name && !name.startsWith('-') && !commandNames.includes(name)) refuseName(name, program);
    program.parse(argv);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return undefined;
    // It is about a command that there is not.
    const what = error.code === 'commander.help' ? 'error: The commands are verify, status and help.' : error.message;
    const told = `${explained(what)}\nSee populate-all-statistics --help.`;
    throw new FatalError(exitCodes.usage, told, { cause: error });
  }
  return request;
}

/** Commander's message; of an option that is one all the same, of another command or without a value, it says so. */
function explained(message: string): string {
  const [, flag, value] = /^error: unknown option '(--?[\w-]+)(=?)/.exec(message) ?? [];
  if (flag === undefined) return message;
  const owner = [populateCommand(), verifyCommand(), statusCommand()].find(({ options }) =>
    options.some(({ long, short }) => long === flag || short === flag),
  );
  if (owner === undefined) return message;
  if (value) return `error: option '${flag}' takes no value`;
  const command = owner.name() === program ? program : `${program} ${owner.name()}`;
  return `${message}. It belongs to ${command === program ? 'a run' : owner.name()}: ${command} ${flag}`;
}

function positiveInteger(value: string): number {
  const count = /^\d+$/.test(value) ? Number(value) : 0;
  if (count < 1 || !Number.isSafeInteger(count)) throw new InvalidArgumentError('It must be a whole number from 1 up.');
  return count;
}

function notBlank(value: string): string {
  if (value.trim() === '') throw new InvalidArgumentError('It must name a folder.');
  return value;
}

const durationUnitsMs = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time such as 30m, 12h or 7d. */
function duration(value: string): { text: string; ms: number } {
  const [, count, unit] = /^(\d+)([mhd])$/.exec(value) ?? [];
  const ms = Number(count) * durationUnitsMs[unit as keyof typeof durationUnitsMs];
  if (!(ms > 0)) throw new InvalidArgumentError('It must be a whole number of m, h or d: 30m, 12h, 7d.');
  return { text: value, ms };
}

function requestsPerSecond(value: string): number {
  const rate = /^\d+(\.\d+)?$/.test(value) ? Number(value) : 0;
  // 0.1 is a request in ten seconds; 1000 is the budget's resolution.
  if (rate < 0.1 || rate > 1000) throw new InvalidArgumentError('It must be a number from 0.1 to 1000.');
  return rate;
}

const entityTypeNames = entityTypes.map(({ name }) => name);

/** Adds the named types, one or several with commas, to those named before, in their own order. */
function namedTypes(value: string, previous: readonly EntityType[]): readonly EntityType[] {
  const parts = value.split(',').filter((part) => part.trim() !== '');
  const named = new Set<EntityTypeName>(parts.map((part) => nameOf(part.trim(), entityTypeNames)));
  // The default does not count as named.
  return entityTypes.filter((one) => named.has(one.name) || (previous !== entityTypes && previous.includes(one)));
}

function nameOf<Name extends string>(given: string, names: readonly Name[]): Name {
  const found = names.find((name) => name === given);
  if (found !== undefined) return found;
  const meant = meantBy(given, names);
  throw new InvalidArgumentError(meant ? `Did you mean ${meant}?` : `There are ${names.join(', ')}.`);
}

/** The name from which what is given has the fewest letters amiss, at most half of them. */
function meantBy<Name extends string>(given: string, names: readonly Name[]): Name | undefined {
  const word = given.toLowerCase();
  for (const edits of [0, 1, 2, 3]) {
    const meant = names.find((name) => edits <= name.length / 2 && areAlike(edits, word, name));
    if (meant !== undefined) return meant;
  }
  return undefined;
}

/** Whether so many letters, left out, added or changed, make one word of the other. */
function areAlike(edits: number, one: string, other: string): boolean {
  if (one === other) return true;
  const [restOfOne, restOfOther] = [one.slice(1), other.slice(1)];
  if (one[0] === other[0]) return areAlike(edits, restOfOne, restOfOther);
  const ways = [
    [restOfOne, other],
    [one, restOfOther],
    [restOfOne, restOfOther],
  ] as const;
  return edits > 0 && ways.some((rests) => areAlike(edits - 1, ...rests));
}
