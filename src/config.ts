import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'dotenv';
import * as z from 'zod';
import { errorCode, exitCodes, FatalError } from './errors.js';

/** In order of precedence, after the real variables. */
const envFiles = ['.env.local', '.env'];

/** Our variables with other names by which people know them, taken where ours is not set; of several the last. */
const otherNames: [ours: string, other: string][] = [
  ['SUPABASE_SERVICE_KEY', 'SUPABASE_KEY'],
  ['SUPABASE_SERVICE_KEY', 'SUPABASE_SECRET_KEY'],
  ['SUPABASE_SERVICE_KEY', 'SUPABASE_SERVICE_ROLE_KEY'],
  ['SUPABASE_URL', 'VITE_SUPABASE_URL'],
  ['SUPABASE_URL', 'NEXT_PUBLIC_SUPABASE_URL'],
  ['RACING_API_USERNAME', 'RACING_API_USER'],
];

const missing = 'is missing';

const text = z
  .string(missing)
  .trim()
  // A header or a URL would carry a control character to a wrong place or fail far from its cause.
  .refine((value) => !/\p{Cc}/u.test(value), { error: 'contains a line break or a control character', abort: true });

const url = text.refine((value) => urlProblem(value) === undefined, {
  error: ({ input }) => urlProblem(String(input)),
});

function urlProblem(value: string): string | undefined {
  const { protocol, username, password, hostname } = URL.canParse(value) ? new URL(value) : {};
  if (protocol !== 'https:' && protocol !== 'http:') return 'is not a URL that begins with https://';
  if (username || password) return 'may not hold credentials: only https://host/path';
  if (protocol === 'https:' || isLoopback(hostname ?? '')) return undefined;
  return 'uses plain http, which would send the credentials unencrypted: use https://';
}

/** Whether a URL's host name means this machine, to which even secrets may go unencrypted. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

const serviceUrl = url
  .refine((value) => !/[?#]/.test(value), 'may not hold a query or a fragment: only https://host/path')
  .transform((value) => value.replace(/\/+$/, ''));

/** Supabase's key formats: https://supabase.com/docs/guides/api/api-keys */
function isServiceKey(key: string): boolean {
  if (key.startsWith('sb_publishable_')) return false;
  const claims = key.split('.')[1] ?? '';
  try {
    const { role } = JSON.parse(Buffer.from(claims, 'base64url').toString());
    return role !== 'anon' && role !== 'authenticated';
  } catch {
    return true;
  }
}

const configSchema = z
  .object({
    RACING_API_USERNAME: text.regex(/^[^:]*$/, 'contains a colon, which HTTP Basic authentication cannot send'),
    RACING_API_PASSWORD: text,
    RACING_API_BASE_URL: serviceUrl.default('https://api.theracingapi.com/v1'),
    SUPABASE_URL: serviceUrl.refine(
      (value) => !value.endsWith('/rest/v1'),
      'is the URL of the Data API: leave out /rest/v1',
    ),
    SUPABASE_SERVICE_KEY: text.refine(
      isServiceKey,
      'is a publishable (anon) key, which may not write: use the secret (service_role) key',
    ),
    /** Addresses, separated by commas. */
    NOTIFY_EMAIL_TO: text.optional(),
    /** User and password are percent-encoded. */
    SMTP_URL: text.regex(/^smtps?:\/\/[^/]/, 'is not a URL that begins with smtp:// or smtps://').optional(),
    NOTIFY_ON: text.pipe(z.enum(['failure', 'always'], 'is neither failure nor always')).default('failure'),
    /** Its path is a secret: whoever knows it can write into the chat. */
    NOTIFY_WEBHOOK_URL: url.optional(),
    /** Its path is a secret: whoever knows it can report runs. */
    HEARTBEAT_URL: url.optional(),
  })
  .refine((found) => (found.NOTIFY_EMAIL_TO === undefined) === (found.SMTP_URL === undefined), {
    error: 'NOTIFY_EMAIL_TO and SMTP_URL go together: set both or none',
    when: () => true,
  })
  .transform(({ NOTIFY_EMAIL_TO: to, SMTP_URL: smtpUrl, NOTIFY_ON: on, ...found }) => ({
    racingApi: {
      baseUrl: found.RACING_API_BASE_URL,
      username: found.RACING_API_USERNAME,
      password: found.RACING_API_PASSWORD,
    },
    supabase: { url: found.SUPABASE_URL, serviceKey: found.SUPABASE_SERVICE_KEY },
    notifications: {
      on,
      email: to !== undefined && smtpUrl !== undefined ? { to, smtpUrl } : null,
      webhookUrl: found.NOTIFY_WEBHOOK_URL ?? null,
      heartbeatUrl: found.HEARTBEAT_URL ?? null,
    },
  }));

