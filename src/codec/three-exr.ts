import { startThread } from "../start-thread.js";
import { badExr, type ExrHeader, unsupportedExr } from "./openexr-header.js";

/** What decoding takes at most, far beyond what was ever seen: at once, and for every thousand samples. */
const PATIENCE_MS = 30_000;
const PATIENCE_PER_THOUSAND_MS = 1;

/** The thread's answer: RGBA, bottom row first, or what was wrong with the file. */
export type FromThread = { readonly rgba: Float32Array } | { readonly error: string };

/**
 * Decodes what openexr-blocks.ts does not by three's loader: tiles, parts, PXR24, DWA. Damaged blocks can send that
 * loader into an endless loop; so it works in a thread that is ended when it takes too long.
 * Returns RGB, top row first. Throws BAD_INPUT for damaged files.
 */
export async function decodeWithThree(
  bytes: Uint8Array,
  header: ExrHeader,
  patience = patienceFor(header),
): Promise<Float32Array> {
  const { channels, dataWindow } = header;
  // The loader takes every channel for one type and for full resolution.
  if (new Set(channels.map(({ type }) => type)).size > 1) throw unsupportedExr("channels of mixed types");
  if (channels.some(({ xSampling, ySampling }) => xSampling > 1 || ySampling > 1))
    throw unsupportedExr("subsampled channels other than luminance/chroma");
  const [left, top, right, bottom] = dataWindow;
  const [width, height] = [right - left + 1, bottom - top + 1];
  const rgba = await ask(bytes.slice().buffer, patience);
  if (rgba.length !== width * height * 4) throw badExr("is damaged");
  const data = new Float32Array(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0, from = 4 * width * (height - 1 - y); x < width; x++, from += 4, to += 3) {
      data[to] = rgba[from];
      data[to + 1] = rgba[from + 1];
      data[to + 2] = rgba[from + 2];
    }
  }
  return data;
}

/** In milliseconds. */
function patienceFor({ dataWindow: [left, top, right, bottom], channels }: ExrHeader): number {
  const samples = (right - left + 1) * (bottom - top + 1) * channels.length;
  return PATIENCE_MS + (PATIENCE_PER_THOUSAND_MS * samples) / 1000;
}

async function ask(file: ArrayBuffer, patience: number): Promise<Float32Array> {
  // Its remarks on the console are not ours.
  const thread = startThread(new URL("./three-exr-thread.js", import.meta.url), { stdout: true, stderr: true });
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Float32Array>((resolve, reject) => {
      timer = setTimeout(() => reject(badExr("is damaged (its decoding does not end)")), patience);
      thread.once("error", (error) => reject(badExr(`is damaged (${error.message})`, error)));
      thread.once("exit", () => reject(badExr("is damaged (its decoding broke off)")));
      thread.once("message", (answer: FromThread) => {
        if ("rgba" in answer) resolve(answer.rgba);
        else reject(badExr(`is damaged (${answer.error})`));
      });
      thread.postMessage(file, [file]);
    });
  } finally {
    clearTimeout(timer);
    await thread.terminate();
  }
}
