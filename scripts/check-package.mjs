// Proves the package as users get it: packs it, installs the tarball in an empty folder, merges a bracket with the
// installed command and imports the installed library. Once building the addon from the shipped sources, once (with
// --prebuilt) from this machine's platform package, with nothing to compile with.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { root } from "./build-addon.mjs";

const exposures = [1, 2, 3].map((number) => join(root, "examples", "bracket", `exposure-${number}.jpg`));

/** Runs a program to its end and returns its stdout; throws with all it printed when it fails. */
function output(command, args, cwd, env = {}) {
  // npm's own settings of a surrounding `npm test` must not reach the npm that is tested.
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(?!config_cache)/.test(name)));
  const shell = process.platform === "win32";
  // Without CUDA: this repository's own build has compiled every kernel, and checkFiles sees that they are all there.
  const result = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    env: { ...clean, CUDACXX: "none", ...env },
    shell,
  });
  if (result.status === 0) return result.stdout;
  throw new Error(`${command} ${args.join(" ")} failed (${result.status}):\n${result.stdout}\n${result.stderr}`);
}

function pack(folder, destination) {
  const [{ filename, files }] = JSON.parse(
    output("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", destination], folder),
  );
  return { tarball: join(destination, filename), files: files.map(({ path }) => path) };
}

/** All files below a folder of the repository, as the package lists them. */
function sources(name) {
  const entries = readdirSync(join(root, name), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)).replaceAll("\\", "/"));
}

/** What must, and what must not, be in the package. */
function checkFiles(files) {
  for (const needed of [
    "dist/index.js",
    "dist/index.d.ts",
    "dist/cli/smhdr.js",
    "dist/panel/index.html",
    "dist/panel/panel.js",
    "dist/photoshop/manifest.json",
    "CMakeLists.txt",
    "cmake/cuda.cmake",
    "cmake/keep-resources.cmake",
    ...sources("native").filter((path) => !/^native\/(test|bench)\//.test(path)),
    "LICENSE",
    "README.md",
  ]) {
    if (!files.includes(needed)) throw new Error(`The package lacks ${needed}.`);
  }
  const stray = files.filter((path) =>
    /^(src|test|bench|examples|build|node_modules)\/|^native\/(test|bench)\//.test(path),
  );
  if (stray.length > 0) throw new Error(`The package holds what it must not: ${stray.join(", ")}`);
}

function checkInstalled(folder) {
  const outputs = ["merged.exr", "merged.jpg"];
  const npx = ["--no-install", "smhdr", "merge", ...exposures, ...outputs.flatMap((name) => ["-o", name])];
  output("npx", npx, folder);
  for (const name of outputs) if (!existsSync(join(folder, name))) throw new Error(`${name} was not written.`);
  const program = `import { readBracket, Reconstructor, writeImage } from "smhdr";
    const bracket = await readBracket(process.argv.slice(1));
    const radiance = await (await Reconstructor.load()).run(bracket);
    bracket.close();
    await writeImage(radiance, "library.hdr");`;
  output(process.execPath, ["--input-type=module", "-e", program, ...exposures], folder);
  if (!existsSync(join(folder, "library.hdr"))) throw new Error("The library wrote nothing.");
}

const prebuilt = process.argv.includes("--prebuilt");
const folder = mkdtempSync(join(tmpdir(), "smhdr-package-"));
try {
  const main = pack(root, folder);
  checkFiles(main.files);
  const tarballs = [main.tarball];
  if (prebuilt) {
    const [platform] = readdirSync(join(root, "prebuilds"));
    tarballs.push(pack(resolve(root, "prebuilds", platform), folder).tarball);
  }
  writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
  // --foreground-scripts shows the compiler's output when something fails.
  output(
    "npm",
    ["install", "--no-audit", "--no-fund", "--prefer-offline", "--foreground-scripts", ...tarballs],
    folder,
  );
  const built = existsSync(join(folder, "node_modules", "smhdr", "build", "Release", "smhdr.node"));
  if (prebuilt && built) throw new Error("The addon was compiled although a prebuilt one was installed.");
  if (!prebuilt && !built) {
    console.log(
      "npm ran no install script; building as the message tells people to: npx --no-install smhdr build-addon",
    );
    output("npx", ["--no-install", "smhdr", "build-addon"], folder);
  }
  checkInstalled(folder);
  console.log(`The installed package works (${main.files.length} files, ${prebuilt ? "prebuilt" : "compiled"} addon).`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
