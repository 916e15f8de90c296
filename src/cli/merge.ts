import { type Command, Option } from "commander";
import { readBracket } from "../bracket/read-bracket.js";
import { DEVICE_NAMES, type DeviceName } from "../engine/select.js";
import type { Radiance } from "../image.js";
import { OUTPUT_EXTENSIONS, writeImage } from "../output/write-image.js";
import { type Method, Reconstructor } from "../reconstruct/reconstructor.js";
import { collect, memoryOption, parseCount, parseExposureValues, parseTile, threadsOption } from "./arguments.js";
import { checkOutputs } from "./output-paths.js";
import type { Reporter } from "./reporter.js";
import { runCommand } from "./run-command.js";

interface MergeOptions {
  ev?: number[];
  reference?: number;
  method?: Method;
  model?: string;
  device: DeviceName;
  align: "auto" | "none";
  precision: "auto" | "fp32" | "bf16";
  tile: "auto" | "full" | number;
  memory: number;
  threads?: number;
  alpha: "refuse" | "flatten";
  output: string[];
  json?: boolean;
  quiet?: boolean;
}

const examples = `
Examples:
  smhdr merge a.jpg b.jpg c.jpg -o merged.exr
  smhdr merge bracket/*.tif -o merged.exr -o preview.jpg       one merge, two files
  smhdr merge a.png b.png c.png --ev 0,2,4 -o merged.hdr       photographs without EXIF
  smhdr merge *.jpg --reference 0 -o merged.tif                show the moment of the shortest exposure`;

export function registerMerge(program: Command): void {
  program
    .command("merge")
    .description("merge the photographs of a bracket into one high dynamic range image without ghosts")
    .argument("<image...>", "the photographs, in any order: JPEG, PNG, TIFF, WebP or AVIF")
    .requiredOption("-o, --output <file>", `where to write: ${OUTPUT_EXTENSIONS.join(", ")}; may be repeated`, collect)
    .option("--ev <stops>", "exposure values in the order of the photographs, such as 0,2,4", parseExposureValues)
    .option("--reference <index>", "whose moment to show, 0 the shortest exposure (default: the middle)", parseCount(0))
    .addOption(
      new Option("--method <name>", "how to merge (default: radiance, or network with --model)").choices([
        "network",
        "radiance",
      ]),
    )
    .option("--model <name|file>", "the network's weights")
    .addOption(new Option("--device <name>", "what computes").choices(DEVICE_NAMES).default("auto"))
    .addOption(
      new Option("--align <mode>", "undo what the hands moved between photographs")
        .choices(["auto", "none"])
        .default("auto"),
    )
    .addOption(
      new Option("--precision <type>", "the network's arithmetic").choices(["auto", "fp32", "bf16"]).default("auto"),
    )
    .option("--tile <size>", "side of the network's tiles in pixels, auto, or full: all at once", parseTile, "auto")
    .addOption(memoryOption())
    .addOption(threadsOption())
    .addOption(
      new Option("--alpha <what>", "photographs with transparency").choices(["refuse", "flatten"]).default("refuse"),
    )
    .option("--json", "print one JSON object a line: progress, notes, the result")
    .option("--quiet", "no progress bar, no notes")
    .addHelpText("after", examples)
    .action((images: string[], options: MergeOptions) =>
      runCommand(options, (reporter, signal) => merge(images, options, reporter, signal)),
    );
}

async function merge(images: string[], options: MergeOptions, reporter: Reporter, signal: AbortSignal): Promise<void> {
  const { ev, reference, method, model, device, align, precision, tile, memory, threads, alpha, output } = options;
  const start = performance.now();
  await checkOutputs(output, images);
  const reconstructor = await Reconstructor.load({ method, model, device, precision, tile, memory, threads });
  for (const note of reconstructor.notes) reporter.note(note);
  const bracket = await readBracket(images, {
    align,
    alpha,
    memory,
    signal,
    onProgress: reporter.stage("Reading"),
    ev,
    reference,
  });
  const exposures = bracket.exposures.map(({ name, exposureValue, exposureSource }) => ({
    name,
    exposureValue,
    exposureSource,
  }));
  let radiance: Radiance;
  try {
    for (const note of bracket.notes) reporter.note(note);
    radiance = await reconstructor.run(bracket, {
      signal,
      onProgress: reporter.stage("Merging"),
      onNote: (note) => reporter.note(note),
    });
    const progress = reporter.stage("Writing");
    for (const [index, path] of output.entries()) {
      await writeImage(radiance, path, {
        signal,
        onProgress: (fraction) => progress((index + fraction) / output.length),
      });
    }
  } finally {
    bracket.close();
  }
  reporter.result(output.join("\n"), {
    outputs: output,
    width: bracket.width,
    height: bracket.height,
    exposures,
    reference: bracket.reference,
    method: radiance.metadata.method,
    model: radiance.metadata.model,
    seconds: Number(((performance.now() - start) / 1000).toFixed(3)),
  });
}
