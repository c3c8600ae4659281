import { Command, Option } from '@commander-js/extra-typings';
import { CommanderError, Help, InvalidArgumentError } from 'commander';
import packageJson from '../package.json' with { type: 'json' };
import { type EntityType, entityTypes } from './entity-types.js';
import { exitCodeMeanings, exitCodes, FatalError } from './errors.js';

const examples = `
Examples:
  populate-all-statistics --all                        everything, about a minute and a half
  populate-all-statistics --entities jockeys --limit 10
  populate-all-statistics --all --dry-run              what would be done; asks the API nothing
  populate-all-statistics --all --resume               go on after an interruption
  populate-all-statistics --all --stale-after 12h --quiet     for cron
  populate-all-statistics verify --sample 50           compare stored rows with the API
  populate-all-statistics status                       what runs, what was done

Exit codes:
${Object.entries(exitCodeMeanings)
  .map(([code, meaning]) => `${code.padStart(5)}  ${meaning}`)
  .join('\n')}`;

const entitiesOption = (standard: readonly EntityType[], standardName: string) =>
  new Option('--entities <types...>', 'only these types: jockeys, trainers, owners')
    .argParser(entityTypeNames)
    .default(standard, standardName);
const rateOption = () => new Option('--rate <n>', 'API requests a second').argParser(requestsPerSecond).default(2);

/** The main command. `--all` implies all types, so that `entities` always says which. */
function populateCommand() {
  return new Command('populate-all-statistics')
    .description('Fills the statistics of jockeys, trainers and owners in Supabase from The Racing API.')
    .addOption(new Option('--all', 'all three types').default(false).implies({ entities: entityTypes }))
    .addOption(entitiesOption([], 'none'))
    .option('--limit <n>', 'at most n entities of each type', positiveInteger)
    .option('--dry-run', 'show what would be done: asks the API nothing, writes no row', false)
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
        .choices(['auto', 'walk', 'sweep'] as const)
        .default('auto' as const),
    )
    .addOption(rateOption())
    .option('--force', 'write what a witness contradicts; allow --rate above 5', false)
    .option('--quiet', 'print nothing when all went well, everything on stderr otherwise', false)
    .option('--html', 'write the report as a web page too', false)
    .version(packageJson.version)
    .addHelpText('after', examples);
}

function verifyCommand() {
  return new Command('verify')
    .description('compare random stored rows with what their own results give; exit code 10 if they differ')
    .addOption(entitiesOption(entityTypes, 'all'))
    .option('--sample <n>', 'how many entities to check', positiveInteger, 200)
    .addOption(rateOption());
}

/** What a run was asked, as the command line has it. */
export type PopulateOptions = ReturnType<ReturnType<typeof populateCommand>['opts']>;
export type VerifyOptions = ReturnType<ReturnType<typeof verifyCommand>['opts']>;

/** What the command line asks for. */
export type Request =
  | { command: 'populate'; options: PopulateOptions }
  | { command: 'verify'; options: VerifyOptions }
  | { command: 'status'; options: { json: boolean } };

/** The whole command line; `onRequest` gets what was asked for. */
export function createProgram(onRequest: (request: Request) => void) {
  const program = populateCommand()
    // So that --entities and --rate after `verify` are its own.
    .enablePositionalOptions()
    .action((options) => {
      const named = program.getOptionValueSource('entities') === 'cli';
      if (options.all && named) program.error('error: --all and --entities exclude each other');
      if (options.refresh && options.strategy === 'walk')
        program.error('error: --refresh and --strategy walk exclude each other');
      if (options.entities.length === 0) program.error('error: say --all or --entities <types...>');
      onRequest({ command: 'populate', options });
    });
  program.hook('preSubcommand', () => {
    const misplaced = program.options.find(
      (option) => program.getOptionValueSource(option.attributeName() as keyof PopulateOptions) === 'cli',
    );
    // Commander would drop it without a word.
    if (misplaced) program.error(`error: option '${misplaced.flags}' has to stand after the command's name`);
  });
  program.addCommand(verifyCommand().action((options) => onRequest({ command: 'verify', options })));
  program
    .command('status')
    .description('what runs now, when each type was last completed, what --resume would do')
    .option('--json', 'for scripts', false)
    .action((options) => onRequest({ command: 'status', options }));
  // That a flag is off unless it is given goes without saying.
  const optionDescription: Help['optionDescription'] = (option) =>
    option.isBoolean() ? option.description : new Help().optionDescription(option);
  for (const command of [program, ...program.commands]) command.exitOverride().configureHelp({ optionDescription });
  return program;
}

/**
 * The request in the arguments; undefined when they only asked for help, which has then been printed.
 * @throws FatalError (usage), its problem already printed
 */
export function parseCommandLine(argv: readonly string[]): Request | undefined {
  let request: Request | undefined;
  try {
    createProgram((asked) => {
      request = asked;
    }).parse(argv);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return undefined;
    throw new FatalError(exitCodes.usage, '', { cause: error });
  }
  return request;
}

function positiveInteger(value: string): number {
  const count = /^\d+$/.test(value) ? Number(value) : 0;
  if (count < 1 || !Number.isSafeInteger(count)) throw new InvalidArgumentError('It must be a whole number from 1 up.');
  return count;
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

/** Adds a named type to those named before, in their own order. The default does not count as named. */
function entityTypeNames(value: string, previous: readonly EntityType[]): readonly EntityType[] {
  const type = entityTypes.find(({ name }) => name === value);
  if (type === undefined) {
    const meant = entityTypes.find(({ name }) => name[0] === value[0]?.toLowerCase());
    const names = entityTypes.map(({ name }) => name).join(', ');
    throw new InvalidArgumentError(meant ? `Did you mean ${meant.name}?` : `The types are ${names}.`);
  }
  const named = new Set(previous === entityTypes ? [type] : [...previous, type]);
  return entityTypes.filter((one) => named.has(one));
}
