import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

// Makes dist/, or the folder that is named: the whole program in one file that runs alone, its source map,
// and the licences of the packages in it.

const root = fileURLToPath(new URL('.', import.meta.url));
const folder = process.argv[2] ?? join(root, 'dist');
const entry = 'src/populate-all-statistics.ts';

const { name, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const [least, major, minor] = /(\d+)\.(\d+)/.exec(engines.node);
/** The file loads in older releases too, as long as it names nothing of Node's that they lack, and says so. */
const versionCheck = `const [nodeMajor, nodeMinor] = process.versions.node.split('.').map(Number);
if (nodeMajor < ${major} || (nodeMajor === ${major} && nodeMinor < ${minor})) {
  console.error('${name} needs Node.js ${least} or newer; this is ' + process.version + '.');
  process.exit(2);
}`;

/** Undefined where npm has left out the development dependencies. */
const esbuild = await import('esbuild').catch((error) => {
  if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
});
if (esbuild === undefined) {
  console.error('Nothing is built, for the development dependencies are missing: run npm ci --include=dev');
  process.exit(1);
}

const { outputFiles, metafile } = await esbuild.build({
  absWorkingDir: root,
  entryPoints: [entry],
  outdir: folder,
  write: false,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20.19',
  mainFields: ['module', 'main'],
  // As ES modules it would load Node's TLS and HTTP at every start; CommonJS waits until it is required.
  alias: { nodemailer: createRequire(import.meta.url).resolve('nodemailer') },
  // Names stay, for traces; and lines stay short, because Node shows the one that throws.
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 160,
  // CommonJS packages require Node's own modules, and an ES module has no require.
  banner: {
    js: `import { createRequire } from 'node:module';\n${versionCheck}\nconst require = createRequire(import.meta.url);`,
  },
  sourcemap: 'linked',
  sourcesContent: false,
  // They are in the file of licences.
  legalComments: 'none',
  metafile: true,
});
const outputs = Object.values(metafile.outputs);
const imports = outputs.flatMap((output) => output.imports);
// By its prefix too: undici looks for modules that only newer releases of Node have.
const missing = imports.filter(({ path }) => !path.startsWith('node:') && !isBuiltin(path));
if (missing.length > 0) throw new Error(`Not in the file: ${missing.map(({ path }) => path).join(', ')}`);
const licences = bundledPackages().map(licenceOf);

// Only now, so that a build that fails leaves the last one.
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
for (const { path, contents } of outputFiles) writeFileSync(path, contents);
writeFileSync(join(folder, 'THIRD-PARTY-LICENSES.txt'), licences.join(`\n${'-'.repeat(80)}\n\n`));
chmodSync(join(folder, basename(entry, '.ts').concat('.js')), 0o755);

/** The folders of the packages that have something in the file, relative to the root. */
function bundledPackages() {
  const inputs = outputs.flatMap((output) => Object.entries(output.inputs));
  const folders = inputs
    .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
    .flatMap(([path]) => /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []);
  return [...new Set(folders)].sort();
}

/** A package's name, version and the whole of what it says about its licence. */
function licenceOf(packageFolder) {
  const path = join(root, packageFolder);
  const { name, version, license } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
  const files = readdirSync(path).filter((file) => /^(licen[cs]e|copying|notice)/i.test(file));
  if (files.length === 0) throw new Error(`${name} is bundled and has no file with its licence`);
  const texts = files.map((file) => readFileSync(join(path, file), 'utf8').trim());
  return [`${name} ${version} (${license})`, ...texts, ''].join('\n\n');
}
