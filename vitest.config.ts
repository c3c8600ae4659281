import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** They take longest, most of it waiting: begun last, one of them would leave the other worker without work. */
const longest = [
  'lies',
  'week',
  'kill-and-resume',
  'database-faults',
  'api-faults',
  'memory',
  'postgrest',
  'documentation',
];

/** What else there is comes as usual: the longest of the run before first, or the largest where none is remembered. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification) => longest.some((name) => moduleId.endsWith(`/${name}.test.ts`));
    const usual = await super.sort(files);
    return [...usual.filter(isLong), ...usual.filter((file) => !isLong(file))];
  }
}

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    globalSetup: 'tests/prepare.ts',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    // Loading what a world is made of takes a second, which is spared where files follow each other in a process.
    isolate: false,
    sequence: { sequencer: LongestFirst },
  },
});
