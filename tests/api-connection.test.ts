import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { runCommand, runWith, startTinyWorld, typeNamed, wholeTables } from './faults.js';
import type { World } from './world.js';

const jockeys = typeNamed('jockeys');
let world: World;

beforeAll(async () => {
  world = await startTinyWorld();
});
beforeEach(() => world.reset());
afterAll(() => world.close());

/** Expects both strategies to end with exit code 4, a reason and advice, and no row changed. */
async function expectUnavailable(baseUrl: string, told: RegExp): Promise<void> {
  const before = await wholeTables(world);
  for (const strategy of ['walk', 'sweep'] as const) {
    const report = await runWith(world, { entities: [jockeys], strategy }, { baseUrl });
    expect(report).toMatchObject({ exit_code: 4, requests: 6, stopped_by: expect.stringMatching(told) });
    expect(report.stopped_by).toContain('RACING_API_BASE_URL and the network');
  }
  expect(await wholeTables(world)).toEqual(before);
}

it('connection refused', async () => {
  const closed = createServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const { port } = closed.address() as AddressInfo;
  closed.close();
  await expectUnavailable(`http://127.0.0.1:${port}/v1`, /ECONNREFUSED/);
});

it('a host name that nobody knows', async () => {
  await expectUnavailable('https://racing-api.invalid/v1', /racing-api\.invalid.*\((ENOTFOUND|EAI_AGAIN)\)/);
});

it('https where http is spoken', async () => {
  await expectUnavailable(world.api.url.replace('http:', 'https:'), /\(E\w+\)/);
  expect(world.api.calls).toEqual([]);
});

function hasOpenssl(): boolean {
  try {
    execFileSync('openssl', ['version']);
    return true;
  } catch {
    return false;
  }
}

it.runIf(hasOpenssl())('a certificate that nobody vouches for: it gets no request (needs openssl)', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'certificate-'));
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=127.0.0.1', '-days', '2'];
  execFileSync('openssl', [...request, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const visitors: unknown[] = [];
  const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
    visitors.push(request.headers);
    response.end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = server.address() as AddressInfo;
    await expectUnavailable(`https://127.0.0.1:${port}/v1`, /self.signed certificate/);
    expect(visitors).toEqual([]);
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
});

it('the command says in one line why it ends: exit code 4, without a stack trace', async () => {
  world.api.options.intercept = (_, response) => void response.writeHead(429, { 'retry-after': '6000' }).end();
  const { code, stderr } = await runCommand(['--all'], { cwd: world.folder, environment: world.environment });
  expect(stderr).toMatch(/^The Racing API still refuses requests \(429\).*--resume.*\n$/);
  expect(code).toBe(4);
});

it('a clock that jumps changes neither the day of the run nor its rows', async () => {
  const types = ['--entities', 'jockeys', 'owners', '--rate', '1000', '--strategy', 'walk'];
  // Once the run has begun, it is a day and a half later and earlier in turns.
  const preload = `
    import { existsSync } from 'node:fs';
    const RealDate = Date;
    let turns = 0;
    const jump = () => existsSync('logs/run_jockeys.lock') ? (turns++ % 2 ? 1 : -1) * 36 * 3600 * 1000 : 0;
    globalThis.Date = class extends RealDate {
      constructor(...parts) { parts.length > 0 ? super(...parts) : super(RealDate.now() + jump()); }
      static now() { return RealDate.now() + jump(); }
    };`;
  const environment = {
    ...world.environment,
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(preload)}`,
  };
  const { code, stderr } = await runCommand(types, { cwd: world.folder, environment });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const values = async () =>
    (
      await world.database.query<{ row: object }>(
        `select to_jsonb(o) - 'stats_updated_at' as row from ra_owners o order by id`,
      )
    ).map(({ row }) => row);
  const jumped = await values();
  expect((await runCommand(types, { cwd: world.folder, environment: world.environment })).code).toBe(0);
  expect(jumped).toEqual(await values());
});
