// Bundles the panel for the hosts that run it: dist/panel is what `smhdr serve` gives to browsers, dist/photoshop a UXP plug-in.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import sharp from "sharp";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Icons of the plug-in, by name and side in pixels; twice that for dense displays. */
const icons = { "panel-dark": 23, "panel-light": 23, plugin: 24 };

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
  const modules = ["photoshop", "uxp", "fs", "os"]; // Photoshop's own
  const options = { outfile: "index.js", format: "iife", target: "es2020", external: modules };
  await bundle("photoshop", "photoshop/main.ts", options, [
    ["photoshop/index.html", "index.html"],
    ["panel/panel.css", "panel.css"],
  ]);
  const out = join(root, "dist", "photoshop");
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const manifest = { ...JSON.parse(readFileSync(join(root, "plugin", "photoshop", "manifest.json"), "utf8")), version };
  writeFileSync(join(out, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  mkdirSync(join(out, "icons"));
  for (const [name, side] of Object.entries(icons)) {
    for (const scale of [1, 2]) {
      const image = sharp(join(root, "plugin", "browser", "icon.svg"), { density: 288 }).resize(side * scale);
      await image.png().toFile(join(out, "icons", `${name}${scale === 2 ? "@2x" : ""}.png`));
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildPanels();
