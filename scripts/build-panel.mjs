// Bundles the panel for the hosts that run it: dist/panel is what `smhdr serve` gives to browsers, dist/photoshop a UXP plug-in.
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Bundles `entry` with everything it imports, readable, and copies the files beside it. */
async function bundle(folder, entry, options, files) {
  const out = join(root, "dist", folder);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  await build({
    entryPoints: [join(root, "plugin", entry)],
    outfile: join(out, options.outfile),
    bundle: true,
    charset: "utf8",
    legalComments: "none",
    logLevel: "warning",
    target: options.target,
    format: options.format,
    external: options.external,
  });
  for (const [from, to] of files) cpSync(join(root, "plugin", from), join(out, to));
}

export async function buildPanels() {
  await bundle("panel", "browser/main.ts", { outfile: "panel.js", format: "esm", target: "es2022" }, [
    ["browser/index.html", "index.html"],
    ["browser/icon.svg", "icon.svg"],
    ["panel/panel.css", "panel.css"],
  ]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildPanels();