/** The two services and their credentials, checked, and who is told of a run's end. URLs have no trailing slash. */
export type Config = z.infer<typeof configSchema>;
export type NotificationConfig = Config['notifications'];

/** What is wrong with so many requests a second; '' if nothing is. */
function problemOfRate(rate: number, force: boolean, baseUrl: string): string {
  const isOurs = URL.canParse(baseUrl) && isLoopback(new URL(baseUrl).hostname);
  if (isOurs || rate <= 5 || (force && rate <= 10)) return '';
  const told =
    rate > 10
      ? 'the API bans addresses that send more than 100 requests in ten seconds. Use 5 or less.'
      : 'the API documents at most 5 requests a second. --force passes, up to 10.';
  return `--rate ${rate} is too much: ${told}`;
}

/** Undefined if there is no such file. */
function readEnvFile(path: string): NodeJS.ProcessEnv | undefined {
  try {
    return parse(readFileSync(path));
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    const reason = error instanceof Error ? error.message : String(error);
    throw new FatalError(exitCodes.usage, `${path} cannot be read: ${reason}. Make it readable or remove it.`);
  }
}

/**
 * The configuration from the real variables, then .env.local, then .env of `directory`; a blank one is not set.
 * @throws FatalError (usage) that names every problem and the files that were read, and a rate (requests a second)
 * for which the API bans addresses.
 */
export function loadConfig(directory: string, variables: NodeJS.ProcessEnv, rate: number, force = false): Config {
  const files = envFiles.map((name) => ({ name, content: readEnvFile(join(directory, name)) }));
  const all = Object.assign({}, ...files.toReversed().map(({ content }) => content), variables);
  const given = new Map(Object.entries<string>(all).filter(([, value]) => value?.trim()));
  const usedNames = new Map(otherNames.filter(([ours, other]) => given.has(other) && !given.has(ours)));
  for (const [ours, other] of usedNames) given.set(ours, given.get(other) ?? '');
  const parsed = configSchema.safeParse(Object.fromEntries(given));
  const rateProblem = problemOfRate(rate, force, given.get('RACING_API_BASE_URL') ?? '');
  if (parsed.success && rateProblem === '') return parsed.data;
  if (parsed.success) throw new FatalError(exitCodes.usage, rateProblem);
  const problems = parsed.error.issues.map(({ path: [name = ''], message }) => {
    const used = usedNames.get(String(name)) ?? String(name);
    const isOfFile = message !== missing && variables[used] === undefined;
    const file = isOfFile ? files.find(({ content }) => content?.[used] !== undefined) : undefined;
    return `  ${used}${file ? ` of ${file.name}` : ''} ${message}`.replace(/^ +/, '  ');
  });
  const isIncomplete = parsed.error.issues.every(({ message }) => message === missing);
  const read = files.flatMap(({ name, content }) => (content ? `, ${name}` : []));
  const absent = files.flatMap(({ name, content }) => (content ? [] : `no ${name}`));
  const none = absent.length > 0 ? ` (${absent.join(', ')})` : '';
  const example = existsSync(join(directory, '.env.example')) ? 'copy .env.example to .env' : 'make a file .env there';
  const there = read.includes(', .env') ? 'in .env' : example;
  throw new FatalError(
    exitCodes.usage,
    `${rateProblem && `${rateProblem}\n`}The configuration ${isIncomplete ? 'is not complete' : 'cannot be used'}:\n${problems.join('\n')}\n` +
      `Read: the environment${read.join('')}${none} in ${directory}.\n` +
      `${isIncomplete ? 'Set' : 'Correct'} them in the environment, or ${there}, with a line NAME=value for each.`,
  );
}
