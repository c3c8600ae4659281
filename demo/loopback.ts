import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Server as NetServer } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** Listens at any free port of loopback; returns the server's URL. */
export async function listen(server: NetServer): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
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

/** Hands a Node request to a fetch-style handler and sends its answer. */
export async function answerWith(
  fetchHandler: (request: Request) => Promise<Response>,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const { method = 'GET', url = '/' } = incoming;
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) headers.set(name, String(value));
  const body = method === 'GET' || method === 'HEAD' ? undefined : await buffer(incoming);
  const asked = new URL(url, `http://${incoming.headers.host ?? '127.0.0.1'}`);
  const answer = await fetchHandler(new Request(asked, { method, headers, body }));
  const answered = Buffer.from(await answer.arrayBuffer());
  outgoing.writeHead(answer.status, Object.fromEntries(answer.headers)).end(answered);
}
