import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { lookup } from "node:dns/promises";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Whether npm's registry can be reached: installing the package needs its dependencies. */
async function online(): Promise<boolean> {
  const { stdout } = spawnSync("npm", ["config", "get", "registry"], { encoding: "utf8" });
  try {
    await lookup(new URL(stdout.trim().split("\n").at(-1) ?? "").hostname);
    return true;
  } catch {
    return false;
  }
}

describe("the package as users install it", async () => {
  const skip = (await online()) ? false : "npm's registry cannot be reached";
  const options = { skip, timeout: 600_000 };
  const script = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" });
    assert.equal(status, 0, `${stdout}${stderr}`);
  };

  it("works from its tarball, the addon compiled", options, () => script("scripts/check-package.mjs"));
  it("works from its tarball with the platform package, nothing compiled", options, () => {
    script("scripts/prebuild.mjs");
    script("scripts/check-package.mjs", "--prebuilt");
  });
});
