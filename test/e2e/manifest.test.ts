import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { DEFAULT_PORTS } from "../../src/serve/start-file.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = join(root, "dist", "photoshop");
const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));

describe("the Photoshop plug-in's folder", () => {
  const manifest = json(join(folder, "manifest.json"));

  it("is of this version, and for hosts that have the imaging API", () => {
    assert.equal(manifest.version, json(join(root, "package.json")).version);
    assert.equal(manifest.manifestVersion, 5);
    assert.deepEqual(manifest.host, { app: "PS", minVersion: "24.4.0" });
  });

  it("names exactly the origins that the service may listen on", () => {
    const origins = DEFAULT_PORTS.map((port) => `http://127.0.0.1:${port}`);
    assert.deepEqual(manifest.requiredPermissions.network.domains, origins);
    const source = readFileSync(join(root, "plugin", "photoshop", "connect.ts"), "utf8");
    const listed = /PORTS: readonly number\[\] = \[([\d, ]+)\]/.exec(source)?.[1].split(",").map(Number);
    assert.deepEqual(listed, DEFAULT_PORTS);
  });

  it("has every file that the manifest and the page name", () => {
    const icons = [...manifest.icons, ...manifest.entrypoints[0].icons] as { path: string; scale: number[] }[];
    const names = icons.flatMap(({ path, scale }) =>
      scale.map((factor) => (factor === 1 ? path : path.replace(".png", `@${factor}x.png`))),
    );
    const page = readFileSync(join(folder, manifest.main), "utf8");
    for (const [, name] of page.matchAll(/(?:src|href)="([^"]+)"/g)) names.push(name);
    for (const name of names) assert.ok(existsSync(join(folder, name)), name);
    assert.doesNotMatch(page, /<script>|on\w+="/, "UXP runs no inline script");
  });
});
