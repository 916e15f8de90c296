import type { Model } from "../model/model.js";
import { loadAddon } from "./addon.js";
import type { Engine } from "./engine.js";
import { finishTask } from "./task.js";

/** Tensors of width C that a forward pass holds at once: the workspace's six and the local branch's features. */
const LIVE_TENSORS = 7;

/**
 * The network on the processor's own kernels. `threads` 0 means one per processor.
 * @throws SmhdrError ADDON_MISSING, or INVALID_ARGUMENT naming the weight that does not fit.
 */
export function createNativeEngine(model: Model, threads = 0): Engine {
  const addon = loadAddon();
  const { handle, width, device } = addon.createSession(Object.fromEntries(model.tensors), threads);
  return {
    device: `cpu (${device})`,
    bytesPerPixel: (exposures) => 4 * (LIVE_TENSORS * width + 6 * exposures + 3),
    run: (input, { signal, onProgress } = {}) =>
      finishTask(() => addon.runSession(handle, { record: false, ...input }, onProgress), signal),
    clearSums: () => addon.clearSums(handle),
  };
}
