import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { measureHostedPopulations, measurePopulations } from './populating.js';
import { measureStarts } from './starting.js';
import { renderTable, type Table } from './table.js';
import { measureWalks } from './walking.js';
import { nearestToHosted } from './world.js';
import { measureWrites } from './writing.js';

const sections: Record<string, { title: string; measure: () => Promise<Table> }> = {
  a: { title: 'Full population by sweep', measure: measurePopulations },
  b: { title: 'Walking 300 entities, 2 requests/s', measure: measureWalks },
  c: { title: 'Writing to the database', measure: measureWrites },
  d: { title: 'Start of the command', measure: measureStarts },
  e: { title: 'Full population by sweep, as hosted', measure: measureHostedPopulations },
};

const resultsFile = fileURLToPath(new URL('results.md', import.meta.url));
const introduction = `# Measurements

Written by \`npm run bench\`; \`npm run bench -- a c\` measures these sections again. The command runs as a child
process beside a simulated Racing API that enforces its rate limit and a database: Supabase Lite on PGlite or, where it
says so, the PostgREST and Postgres of the tests. Each has a process of its own on the same machine, so on few cores
they slow each other down. Requests refused with 429 are a sign that the machine was busy with something else.
1 MB is 1,000,000 bytes.

`;

/** The file's text with the section `name` replaced or added. */
function withSection(text: string, name: string, section: string): string {
  const existing = text.split(/^(?=## )/m).slice(1);
  const others = existing.filter((one) => !one.startsWith(`## (${name}) `));
  return [introduction, ...[...others, section].sort()].join('');
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in sections));
if (unknown.length > 0) {
  console.error(`There is no section ${unknown.join(', ')}; there are ${Object.keys(sections).join(', ')}.`);
  process.exit(2);
}

const cores = cpus();
const machine = `Node ${process.version}, ${cores.length} cores (${cores[0]?.model.trim() ?? 'unknown'})`;
console.log(`${machine}; the whole of it takes about 30 minutes.`);
if (nearestToHosted !== 'PostgREST')
  console.log('PostgREST and Postgres are not for this platform: all is on Supabase Lite.');
for (const [name, { title, measure }] of Object.entries(sections)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const table = renderTable(await measure());
  const date = new Date().toISOString().slice(0, 10);
  const section = `## (${name}) ${title}\n\n${table}\n\n${date}, ${machine}.\n\n`;
  console.log(`\n${section.trimEnd()}`);
  const text = existsSync(resultsFile) ? readFileSync(resultsFile, 'utf8') : '';
  writeFileSync(resultsFile, withSection(text, name, section));
}
