import { describe, expect, it } from 'vitest';
import type { ApiCall } from '../demo/simulator.js';
import { callsOf, inject, jockeys, runWith, sharedStoredWorld, status, sweep, walk, wholeRows } from './faults.js';
import { checkpointIds, timelessRows } from './watching.js';

const { world, right, ids } = sharedStoredWorld();

/** Calls that fail, from the first one on and until the API has been asked so often since. */
function during(first: number, last = Number.POSITIVE_INFINITY) {
  return ({ number }: ApiCall) => number >= first && number <= last;
}

const expectAllRight = async () => expect(await timelessRows(world, [jockeys])).toEqual(right);

describe('an API that is down from the middle of a run on', () => {
  it('is asked by one request for all: a walk ends after the patience of one entity', async () => {
    const before = await wholeRows(world, jockeys);
    inject(world, status(503), during(5));
    const report = await runWith(world, walk);
    expect(report).toMatchObject({ exit_code: 4, stopped_by: expect.stringContaining('503') });
    // Those that were on their way, and five more of the first that failed.
    expect(report.requests).toBeLessThanOrEqual(4 + ids.length + 5);
    const written = checkpointIds(world, jockeys);
    expect(written.length).toBeGreaterThanOrEqual(1);
    expect(report.failures).toEqual([]);
    const after = await wholeRows(world, jockeys);
    for (const id of ids.filter((one) => !written.includes(one))) expect(after.get(id)).toBe(before.get(id));
  });

  it('holds those that have not left yet', async () => {
    inject(world, status(503), during(2));
    // Of the others, eight at a time.
    const report = await runWith(world, { ...walk, rate: 0.5 });
    expect(report).toMatchObject({ exit_code: 4, failures: [] });
    expect(report.requests).toBeLessThanOrEqual(1 + 8 + 5);
  });

  it('ends a sweep after the patience of one page', async () => {
    inject(world, status(500), during(2));
    const report = await runWith(world, sweep);
    expect(report).toMatchObject({ exit_code: 4, failures: [] });
    expect(report.requests).toBeLessThanOrEqual(1 + 6 + 6);
  });

  it.each([walk, sweep])('and answers again lets a $strategy go on, and all rows are right', async (options) => {
    inject(world, status(502), during(3, 12));
    const report = await runWith(world, options);
    expect(report).toMatchObject({ exit_code: 0, failures: [] });
    const told = report.lines.filter((line) =>
      line.includes('is unavailable: the API answered 502. One request tries on'),
    );
    if (options === walk) expect(told.length).toBeGreaterThanOrEqual(1);
    await expectAllRight();
  });
});

it('entities that the API cannot answer are no outage, however many there are', async () => {
  const broken = ids.filter((_, index) => index % 2 === 1);
  inject(world, status(500), (call) => broken.some((id) => callsOf(id)(call)));
  const report = await runWith(world, walk);
  expect(report).toMatchObject({ exit_code: 3, stopped_by: null });
  expect(report.failures.map(({ id }) => id).sort()).toEqual(broken.sort());
});

it.each([
  [401, 'walk', 1],
  [401, 'walk', 6],
  [401, 'sweep', 1],
  [401, 'sweep', 4],
  [403, 'walk', 6],
  [403, 'sweep', 1],
  [408, 'walk', 1],
  [408, 'sweep', 4],
  [425, 'walk', 6],
  [425, 'sweep', 1],
] as const)('a single %d is asked about again: %s, call %d', async (code, strategy, number) => {
  inject(world, status(code), during(number, number));
  const report = await runWith(world, { entities: [jockeys], strategy });
  expect(report).toMatchObject({ exit_code: 0, failures: [], strategy });
  await expectAllRight();
});

it('a 401 after another fault is asked about again too, and two of them are believed', async () => {
  const answers = [503, 401, 503];
  world.api.options.intercept = ({ number }, response, next) =>
    number <= answers.length ? void response.writeHead(answers[number - 1] ?? 500).end('{}') : next();
  expect(await runWith(world, walk)).toMatchObject({ exit_code: 0, failures: [] });
  await expectAllRight();
  world.api.calls.length = 0;
  answers.splice(0, 3, 401, 503, 401);
  expect(await runWith(world, walk)).toMatchObject({ exit_code: 5, requests: 3 });
});

it.each([
  [
    'a text',
    '"Start date is limited to up to 365 days in the past"',
    /past; asked for 20..-..-.. to 20..-..-..: around midnight UTC/,
  ],
  [
    'a list',
    '[{"loc":["query","region"],"msg":"wrong"}]',
    /\(422\): \[\{"loc":\["query","region"\],"msg":"wrong"\}\]\. /,
  ],
  ['a long text', JSON.stringify(`\u001b${'x'.repeat(500)}`), /\(422\): x{199,200}\. /],
  ['nothing', undefined, /refused the parameters \(422\)\. /],
])('what a 422 says is told: %s', async (_, detail, told) => {
  const body = detail === undefined ? '{}' : `{"detail":${detail}}`;
  inject(world, status(422, {}, body), () => true);
  expect(await runWith(world, sweep)).toMatchObject({ exit_code: 7, stopped_by: expect.stringMatching(told) });
});
