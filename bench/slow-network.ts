import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { listen } from '../demo/loopback.js';

/** What a network does to requests; both in milliseconds. */
export interface Network {
  connectMs: number;
  /** Least and most that a request is on its way; each takes another time in between. */
  requestMs: [least: number, most: number];
}

/** Puts a network before the server at `url`; returns the URL by which it is reached through that. */
export async function startSlowNetwork(url: string, { connectMs, requestMs }: Network): Promise<string> {
  const { hostname, port, pathname } = new URL(url);
  const [least, most] = requestMs;
  const server = createServer({ noDelay: true }, async (near) => {
    near.pause();
    await sleep(connectMs);
    const far = connect({ host: hostname, port: Number(port), noDelay: true });
    far.pipe(near);
    delay(near, far, () => least + Math.random() * (most - least));
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => {}).on('close', () => other.destroy());
    }
  });
  return `${await listen(server)}${pathname.replace(/\/$/, '')}`;
}

/** Hands on what arrives, in order, each piece after its delay; those that follow at once belong to it. */
function delay(from: Socket, to: Socket, delayMs: () => number): void {
  let dueAtMs = 0;
  let arrivedAtMs = 0;
  let handedOn = Promise.resolve();
  from.on('data', (chunk) => {
    const nowMs = performance.now();
    // A long body comes in many pieces.
    const isNew = nowMs - arrivedAtMs > 5;
    arrivedAtMs = nowMs;
    dueAtMs = Math.max(dueAtMs, isNew ? nowMs + delayMs() : nowMs);
    const due = sleep(dueAtMs - nowMs);
    handedOn = handedOn.then(() => due).then(() => void to.write(chunk));
  });
  from.resume();
}
