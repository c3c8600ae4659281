import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { setMaxListeners } from 'node:events';
import type { Socket } from 'node:net';
import { Agent, buildConnector, type DiagnosticsChannel, fetch, type Response } from 'undici';
import packageJson from '../package.json' with { type: 'json' };
import { inLimitedTime } from './concurrently.js';
import { innermostError, ResultsError } from './errors.js';
import { bodyText } from './format.js';

/** What the API answered, before anybody has looked at its meaning. */
export interface HttpAnswer {
  status: number;
  /** What a Retry-After header asks for. */
  retryAfterMs: number | undefined;
  /** From the moment when the request left to the answer's head. */
  latencyMs: number;
  body: string;
}

interface ExchangeOptions {
  baseUrl: string;
  username: string;
  password: string;
  /** Aborts what is under way; its reason is thrown. */
  signal: AbortSignal;
  /** For a whole answer, from the request's start to the last byte of the body. */
  timeoutMs?: number;
}

export type Exchange = ReturnType<typeof createExchange>;

/** HTTP requests to one host over connections that are open before their turn, and the moment when each leaves. */
export function createExchange({ baseUrl, username, password, signal, timeoutMs = 20_000 }: ExchangeOptions) {
  // One listener for each request in flight is no leak.
  setMaxListeners(0, signal);
  const spare = keepSpareConnection(new URL(baseUrl), signal);
  const dispatcher = new Agent({ connect: spare.connect, keepAliveTimeout: 30_000 });
  const departures = watchDepartures();
  const credentials = Buffer.from(`${username}:${password}`).toString('base64');
  const headers = {
    authorization: `Basic ${credentials}`,
    accept: 'application/json',
    'user-agent': `populate-all-statistics/${packageJson.version} (Node.js; batch job, paced)`,
  };

  /**
   * One request, from its first byte to the last of its answer, in limited time; calls `hasLeft` when its bytes leave.
   * Throws ResultsError (unavailable), or the signal's reason.
   */
  async function send(url: string, hasLeft: () => void): Promise<HttpAnswer> {
    let leftAtMs = performance.now();
    const { href } = new URL(url);
    departures.awaited.set(href, () => {
      leftAtMs = performance.now();
      hasLeft();
    });
    try {
      // A redirect could lead the credentials to another host.
      return await inLimitedTime(signal, timeoutMs, async (limited) => {
        const response = await fetch(href, { headers, redirect: 'manual', dispatcher, signal: limited });
        const latencyMs = performance.now() - leftAtMs;
        const { status } = response;
        const text = await bodyText(response);
        // What an error says is shown to people, and may repeat what we sent. A page of races is left as it is.
        const body = status === 200 ? text : withoutSecrets(text, [credentials, password, username]);
        return { status, retryAfterMs: retryAfterMs(response), latencyMs, body };
      });
    } catch (error) {
      signal.throwIfAborted();
      throw unavailable(error);
    } finally {
      departures.awaited.delete(href);
    }
  }

  return {
    send,
    /** Resolves when a connection is open for one request more than there are, or cannot be opened. */
    connected: spare.ready,
    close: async () => {
      departures.close();
      spare.close();
      await dispatcher.destroy();
    },
  };
}

function unavailable(error: unknown): ResultsError {
  const { code, message } = innermostError(error);
  const told = code === '' || message.includes(code) ? message : `${message} (${code})`;
  return new ResultsError('unavailable', told, { cause: error });
}

function withoutSecrets(text: string, secrets: readonly string[]): string {
  const asJson = secrets.map((secret) => JSON.stringify(secret).slice(1, -1));
  return [...secrets, ...asJson].reduce((rest, secret) => rest.replaceAll(secret, '…'), text);
}

/**
 * Calls what `awaited` holds for a request's URL when it leaves: when undici, having a connection, writes its bytes.
 * https://github.com/nodejs/undici/blob/main/docs/docs/api/DiagnosticsChannel.md
 */
function watchDepartures() {
  const channel = 'undici:client:sendHeaders';
  const awaited = new Map<string, () => void>();
  const onMessage = (message: unknown) => {
    const { request } = message as DiagnosticsChannel.ClientSendHeadersMessage;
    awaited.get(`${request.origin}${request.path}`)?.();
  };
  subscribe(channel, onMessage);
  return { awaited, close: () => unsubscribe(channel, onMessage) };
}

/** Opens one connection more than are in use, so that no request waits for its own. */
function keepSpareConnection({ protocol, hostname, host, port }: URL, signal: AbortSignal) {
  // Also ends what is still connecting.
  const closing = new AbortController();
  const close = () => closing.abort();
  signal.addEventListener('abort', close);
  setMaxListeners(0, closing.signal);
  const open = buildConnector({ timeout: 10_000, signal: closing.signal });
  const target = { protocol, hostname: hostname.replace(/^\[(.*)\]$/, '$1'), host, port };
  let spare: Promise<Socket> | undefined;

  function openSpare(): Promise<Socket> {
    const opened = new Promise<Socket>((resolve, reject) => {
      open(target, (error, socket) => (error ? reject(error) : resolve(socket)));
    });
    const forget = () => {
      if (spare === opened) spare = undefined;
    };
    // The host may close what is not used for long.
    opened.then((socket) => socket.once('close', forget), forget);
    return opened;
  }

  const connect: buildConnector.connector = (_options, callback) => {
    const taken = spare ?? openSpare();
    spare = openSpare();
    taken.then(
      (socket) => callback(null, socket),
      (error) => callback(error, null),
    );
  };
  return {
    connect,
    ready: async () => {
      if (closing.signal.aborted) return;
      spare ??= openSpare();
      await spare.catch(() => {});
    },
    close,
  };
}

/** https://www.rfc-editor.org/rfc/rfc9110#field.retry-after: seconds or a date. */
function retryAfterMs(response: Response): number | undefined {
  const value = response.headers.get('retry-after')?.trim();
  if (!value) return undefined;
  const waitMs = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return waitMs > 0 ? waitMs : undefined;
}
