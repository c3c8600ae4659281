import { Command, CommanderError, Option } from 'commander';
import { type EntityType, entityTypes } from './entity-types.js';
import { exitCodeMeanings, exitCodes, FatalError } from './errors.js';
import { duration, entityTypeNames, positiveInteger, requestsPerSecond } from './option-values.js';
import type { Strategy } from './plan.js';
import type { RunOptions } from './run.js';
import type { VerificationOptions } from './verification.js';

/** What the command line asks for. */
export type Request =
  | { command: 'populate'; options: PopulateOptions }
  | { command: 'verify'; options: VerificationOptions & { requestsPerSecond: number } }
  | { command: 'status'; options: { json: boolean } };

export interface PopulateOptions extends RunOptions {
  /** Print nothing when all went well. */
  quiet: boolean;
  /** Write the report as a page too. */
  html: boolean;
}

const defaultRate = 2;
const defaultSample = 200;

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

const entitiesOption = () =>
  new Option('--entities <types...>', 'only these types: jockeys, trainers, owners').argParser(
    entityTypeNames,
  );
const rateOption = () =>
  new Option('--rate <n>', 'API requests a second').argParser(requestsPerSecond).default(defaultRate);

interface PopulateFlags {
  all?: boolean;
  entities?: EntityType[];
  limit?: number;
  dryRun?: boolean;
  skipExisting?: boolean;
  staleAfter?: RunOptions['staleAfter'];
  resume?: boolean;
  clearCheckpoints?: boolean;
  strategy: Strategy | 'auto';
  rate: number;
  force?: boolean;
  quiet?: boolean;
  html?: boolean;
}

/** Declares every option once; `onRequest` gets what was asked for. */
export function createProgram(onRequest: (request: Request) => void): Command {
  const program = new Command('populate-all-statistics')
    // So that --entities and --rate after `verify` are its own.
    .enablePositionalOptions()
    .description('Fills the statistics of jockeys, trainers and owners in Supabase from The Racing API.')
    .option('--all', 'all three types')
    .addOption(entitiesOption())
    .option('--limit <n>', 'at most n entities of each type', positiveInteger)
    .option('--dry-run', 'show what would be done: asks the API nothing, writes no row')
    .option('--skip-existing', 'only entities without statistics')
    .addOption(
      new Option('--stale-after <duration>', 'only entities without statistics or with older ones: 12h, 7d')
        .argParser(duration)
        .conflicts('skipExisting'),
    )
    .option('--resume', 'leave out what the checkpoints hold; failed entities are tried again')
    .option('--clear-checkpoints', 'delete the checkpoints first')
    .addOption(
      new Option(
        '--strategy <name>',
        'walk: entity by entity; sweep: all results once; auto: the cheaper one',
      )
        .choices(['auto', 'walk', 'sweep'])
        .default('auto'),
    )
    .addOption(rateOption())
    .option('--force', "write even if the sweep's safety brake says no")
    .option('--quiet', 'print nothing when all went well, everything on stderr otherwise')
    .option('--html', 'write the report as a web page too')
    .addHelpText('after', examples)
    .action((flags: PopulateFlags) =>
      onRequest({ command: 'populate', options: populateOptions(program, flags) }),
    );
  program.hook('preSubcommand', () => {
    const misplaced = program.options.filter((option) => {
      return program.getOptionValueSource(option.attributeName()) === 'cli';
    });
    // Commander would drop them without a word.
    if (misplaced[0])
      program.error(`error: option '${misplaced[0].flags}' has to stand after the command's name`);
  });
  addVerify(program, onRequest);
  addStatus(program, onRequest);
  return program;
}

function addVerify(program: Command, onRequest: (request: Request) => void): void {
  program
    .command('verify')
    .description('compare random stored rows with what their own results give; exit code 10 if they differ')
    .addOption(entitiesOption())
    .option('--sample <n>', 'how many entities to check', positiveInteger, defaultSample)
    .addOption(rateOption())
    .action((flags: { entities?: EntityType[]; sample: number; rate: number }) => {
      const { entities: types = entityTypes, sample, rate } = flags;
      onRequest({ command: 'verify', options: { types, sample, requestsPerSecond: rate } });
    });
}

function addStatus(program: Command, onRequest: (request: Request) => void): void {
  program
    .command('status')
    .description('what runs now, when each type was last completed, what --resume would do')
    .option('--json', 'for scripts')
    .action((flags: { json?: boolean }) => {
      onRequest({ command: 'status', options: { json: flags.json ?? false } });
    });
}

function populateOptions(program: Command, flags: PopulateFlags): PopulateOptions {
  if (!flags.all && !flags.entities) program.error('error: say --all or --entities <types...>');
  if (flags.all && flags.entities) program.error('error: --all and --entities exclude each other');
  return {
    types: flags.entities ?? entityTypes,
    limit: flags.limit ?? null,
    dryRun: flags.dryRun ?? false,
    skipExisting: flags.skipExisting ?? false,
    staleAfter: flags.staleAfter ?? null,
    resume: flags.resume ?? false,
    clearCheckpoints: flags.clearCheckpoints ?? false,
    strategy: flags.strategy,
    requestsPerSecond: flags.rate,
    force: flags.force ?? false,
    quiet: flags.quiet ?? false,
    html: flags.html ?? false,
  };
}

/**
 * The request in the arguments; undefined when they only asked for help, which has then been printed.
 * @throws FatalError (usage), its problem already printed
 */
export function parseCommandLine(argv: readonly string[]): Request | undefined {
  let request: Request | undefined;
  const program = createProgram((asked) => {
    request = asked;
  });
  for (const command of [program, ...program.commands]) command.exitOverride();
  try {
    program.parse(argv);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return undefined;
    throw new FatalError(exitCodes.usage, '', { cause: error });
  }
  return request;
}
