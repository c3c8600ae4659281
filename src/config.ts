import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'dotenv';
import { errorCode, exitCodes, FatalError } from './errors.js';

/** The two services and their credentials, checked. URLs have no trailing slash. */
export interface Config {
  racingApi: { baseUrl: string; username: string; password: string };
  supabase: { url: string; serviceKey: string };
  notifications: NotificationConfig;
}

/** Who is told of a run's end; null for nobody. */
export interface NotificationConfig {
  /** `to`: addresses separated by commas; `smtpUrl`: smtp:// or smtps://, user and password percent-encoded. */
  email: { to: string; smtpUrl: string; on: 'failure' | 'always' } | null;
  /** Its path is a secret: whoever knows it can report runs. */
  heartbeatUrl: string | null;
}

type Environment = Record<string, string | undefined>;

/** In order of precedence, after the real variables. */
const envFiles = ['.env.local', '.env'];
const defaultBaseUrl = 'https://api.theracingapi.com/v1';

/** Reads the environment once and reports all of its problems together. */
class EnvironmentCheck {
  readonly problems: string[] = [];
  private readonly environment: Environment;

  constructor(environment: Environment) {
    this.environment = environment;
  }

  required(name: string): string {
    const value = this.environment[name]?.trim() ?? '';
    if (value === '') this.problems.push(`${name} is missing`);
    // A header or a URL would carry a control character to a wrong place or fail far from its cause.
    else if (/\p{Cc}/u.test(value))
      this.problems.push(`${name} contains a line break or a control character`);
    return value;
  }

  /** Undefined for a variable that is not set or blank. */
  optional(name: string): string | undefined {
    return this.environment[name]?.trim() ? this.required(name) : undefined;
  }

  /** The URL of a service, without a trailing slash. */
  serviceUrl(name: string, fallback?: string): string {
    const value = this.url(name, this.optional(name) ?? fallback ?? this.required(name));
    if (/[?#]/.test(value))
      this.problems.push(`${name} may not hold a query or a fragment: only https://host/path`);
    return value.replace(/\/+$/, '');
  }

  url(name: string, value: string): string {
    if (value === '') return value;
    const url = URL.canParse(value) ? new URL(value) : undefined;
    if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
      this.problems.push(`${name} is not a URL that begins with https://`);
    } else if (url.username || url.password) {
      this.problems.push(`${name} may not hold credentials: only https://host/path`);
    } else if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
      this.problems.push(
        `${name} uses plain http, which would send the credentials unencrypted: use https://`,
      );
    }
    return value;
  }
}

/** Both notifications are off unless their variables are set. */
function notificationConfig(check: EnvironmentCheck): NotificationConfig {
  const to = check.optional('NOTIFY_EMAIL_TO');
  const smtpUrl = check.optional('SMTP_URL');
  const on = check.optional('NOTIFY_ON') ?? 'failure';
  const heartbeatUrl = check.url('HEARTBEAT_URL', check.optional('HEARTBEAT_URL') ?? '') || null;
  if ((to === undefined) !== (smtpUrl === undefined)) {
    check.problems.push('NOTIFY_EMAIL_TO and SMTP_URL go together: set both or none');
  }
  if (smtpUrl !== undefined && !/^smtps?:\/\/[^/]/.test(smtpUrl)) {
    check.problems.push('SMTP_URL is not a URL that begins with smtp:// or smtps://');
  }
  if (on !== 'failure' && on !== 'always') check.problems.push('NOTIFY_ON is neither failure nor always');
  if (to === undefined || smtpUrl === undefined) return { email: null, heartbeatUrl };
  return { email: { to, smtpUrl, on: on === 'always' ? 'always' : 'failure' }, heartbeatUrl };
}

/** Supabase's key formats: https://supabase.com/docs/guides/api/api-keys */
function isServiceKey(key: string): boolean {
  if (key.startsWith('sb_publishable_')) return false;
  const claims = key.split('.')[1];
  if (claims === undefined) return true;
  try {
    const { role } = JSON.parse(Buffer.from(claims, 'base64url').toString());
    return role !== 'anon' && role !== 'authenticated';
  } catch {
    return true;
  }
}

function readEnvFile(path: string): Environment {
  try {
    return parse(readFileSync(path));
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return {};
    const reason = error instanceof Error ? error.message : String(error);
    throw new FatalError(
      exitCodes.usage,
      `${path} cannot be read: ${reason}. Make it readable or remove it.`,
    );
  }
}

/**
 * The configuration from the real variables, then .env.local, then .env of `directory`.
 * @throws FatalError (usage) that names every problem and the files that were looked for.
 */
export function loadConfig(directory: string, variables: Environment): Config {
  const [local, shared] = envFiles.map((file) => readEnvFile(join(directory, file)));
  const check = new EnvironmentCheck({ ...shared, ...local, ...variables });
  const config: Config = {
    racingApi: {
      username: check.required('RACING_API_USERNAME'),
      password: check.required('RACING_API_PASSWORD'),
      baseUrl: check.serviceUrl('RACING_API_BASE_URL', defaultBaseUrl),
    },
    supabase: { url: check.serviceUrl('SUPABASE_URL'), serviceKey: check.required('SUPABASE_SERVICE_KEY') },
    notifications: notificationConfig(check),
  };
  if (/\/rest\/v1$/.test(config.supabase.url)) {
    check.problems.push('SUPABASE_URL is the URL of the Data API: leave out /rest/v1');
  }
  if (config.racingApi.username.includes(':')) {
    check.problems.push('RACING_API_USERNAME contains a colon, which HTTP Basic authentication cannot send');
  }
  if (!isServiceKey(config.supabase.serviceKey)) {
    check.problems.push(
      'SUPABASE_SERVICE_KEY is a publishable (anon) key, which may not write: use the secret (service_role) key',
    );
  }
  if (check.problems.length > 0) {
    const problems = check.problems.map((problem) => `  ${problem}`).join('\n');
    throw new FatalError(
      exitCodes.usage,
      `The configuration is not complete:\n${problems}\n` +
        `Looked at the environment, then ${envFiles.join(' and ')} in ${directory}. Copy .env.example to .env and fill it in.`,
    );
  }
  return config;
}

/** Whether a URL's host name means this machine, to which even secrets may go unencrypted. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
