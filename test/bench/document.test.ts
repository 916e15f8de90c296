import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { replaceTables } from "../../src/bench/document.js";
import type { Row } from "../../src/bench/row.js";
import { markdownTable, textLine } from "../../src/bench/table.js";

const row: Row = {
  name: "smnet/256/fp32",
  seconds: 0.5,
  threads: 2,
  gflops: 200,
  fractionOfPeak: 0.611,
  bound: "arithmetic",
  memoryBytes: 2 ** 27,
  peers: { onnxruntime: 2 },
  ratios: { onnxruntime: 4.1 },
  peerMemoryBytes: { onnxruntime: 2 ** 30 },
};
const measured = { rows: [row], machine: "A machine", notes: ["skipped: pytorch: absent"], command: "npm run bench" };

describe("the benchmark's tables", () => {
  test("say all that was measured and leave out empty columns", () => {
    const [head, , line] = markdownTable([row]).split("\n");
    assert.equal(head, "| row | seconds | GFLOP/s | of its peak | memory | others: seconds, times ours |");
    assert.equal(
      line,
      "| smnet/256/fp32 | 0.50 | 200 | 61 % arithmetic | 128 MiB | onnxruntime 2.00 (4.10x, 1024 MiB) |",
    );
    assert.match(textLine(row), /^smnet\/256\/fp32 +0\.50 +200 +61 % arithmetic +128 MiB +onnxruntime/);
    assert.match(textLine({ ...row, quick: true }), /\(quick\)/);
  });

  test("go between their marks and nowhere else", () => {
    const before =
      "# B\n<!-- bench smnet/ -->\nold\n<!-- /bench -->\ntext\n<!-- bench merge/ -->\nkept\n<!-- /bench -->\n";
    const { text, written, homeless } = replaceTables(before, { ...measured, rows: [row, { ...row, name: "x/1" }] });
    assert.ok(!text.includes("old"));
    assert.match(text, /\n`npm run bench`: A machine\.\n\nskipped: pytorch: absent\.\n\n\| row/);
    assert.match(text, /text\n<!-- bench merge\/ -->\nkept\n<!-- \/bench -->\n$/);
    assert.deepEqual([written, homeless], [["smnet/"], ["x/1"]]);
    const again = replaceTables(text, measured).text;
    assert.equal(again, text, "writing twice changes nothing");
  });

  test("all have a place in BENCHMARKS.md", () => {
    const document = readFileSync(new URL("../../BENCHMARKS.md", import.meta.url), "utf8");
    const names = [
      "peak/copy",
      "smnet/256/fp32",
      "train/2x128",
      "merge/3x24MP",
      "kernel/mlp60",
      "growth/core/1MP/fp32",
    ];
    const rows = names.map((name) => ({ ...row, name }));
    assert.deepEqual(replaceTables(document, { ...measured, rows }).homeless, []);
  });
});
