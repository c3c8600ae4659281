import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { exitCodeMeanings } from '../src/errors.js';
import { createProgram } from '../src/options.js';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const readme = read('README.md');
const operators = read('docs/operators.md');
const program = createProgram(() => {});

describe('README', () => {
  it.each(program.options.map(({ long, flags }) => [long, flags]))('explains %s', (long, flags) => {
    const option = flags.includes('<') ? flags : long;
    expect(readme).toContain(`\`${option}\``);
  });

  it('names no option that there is not', () => {
    const known = new Set(
      [...program.options, ...program.commands.flatMap(({ options }) => options)].map(({ long }) => long),
    );
    const named =
      [readme, operators]
        .join('\n')
        .match(/(?<=dist\/\S+|npm start --|npm run demo --|verify|status|`)[^\n|]*?--[a-z][a-z-]+/g) ?? [];
    const options = named.flatMap((text) => text.match(/--[a-z][a-z-]+/g) ?? []);
    expect(options.length).toBeGreaterThan(10);
    expect(options.filter((option) => !known.has(option) && !['--help', '--now'].includes(option))).toEqual(
      [],
    );
  });

  it.each(
    program.commands.map((command) => [command.name(), command.options.map(({ flags }) => flags)] as const),
  )('explains the command %s with its options', (name, flags) => {
    expect(readme).toContain(`\`${name} ${flags.map((flag) => `[${flag}]`).join(' ')}\``);
  });

  it.each(Object.entries(exitCodeMeanings))(
    'and the page for operators explain exit code %s',
    (code, meaning) => {
      const [row] = readme.match(new RegExp(`^\\| ([\\d, ]*\\b)?${code}\\b.*$`, 'm')) ?? [];
      expect(row).toContain(meaning.split(' (')[0]);
      if (code !== '0') expect(operators).toMatch(new RegExp(`^\\| ([\\d, ]*\\b)?${code}\\b`, 'm'));
    },
  );

  it.each([
    'RACING_API_USERNAME',
    'RACING_API_PASSWORD',
    'RACING_API_BASE_URL',
    'SUPABASE_URL',
    'SUPABASE_SERVICE_KEY',
    'NOTIFY_EMAIL_TO',
    'SMTP_URL',
    'NOTIFY_ON',
    'HEARTBEAT_URL',
  ])('and .env.example name %s', (variable) => {
    expect(readme).toContain(variable);
    expect(read('.env.example')).toContain(variable);
  });
});
