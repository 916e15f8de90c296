// Makes the platform package of this machine: prebuilds/<platform>/ with a package.json that says where it fits, and
// the addon, stripped. `npm publish prebuilds/<platform>` ships it; the main
// package then lists it in optionalDependencies, so that npm installs the one that fits and users need no compiler.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { buildAddon, root } from "./build-addon.mjs";

const { platformName } = await import(pathToFileURL(join(root, "dist", "engine", "addon.js")).href);
const { version, license, engines } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const platform = platformName();

const addon = buildAddon();

/** The newest glibc whose symbols the addon uses: older systems cannot load it. */
function glibcNeeded() {
  const { stdout, status } = spawnSync("objdump", ["-T", addon], { encoding: "utf8" });
  if (status !== 0) return undefined;
  const versions = [...stdout.matchAll(/GLIBC_(\d+)\.(\d+)/g)].map(([, major, minor]) => [+major, +minor]);
  return versions.sort((a, b) => b[0] - a[0] || b[1] - a[1])[0]?.join(".");
}

const glibc = process.platform === "linux" && !platform.endsWith("-musl") ? glibcNeeded() : undefined;
const folder = join(root, "prebuilds", platform);
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
copyFileSync(addon, join(folder, "smhdr.node"));
spawnSync("strip", ["--strip-unneeded", join(folder, "smhdr.node")]); // without binutils it is only larger
copyFileSync(join(root, "LICENSE"), join(folder, "LICENSE"));
const manifest = {
  name: `@smhdr/${platform}`,
  version,
  description: `The native part of smhdr for ${platform}`,
  license,
  os: [process.platform],
  cpu: [process.arch],
  ...(process.platform === "linux" ? { libc: [platform.endsWith("-musl") ? "musl" : "glibc"] } : {}),
  engines,
  ...(glibc ? { config: { glibc: `>=${glibc}` } } : {}),
  files: ["smhdr.node"],
};
writeFileSync(join(folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
writeFileSync(
  join(folder, "README.md"),
  `# ${manifest.name}\n\nThe native part of [smhdr](https://www.npmjs.com/package/smhdr), compiled for ${platform}${
    glibc ? ` (glibc ${glibc} or newer)` : ""
  }. Install \`smhdr\`, not this.\n`,
);
console.log(folder);
