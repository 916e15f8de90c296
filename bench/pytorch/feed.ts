// Feeds training with synthesised brackets: node feed.js SOURCES OUT WORKERS FIRST_SEED OPTIONS_JSON [COUNT]
// SOURCES is a folder of .hdr and .exr images. OUT is a file or named pipe name; worker k writes to OUT.k records of
// float32 exposure values [n], uint16 codes [n, H, W, 3], float32 truth [H, W, 3], uint8 moving [H, W], without end or, with
// COUNT, COUNT brackets in all. Worker k takes seeds FIRST_SEED + k, + k + WORKERS, ... Bundle with esbuild.
import { openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { decodeOpenExr } from "../../src/codec/openexr.js";
import { decodeRadianceHdr } from "../../src/codec/radiance-hdr.js";
import { adopt, type PreparedSource, prepare, type SourceImage } from "../../src/train/synthesis/source.js";
import { type SynthesisOptions, synthesizeBracket } from "../../src/train/synthesis/synthesize.js";

const panoramas = /latlong|_1k\.hdr$|^pmndrs_/i;

async function load(path: string, name: string): Promise<SourceImage> {
  const bytes = readFileSync(path);
  const { width, height, data } = name.endsWith(".exr") ? await decodeOpenExr(bytes) : decodeRadianceHdr(bytes);
  const floats = data as Float32Array;
  for (let i = 0; i < floats.length; i++) if (!(floats[i] >= 0 && Number.isFinite(floats[i]))) floats[i] = 0;
  return { name, width, height, data: floats, panorama: panoramas.test(name) && width === 2 * height };
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

if (isMainThread) {
  const [folder, out, workerCount, firstSeed, optionsJson, count] = process.argv.slice(2);
  const names = readdirSync(folder)
    .filter((name) => /\.(hdr|exr)$/.test(name))
    .sort();
  if (names.length === 0) throw new Error(`${folder} holds no .hdr or .exr file`);
  const ready: PreparedSource[] = [];
  const workers = Array.from({ length: Number(workerCount) }, (_, index) => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: {
        folder,
        out,
        index,
        stride: Number(workerCount),
        firstSeed: Number(firstSeed),
        options: JSON.parse(optionsJson) as SynthesisOptions,
        count: count ? Number(count) : Infinity,
      },
    });
    // Each source is prepared once, by whichever thread is free, and shared.
    worker.on("message", (done: PreparedSource | "next") => {
      if (done !== "next") ready.push(done);
      const name = names.pop();
      if (name) worker.postMessage({ prepare: name });
      else if (done !== "next" && ready.length === total) for (const other of workers) other.postMessage({ ready });
    });
    worker.on("error", (error) => {
      console.error(error);
      process.exit(1);
    });
    return worker;
  });
  const total = names.length;
} else {
  const { folder, out, index, stride, firstSeed, options, count } = workerData;
  parentPort?.on("message", async (message: { prepare?: string; ready?: PreparedSource[] }) => {
    if (message.prepare) parentPort?.postMessage(prepare(await load(join(folder, message.prepare), message.prepare)));
    if (!message.ready) return;
    const empty = new Float32Array(0);
    const sources = message.ready
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((source): SourceImage => {
        const { width, height } = source.levels[0];
        const image = { name: source.name, width, height, data: empty, panorama: source.panorama };
        adopt(image, source);
        return image;
      });
    const file = openSync(`${out}.${index}`, "w");
    for (let k = index; k < count; k += stride) {
      const bracket = synthesizeBracket(sources, options, firstSeed + k);
      writeAll(file, bytesOf(Float32Array.from(bracket.exposureValues)));
      for (const exposure of bracket.exposures) writeAll(file, bytesOf(exposure));
      writeAll(file, bytesOf(bracket.truth));
      writeAll(file, bytesOf(bracket.moving));
    }
    process.exit(0);
  });
  parentPort?.postMessage("next");
}
