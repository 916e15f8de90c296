import { parentPort } from "node:worker_threads";
import { EXRLoader } from "three/examples/jsm/loaders/EXRLoader.js";
import type { FromThread } from "./three-exr.js";

// The thread that decodes one file by three's loader.

const THREE_FLOAT_TYPE = 1015;

parentPort?.once("message", (file: ArrayBuffer) => {
  const say = (answer: FromThread, transfer: ArrayBuffer[] = []) => parentPort?.postMessage(answer, transfer);
  try {
    const rgba = new EXRLoader().setDataType(THREE_FLOAT_TYPE).parse(file).data;
    say({ rgba }, [rgba.buffer as ArrayBuffer]);
  } catch (error) {
    say({ error: error instanceof Error ? error.message : String(error) });
  }
});
