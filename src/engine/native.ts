import type { Model } from "../model/model.js";
import { loadAddon } from "./addon.js";
import type { Engine, Precision } from "./engine.js";
import { finishTask } from "./task.js";

/** What a forward pass holds for a pixel: four tensors of width C and six planes. */
const liveFloats = (width: number) => 4 * width + 6;

/**
 * The network on the processor's own kernels. `threads` 0 means one per processor.
 * @throws SmhdrError ADDON_MISSING, INVALID_ARGUMENT naming the weight that does not fit, or UNSUPPORTED for bf16 on
 * a processor without it.
 */
export function createNativeEngine(model: Model, threads = 0, precision: Precision = "fp32"): Engine {
  const addon = loadAddon();
  const { handle, width, device } = addon.createSession(Object.fromEntries(model.tensors), threads, precision);
  return {
    device: `cpu (${device})`,
    bytesPerPixel: (exposures) => 4 * (liveFloats(width) + 6 * exposures + 3),
    run: (input, { signal, onProgress } = {}) =>
      finishTask(() => addon.runSession(handle, { record: false, ...input }, onProgress), signal),
    clearSums: () => addon.clearSums(handle),
  };
}
