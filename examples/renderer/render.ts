import { join } from "node:path";
import { Worker } from "node:worker_threads";
import sharp from "sharp";
import type { Radiance } from "../../src/image.js";
import { replaceFile } from "../../src/output/replace-file.js";
import { writeRadianceHdr } from "../../src/output/write-radiance-hdr.js";
import { CAMERA_MODEL, expose, F_NUMBER, ISO, SHOTS } from "./camera.js";
import { allocateLight, buildScene, gridSize, type LightBuffer, Renderer, type Settings } from "./frame.js";
import { smoothLight } from "./smooth.js";

export interface RenderedBracket {
  readonly settings: Settings;
  /** Noise-free linear radiance as each shot saw it, RGB in [0, 1]; the second one is the truth. */
  readonly radiance: readonly Float32Array[];
}

/** What a worker is asked to do: rows of one stage, taken one by one from a shared counter. */
export interface Stage {
  readonly name: "gather" | "draw";
  readonly rows: number;
  readonly next: Int32Array;
  readonly lights: readonly LightBuffer[];
  readonly pictures: readonly Float32Array[];
}

/** Works rows of `stage` until none is left. Rows do not depend on who draws them. */
export function workStage(renderer: Renderer, settings: Settings, stage: Stage): void {
  for (;;) {
    const row = Atomics.add(stage.next, 0, 1);
    if (row >= stage.rows) return;
    if (stage.name === "gather") renderer.gatherRow(row, stage.lights);
    else {
      const shot = Math.floor(row / settings.height);
      renderer.drawRow(shot, row % settings.height, stage.lights[shot], stage.pictures[shot]);
    }
  }
}

/** Renders all shots; the result depends on `settings` alone, not on the number of threads (0 = in this thread). */
export async function renderBracket(
  settings: Settings,
  threads: number,
  onProgress: (what: string, done: number) => void = () => {},
): Promise<RenderedBracket> {
  const lights = SHOTS.map(() => allocateLight(settings));
  const bytes = settings.width * settings.height * 12;
  const pictures = SHOTS.map(() => new Float32Array(new SharedArrayBuffer(bytes)));
  const stage = (name: Stage["name"], rows: number): Stage => ({
    name,
    rows,
    next: new Int32Array(new SharedArrayBuffer(4)),
    lights,
    pictures,
  });
  const scene = buildScene(settings);
  const run = async (s: Stage) => {
    if (threads === 0) {
      workStage(new Renderer(settings, scene), settings, s);
      return;
    }
    const timer = setInterval(() => onProgress(s.name, Math.min(1, Atomics.load(s.next, 0) / s.rows)), 1000);
    // A worker starts without the loader that reads TypeScript: it registers it first.
    const source = `import("tsx/esm/api").then((tsx) => { tsx.register(); return import(${JSON.stringify(new URL("./worker.ts", import.meta.url).href)}); })`;
    await Promise.all(
      Array.from(
        { length: threads },
        () =>
          new Promise<void>((resolve, reject) => {
            const worker = new Worker(source, { eval: true, workerData: { settings, scene, stage: s } });
            worker.once("error", reject);
            worker.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`A worker ended with ${code}.`))));
          }),
      ),
    ).finally(() => clearInterval(timer));
  };
  await run(stage("gather", gridSize(settings).height));
  for (const light of lights) smoothLight(light, settings.paths);
  await run(stage("draw", settings.height * SHOTS.length));
  return { settings, radiance: pictures };
}

/** Writes exposure-1.jpg to -3.jpg with their EXIF, and truth.hdr; gives the paths. */
export async function writeBracket(bracket: RenderedBracket, folder: string): Promise<string[]> {
  const { width, height, seed } = bracket.settings;
  const paths: string[] = [];
  for (const [k, shot] of SHOTS.entries()) {
    const path = join(folder, `exposure-${k + 1}.jpg`);
    await sharp(expose(bracket.radiance[k], k, seed), { raw: { width, height, channels: 3 } })
      .withExif({
        IFD0: { Make: "smhdr", Model: CAMERA_MODEL, Software: "scripts/render-example.ts" },
        IFD2: {
          ExposureTime: shot.time.join("/"),
          FNumber: F_NUMBER.join("/"),
          ISOSpeedRatings: String(ISO),
        },
      })
      .jpeg({ quality: 92, chromaSubsampling: "4:4:4" })
      .toFile(path);
    paths.push(path);
  }
  const path = join(folder, "truth.hdr");
  const truth: Radiance = {
    width,
    height,
    channels: 3,
    data: bracket.radiance[1],
    encoding: { transfer: "linear", primaries: "srgb" },
    metadata: { software: "scripts/render-example.ts" },
  };
  await replaceFile(path, undefined, (temporary) => writeRadianceHdr(truth, temporary));
  return [...paths, path];
}
