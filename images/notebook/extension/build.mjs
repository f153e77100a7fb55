// Two files: the extension, as JupyterLab and Notebook load it, and the script for their pages.
import { build } from 'esbuild';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';

const { name, version, license } = JSON.parse(readFileSync('package.json', 'utf-8'));
const options = { bundle: true, format: 'iife', target: 'es2022', minify: true };
const { metafile } = await build({
  ...options,
  entryPoints: ['src/container.ts'],
  define: { EXTENSION: JSON.stringify(name) },
  entryNames: 'container.[hash]', // browsers keep it for a year
  outdir: '.out/extension/static',
  metafile: true
});
const load = `static/${basename(Object.keys(metafile.outputs)[0])}`;
const jupyterlab = { extension: true, _build: { load, extension: './extension' } };
writeFileSync('.out/extension/package.json', JSON.stringify({ name, version, license, jupyterlab }));
const page = await build({ ...options, entryPoints: ['src/page.ts'], write: false });
// The pages are templates.
const script = `{% raw %}<script>${page.outputFiles[0].text.trim()}</script>{% endraw %}\n`;
writeFileSync('.out/page.html', script);
