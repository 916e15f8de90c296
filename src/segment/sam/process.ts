import { SmhdrError } from "../../errors.js";
import { SamGenerator } from "./generator.js";
import type { FromProcess, ToProcess } from "./segmenter.js";

// The process that SamSegmenter starts: it loads the models, then answers one image after the other.

const tell = (message: FromProcess) =>
  new Promise<void>((resolve) => {
    process.send?.(message, undefined, undefined, () => resolve());
  });

let generator: SamGenerator | undefined;

async function answer(message: ToProcess): Promise<FromProcess> {
  if (message.kind === "load") {
    generator = await SamGenerator.load(message.models, message.options);
    return { kind: "loaded" };
  }
  if (!generator) throw new SmhdrError("INTERNAL", "The models were not loaded.");
  const { labels, count } = await generator.segment(message.image, message.options, (fraction) => {
    void tell({ kind: "progress", fraction });
  });
  return { kind: "segments", labels, count };
}

process.on("message", async (message: ToProcess) => {
  try {
    await tell(await answer(message));
  } catch (error) {
    const { code, message: text } =
      error instanceof SmhdrError
        ? error
        : { code: "INTERNAL" as const, message: (error instanceof Error && error.stack) || String(error) };
    await tell({ kind: "error", code, message: text });
  }
});
process.on("disconnect", () => process.exit()); // nobody is left to answer to
process.on("SIGINT", () => {}); // a console's Ctrl-C: the parent decides what becomes of it
