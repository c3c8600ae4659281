import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const source = join(root, 'src');
const pure = ['statistics', 'entity-types', 'events', 'errors', 'format', 'concurrently'];

/** The files of src/, as `files/report`, with those that each one imports. */
const imports = new Map(
  readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => {
      const text = readFileSync(join(source, path), 'utf8');
      const found = text.matchAll(/\b(?:from|import\() ?'(\.{1,2}\/[^']+)\.js'/g);
      const imported = Array.from(found, ([, target = '']) => relative(source, join(source, path, '..', target)));
      return [path.replace(/\.ts$/, ''), imported];
    }),
);

const roomOf = (file: string) => file.split('/')[0] ?? '';

it('the imports between rooms are the arrows of docs/architecture.md', () => {
  const picture = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
  const drawn = Array.from(picture.matchAll(/^ {2}(\S+ --> \S+)$/gm), ([, arrow]) => arrow);
  const arrows = [...imports].flatMap(([file, imported]) =>
    imported
      .filter((target) => !pure.includes(target) && roomOf(file) !== roomOf(target))
      .map((target) => `${roomOf(file)} --> ${roomOf(target)}`),
  );
  expect(arrows.length).toBeGreaterThan(20);
  expect([...new Set(arrows)].sort()).toEqual(drawn.sort());
});

it('no file imports itself by way of others', () => {
  const circles: string[] = [];
  const visit = (file: string, way: readonly string[]) => {
    if (way.includes(file)) circles.push([...way.slice(way.indexOf(file)), file].join(' > '));
    else for (const next of imports.get(file) ?? []) visit(next, [...way, file]);
  };
  for (const file of imports.keys()) visit(file, []);
  expect(circles).toEqual([]);
});
