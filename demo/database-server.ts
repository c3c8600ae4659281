import { AsyncLocalStorage } from 'node:async_hooks';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** Hands a Node request to a fetch-style handler and sends its answer. */
export async function answerWith(
  fetchHandler: (request: Request) => Promise<Response> | Response,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const answer = await fetchHandler(await toRequest(incoming));
  const body = Buffer.from(await answer.arrayBuffer());
  outgoing.writeHead(answer.status, Object.fromEntries(answer.headers));
  outgoing.end(body);
}

async function toRequest(incoming: IncomingMessage): Promise<Request> {
  const method = incoming.method ?? 'GET';
  const hasBody = method !== 'GET' && method !== 'HEAD';
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) headers.set(name, String(value));
  return new Request(new URL(incoming.url ?? '/', `http://${incoming.headers.host ?? '127.0.0.1'}`), {
    method,
    headers,
    body: hasBody ? await buffer(incoming) : undefined,
  });
}

/** Listens on loopback only, at the port or at any free one; returns the server's URL. */
export async function listen(server: Server, port = 0): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', resolve);
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Stops the server, cutting off requests that are still open. */
export async function stop(server: Server): Promise<void> {
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
}

/** Lets the given tasks run one after the other, in the order of their arrival. */
export function createTurnstile(): <Result>(task: () => Result | Promise<Result>) => Promise<Result> {
  let last: Promise<unknown> = Promise.resolve();
  return (task) => {
    const result = last.then(task);
    last = result.catch(() => undefined);
    return result;
  };
}

const withoutLog = new AsyncLocalStorage<boolean>();
const logError = console.error;
console.error = (...values: unknown[]) => {
  if (!withoutLog.getStore()) logError(...values);
};

/** Runs the task without its `console.error`: Supabase Lite prints every error that it also answers with. */
export function withoutErrorLog<Result>(task: () => Result): Result {
  return withoutLog.run(true, task);
}
