// Packs the Photoshop plug-in: dist/photoshop is the folder that the UXP Developer Tool loads, the .ccx what Creative Cloud installs
// (a zip file of that folder). Prints both.
import { createWriteStream, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { ZipFile } from "yazl";
import { buildPanels } from "./build-panel.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = join(root, "dist", "photoshop");

/** Zips `folder` to `file`, names in order and times alike, so that the same plug-in is the same file. */
export async function pack(file) {
  const zip = new ZipFile();
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
    const path = join(folder, name);
    if (statSync(path).isFile())
      zip.addFile(path, name.split(sep).join("/"), { mtime: new Date(2000, 0, 1), mode: 0o100644 });
  }
  zip.end();
  await pipeline(zip.outputStream, createWriteStream(file));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildPanels();
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const file = join(root, "out", `smhdr-${version}.ccx`);
  mkdirSync(join(root, "out"), { recursive: true });
  await pack(file);
  for (const path of [folder, file]) console.log(relative(process.cwd(), path));
}
