// Runs when a user installs the package: uses the prebuilt addon where there is one, else builds it from the shipped
// sources. Never fails the installation: what needs no addon works without it, and the message says what to do.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { buildAddon, root } from "./build-addon.mjs";

function isWorkingTree() {
  return existsSync(join(root, "tsconfig.json")); // not in the package: `npm start` and `npm test` build there
}

async function hasPrebuilt() {
  const { platformName } = await import("../dist/engine/addon.js");
  try {
    createRequire(import.meta.url)(`@smhdr/${platformName()}/smhdr.node`);
    return true;
  } catch {
    return false;
  }
}

if (!isWorkingTree() && !(await hasPrebuilt())) {
  try {
    buildAddon();
  } catch (error) {
    console.error(error.message);
    console.error(
      "smhdr is installed without its native part. Once the above is settled: npx --no-install smhdr build-addon",
    );
  }
}
