// How long following what moved takes: npx tsx bench/follow.ts [--rounds 7]
// The example bracket's first and middle exposure at a megapixel, not aligned, so that all of it moves: smhdr's finding (two flows, the one
// back at half the resolution, levels matched, judged), and OpenCV's DIS flows (medium, the same resolutions) on the same roots of light, in
// turn, both on all processors.
// OpenCV: python3, or $SMHDR_PYTHON, with cv2 5; skipped, saying so, where absent.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { followBracket } from "../src/bracket/motion.js";
import { linearTable } from "../src/bracket/transfer.js";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "7" } } });
const [width, height, stops] = [1224, 816, 3];
const root = new URL("../", import.meta.url).pathname;
const table = linearTable("srgb", 8);
const proxies = await Promise.all(
  [1, 2].map(async (i) => {
    const path = join(root, "examples/bracket", `exposure-${i}.jpg`);
    const pixels = await sharp(path).resize(width, height, { fit: "fill" }).removeAlpha().raw().toBuffer();
    return { width, height, scale: 1, data: Float32Array.from(pixels, (code) => table[code]) };
  }),
);
const folder = await mkdtemp(join(tmpdir(), "smhdr-follow-"));
try {
  const paths = proxies.map((_, i) => join(folder, `${i}.raw`));
  for (const [i, { data }] of proxies.entries()) {
    const gain = i === 0 ? 2 ** stops : 1;
    const root = (p: number) =>
      [0, 1, 2].reduce((sum, c) => sum + Math.sqrt(Math.min(1, data[3 * p + c] * gain)), 0) / 3;
    await writeFile(
      paths[i],
      Uint8Array.from({ length: width * height }, (_, p) => Math.round(255 * root(p))),
    );
  }
  const python = process.env.SMHDR_PYTHON ?? "python3";
  const script = join(root, "bench/peers/opencv_flow.py");
  const peer = spawn(python, [script, `${width}`, `${height}`, ...paths], { stdio: ["pipe", "pipe", "ignore"] });
  const lines = createInterface({ input: peer.stdout })[Symbol.asyncIterator]();
  peer.on("error", () => {});
  peer.stdin.on("error", () => {});
  const theirs = async () => {
    peer.stdin.write("\n");
    const { value, done } = await lines.next();
    return done ? undefined : Number(value);
  };
  const ours = async () => {
    const start = performance.now();
    const { fields } = await followBracket(proxies, [0, stops], 1);
    if (!fields[0]) throw new Error("nothing moved in the example bracket");
    return (performance.now() - start) / 1000;
  };
  await ours();
  const compared = (await theirs()) !== undefined;
  if (!compared) console.log(`skipped: OpenCV (${python} with cv2 is needed; SMHDR_PYTHON names another)`);
  const seconds: number[] = [];
  const ratios: number[] = [];
  const other: number[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    const own = await ours();
    seconds.push(own);
    const peers = compared ? await theirs() : undefined;
    if (peers === undefined) continue;
    other.push(peers);
    ratios.push(peers / own);
  }
  peer.stdin.end();
  if (compared) await once(peer, "close");
  const median = (all: readonly number[]) => [...all].sort((a, b) => a - b)[all.length >> 1];
  console.log(`smhdr, one exposure of a megapixel   ${median(seconds).toFixed(3)} s`);
  if (compared)
    console.log(
      `OpenCV's two flows alone             ${median(other).toFixed(3)} s, ${median(ratios).toFixed(2)} times`,
    );
} finally {
  await rm(folder, { recursive: true, force: true });
}
