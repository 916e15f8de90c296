import { parentPort } from "node:worker_threads";
import { SmhdrError } from "../../errors.js";
import { loadSource } from "./load-sources.js";
import { adopt, prepare, type SourceImage } from "./source.js";
import type { FromWorker, ToWorker } from "./stream.js";
import { type SynthesisOptions, synthesizeBracket } from "./synthesize.js";

const port = parentPort;
if (!port) throw new SmhdrError("INTERNAL", "stream-worker is started by streamBrackets as a thread.");

let sources: SourceImage[] = [];
let options: SynthesisOptions | undefined;

async function handle(message: ToWorker): Promise<[FromWorker, ArrayBuffer[]] | undefined> {
  if (message.kind === "load") {
    const loaded = [];
    for (const path of message.paths) loaded.push(prepare(await loadSource(path)));
    return [{ kind: "loaded", sources: loaded }, []];
  }
  if (message.kind === "start") {
    options = message.options;
    sources = message.sources.map((ready) => {
      const { width, height, data } = ready.levels[0];
      const source = { name: ready.name, width, height, data, panorama: ready.panorama };
      adopt(source, ready);
      return source;
    });
    return undefined;
  }
  const bracket = synthesizeBracket(sources, options as SynthesisOptions, message.seed);
  const { truth, moving, exposures, still = [] } = bracket;
  const buffers = [truth, moving, ...exposures, ...still].map((array) => array.buffer as ArrayBuffer);
  return [{ kind: "bracket", index: message.index, bracket }, buffers];
}

port.on("message", async (message: ToWorker) => {
  try {
    const reply = await handle(message);
    if (reply) port.postMessage(...reply);
  } catch (error) {
    const code = error instanceof SmhdrError ? error.code : "INTERNAL";
    const text =
      error instanceof Error
        ? error instanceof SmhdrError
          ? error.message
          : (error.stack ?? error.message)
        : String(error);
    port.postMessage({ kind: "error", code, message: text } satisfies FromWorker);
  }
});
