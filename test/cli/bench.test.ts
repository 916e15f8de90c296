import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { nativeBenchmark } from "../../src/bench/native-rows.js";
import { hasAddon } from "../../src/engine/addon.js";
import { hasOnnxRuntime } from "../../src/engine/onnx.js";
import { jsonLines, smhdr, start } from "./process.js";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-cli-bench-"));
});
after(() => rm(folder, { recursive: true, force: true }));

/** Runs the command on small work; gives its rows by name and its notes. */
async function bench(args: readonly string[], env: Record<string, string> = {}) {
  const options = { env: { SMHDR_PYTHON: join(folder, "no-python"), ...env } };
  const { code, stdout, stderr } = await start(["bench", "--quick", "--threads", "1", "--json", ...args], options)
    .finished;
  assert.equal(code, 0, stderr);
  const lines = jsonLines(stdout);
  const rows = lines.filter(({ event }) => event === "result");
  for (const { name, seconds, threads, peers, quick } of rows) {
    assert.ok(typeof name === "string" && name.length > 0);
    assert.ok(typeof seconds === "number" && seconds > 0, `${name}: ${seconds} s`);
    assert.equal(threads, 1);
    assert.equal(typeof peers, "object");
    assert.equal(quick, true);
  }
  const notes = lines.filter(({ event }) => event === "note").map(({ message }) => String(message));
  return { rows: new Map(rows.map((row) => [row.name, row])), notes };
}

describe("smhdr bench", { skip: !hasAddon() && "the addon is not built" }, () => {
  it("prints well-formed rows of the product, and the machine", async () => {
    const { rows, notes } = await bench(["--filter", "growth/radiance/0.25MP"]);
    assert.deepEqual([...rows.keys()], ["growth/radiance/0.25MP"]);
    assert.ok(Number(rows.get("growth/radiance/0.25MP")?.memoryBytes) > 2 ** 20);
    assert.match(notes.join("\n"), /1 threads, .*Node/);
  });

  it("races the network with ONNX Runtime where it is, and compares what they compute", async () => {
    const { rows, notes } = await bench(["--filter", "smnet/256/fp32"]);
    const row = rows.get("smnet/256/fp32") as Record<string, Record<string, number>>;
    assert.ok(Number(row.gflops) > 0 && Number(row.fractionOfPeak) > 0);
    assert.match(notes.join("\n"), /skipped: pytorch.*no-python/);
    if (!hasOnnxRuntime()) return assert.match(notes.join("\n"), /skipped: onnxruntime.*not installed/);
    assert.ok(row.peers.onnxruntime > 0 && row.ratios.onnxruntime > 0);
    assert.ok(row.differences.onnxruntime < 1e-4, `${row.differences.onnxruntime}`);
  });

  it("throws out a peer that computes something else", async () => {
    const python = join(folder, "liar");
    await writeFile(
      python,
      `#!${process.execPath}
const { output, height, width } = JSON.parse(process.argv[3]);
console.log('{"ready":"1"}');
require("node:readline").createInterface({ input: process.stdin }).on("line", () => {
  require("node:fs").writeFileSync(output, new Float32Array(height * width * 3));
  console.log('{"seconds":0.000001}');
});`,
    );
    await chmod(python, 0o755);
    const { rows, notes } = await bench(["--filter", "smnet/256/fp32", "--peers", "pytorch"], { SMHDR_PYTHON: python });
    assert.deepEqual(rows.get("smnet/256/fp32")?.peers, {});
    assert.match(notes.join("\n"), /skipped: pytorch.*differs from ours/);
  });

  it("merges against a copy, and names who is missing", async () => {
    const { rows, notes } = await bench(["--filter", "merge/3x24MP"]);
    const names = ["merge/3x24MP", "merge/3x24MP/16bit", "merge/3x24MP/aligned"];
    for (const name of names) {
      const { copy } = (rows.get(name) ?? assert.fail(name)).peers as Record<string, number>;
      assert.ok(copy > 0, name);
    }
    assert.match(notes.join("\n"), /skipped: opencv.*SMHDR_PYTHON/);
  });

  const skip = nativeBenchmark() ? false : "the native benchmark is not built (npm run bench)";
  it("takes the rows of the native benchmark, and trains in it", { skip }, async () => {
    const kernels = await bench(["--filter", "kernel/layer_norm"]);
    assert.ok(kernels.rows.has("kernel/layer_norm") && kernels.rows.has("kernel/layer_norm/backward"));
    const { rows } = await bench(["--filter", "train/2x128", "--peers", "none"]);
    assert.ok(Number(rows.get("train/2x128")?.gflops) > 0);
  });

  it("refuses wrong calls", async () => {
    const unknown = await smhdr("bench", "--filter", "smnet/1234");
    assert.equal(unknown.code, 2);
    assert.match(unknown.stderr, /"smnet\/1234" is in no row's name.*smnet\/256\/fp32.*merge\/3x24MP/);
    const peers = await smhdr("bench", "--peers", "tensorflow");
    assert.equal(peers.code, 2);
    assert.match(peers.stderr, /onnxruntime,pytorch,opencv/);
  });

  it("names the slow rows it leaves out", async () => {
    const { rows, notes } = await bench(["--filter", "growth/network/45"]);
    assert.equal(rows.size, 0);
    assert.match(notes.join("\n"), /--full.*growth\/network\/45MP/);
  });
});
