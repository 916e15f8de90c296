import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import "../../../test/cli/process.js"; // refuses a program that is older than its sources

const here = fileURLToPath(new URL(".", import.meta.url));
const program = fileURLToPath(new URL("../../../dist/cli/smhdr.js", import.meta.url));
const python = process.platform === "win32" ? "python" : "python3";

test("the plug-in's Python that needs no GIMP (unittest)", { timeout: 300_000 }, (t) => {
  const { error, status, stderr } = spawnSync(python, ["-m", "unittest", "discover", "-s", here], {
    encoding: "utf8",
    env: {
      ...process.env,
      PYTHONPATH: join(here, "..", "plug-ins", "smhdr"),
      PYTHONDONTWRITEBYTECODE: "1",
      SMHDR_COMMAND: `'${process.execPath}' '${program}'`,
    },
  });
  if (error) return t.skip(`${python} is not here: ${error.message}`);
  if (status !== 0) throw new Error(stderr);
});
