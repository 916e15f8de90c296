import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { it } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
// A spill of a few bytes costs less than the registers that would save it.
const FEW_BYTES = 48;

function listKernels(): { table: string; absence?: string } {
  if (process.platform === "win32") return { table: "", absence: "native/bench/list-kernels.sh needs a shell" };
  const { status, stdout, stderr } = spawnSync("native/bench/list-kernels.sh", [], { cwd: root, encoding: "utf8" });
  return { table: stdout, ...(status !== 0 && { absence: stderr.trim() }) };
}

const { table, absence } = listKernels();

it("every CUDA kernel is compiled for every architecture and hardly spills", { skip: absence }, () => {
  console.log(table);
  const [head, ...rows] = table.trim().split("\n");
  const architectures = head.match(/sm_\d+/g) ?? [];
  const listed: readonly string[] = readFileSync(`${root}cmake/cuda.cmake`, "utf8").match(/\d+(?=-real)/g) ?? [];
  for (const arch of architectures) assert.ok(listed.includes(arch.slice(3)), arch);
  assert.ok(architectures.length >= 3 && rows.length > 30, head);
  for (const row of rows) {
    const cells = row.split(/\s+/).slice(0, architectures.length);
    for (const [i, cell] of cells.entries()) {
      const [registers, spilled = 0] = cell.split("+").map(Number);
      assert.ok(registers > 0 && spilled <= FEW_BYTES, `${architectures[i]}: ${row}`);
    }
  }
});
