import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Radiance, RadianceMetadata } from "../../src/image.js";

/** Reproducible radiance from 2^-12 to 2^4, coloured, with smooth and with rough areas. */
export function someRadiance(width: number, height: number, metadata: RadianceMetadata = {}): Radiance {
  const data = new Float32Array(width * height * 3);
  let state = 1;
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const x = Math.floor(i / 3) % width;
    const stops = -12 + (16 * x) / width + (x % 2) * (state / 2 ** 32) + (i % 3) * 0.3;
    data[i] = x % 7 === 3 ? 0.25 : 2 ** stops;
  }
  return { width, height, channels: 3, data, encoding: { transfer: "linear", primaries: "srgb" }, metadata };
}

export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "smhdr-test-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Whether a command runs here at all. */
export function hasCommand(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

/** The Python to ask for a second opinion: SMHDR_PYTHON, or python3. */
export const PYTHON = process.env.SMHDR_PYTHON ?? "python3";

/** What OpenCV reads from each file: float32 RGB. Undefined where there is no OpenCV with OpenEXR. */
export function readWithOpenCv(files: string[], folder: string): Float32Array[] | undefined {
  const program = `
import os, sys
os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"
import cv2, numpy
for i, name in enumerate(sys.argv[2:]):
    image = cv2.imread(name, cv2.IMREAD_UNCHANGED)
    image[..., 2::-1].astype(numpy.float32).tofile(f"{sys.argv[1]}/{i}.raw")
`;
  // Some of its builds are without OpenEXR.
  const able = `import os; os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"; import cv2, numpy; assert cv2.haveImageWriter("a.exr")`;
  if (!hasCommand(PYTHON, "-c", able)) return undefined;
  const run = spawnSync(PYTHON, ["-c", program, folder, ...files], { encoding: "utf8" });
  if (run.status !== 0) throw new Error(run.stderr);
  return files.map((_, i) => floatsOf(join(folder, `${i}.raw`)));
}

function floatsOf(path: string): Float32Array {
  return new Float32Array(new Uint8Array(readFileSync(path)).buffer);
}
