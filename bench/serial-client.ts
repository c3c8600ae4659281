import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';

/**
 * What a plain program would do: asks for one URL after the other, each when the one before is answered in full,
 * and waits between two only as long as the rate demands. Keeps its connection, and asks
 * again what is refused with 429.
 */
export async function askSerially(
  urls: string[],
  requestsPerSecond: number,
  { username, password }: { username: string; password: string },
): Promise<void> {
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  const dispatcher = new Agent({ keepAliveTimeout: 30_000 });
  let dueMs = 0;
  for (const url of urls) {
    let status: number;
    do {
      const waitMs = dueMs - performance.now();
      if (waitMs > 0) await sleep(Math.ceil(waitMs));
      dueMs = performance.now() + 1000 / requestsPerSecond;
      const { statusCode, body } = await request(url, { headers: { authorization }, dispatcher });
      const text = await body.text();
      status = statusCode;
      if (status === 200) JSON.parse(text);
      else if (status !== 429) throw new Error(`The serial client was answered ${status}: ${text}`);
    } while (status === 429);
  }
  await dispatcher.close();
}
