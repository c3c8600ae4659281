import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { listen, stop as stopServer } from '../demo/loopback.js';
import { createExchange, type Exchange } from '../src/exchange.js';
import { until } from './watching.js';
import { password, username } from './world.js';

/** The server's connections that are open, and its requests in the order of their arrival. */
let sockets: Socket[];
let responses: ServerResponse[];
let server: Server;
let url: string;
let stop: AbortController;
let exchange: Exchange;

beforeEach(async () => {
  responses = [];
  server = createServer((_request, response) => responses.push(response));
  const open: Socket[] = [];
  sockets = open;
  server.on('connection', (socket) => {
    open.push(socket);
    socket.on('close', () => open.splice(open.indexOf(socket), 1));
  });
  url = await listen(server);
  stop = new AbortController();
  exchange = createExchange({ baseUrl: `${url}/v1`, username, password, signal: stop.signal });
});
afterEach(async () => {
  await exchange.close();
  await stopServer(server);
});

/** Sends a request; resolves when its bytes have left, with a promise of the answer. */
async function leave(path: string): Promise<{ answered: ReturnType<Exchange['send']> }> {
  let hasLeft = () => {};
  const left = new Promise<void>((resolve) => {
    hasLeft = resolve;
  });
  const answered = exchange.send(url + path, hasLeft);
  answered.catch(() => {});
  await left;
  return { answered };
}

const arrived = (count: number) => until(`${count} requests`, () => responses.length === count);
const connections = (count: number) => until(`${count} connections`, () => sockets.length === count);

it('opens a connection before the first request, and one more with each that is in use', async () => {
  await exchange.connected();
  await connections(1);
  expect(responses).toEqual([]);
  for (const inFlight of [1, 2, 3]) {
    await leave(`/${inFlight}`);
    await arrived(inFlight);
    await connections(inFlight + 1);
    await exchange.connected();
  }
  for (const response of responses) response.end('{}');
});

it('uses a connection again, and opens no further one for that', async () => {
  for (const number of [1, 2, 3]) {
    const { answered } = await leave('/again');
    await arrived(number);
    responses.at(-1)?.end('{}');
    await answered;
    // The connection is free a moment later.
    await sleep(20);
  }
  expect(sockets).toHaveLength(2);
});

it('tells that a request has left before it is answered, also for a path that a URL writes otherwise', async () => {
  const { answered } = await leave("/v1/jockeys/jky_'1' (x)/results?region=gb&region=ire");
  await arrived(1);
  const answer = { status: 200, body: '{"total":0}', retryAfterMs: undefined };
  setTimeout(() => responses[0]?.end(answer.body), 60);
  const { latencyMs, ...rest } = await answered;
  expect(rest).toEqual(answer);
  expect(latencyMs).toBeGreaterThanOrEqual(50);
});

it('replaces a connection that the host has closed before it was used', async () => {
  await exchange.connected();
  await connections(1);
  sockets[0]?.destroy();
  await connections(0);
  await exchange.connected();
  const { answered } = await leave('/');
  await arrived(1);
  responses[0]?.end('{}');
  expect(await answered).toMatchObject({ status: 200 });
});

it('waits for no connection where none can be opened: the request itself says why', async () => {
  await stopServer(server);
  await exchange.connected();
  await expect(exchange.send(`${url}/`, () => {})).rejects.toMatchObject({
    kind: 'unavailable',
    message: expect.stringContaining('ECONNREFUSED'),
  });
});

it('a stop ends what is under way, and is thrown as it is', async () => {
  const { answered } = await leave('/');
  stop.abort(new Error('Stopped'));
  await expect(answered).rejects.toThrow('Stopped');
  await expect(exchange.send(`${url}/`, () => {})).rejects.toThrow('Stopped');
});

it('opens no connection any more once it is stopped or closed', async () => {
  await exchange.connected();
  await connections(1);
  stop.abort(new Error('Stopped'));
  await connections(0);
  await exchange.connected();
  await sleep(50);
  expect(sockets).toEqual([]);
});

it('closes all connections, the one that was not used too', async () => {
  await leave('/');
  await connections(2);
  await exchange.close();
  await connections(0);
});
