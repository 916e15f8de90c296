import type { Command } from "commander";
import { mergeFiles } from "../batch/merge-files.js";
import { OUTPUT_EXTENSIONS } from "../output/write-image.js";
import { Reconstructor } from "../reconstruct/reconstructor.js";
import { collect, parseExposureValues } from "./arguments.js";
import {
  addLimitOptions,
  addMergeOptions,
  type LimitOptions,
  type MergeOptions,
  mergeSettings,
} from "./merge-options.js";
import { checkOutputs } from "./output-paths.js";
import type { Reporter } from "./reporter.js";
import { runCommand } from "./run-command.js";

interface MergeCommandOptions extends MergeOptions, LimitOptions {
  readonly ev?: number[];
  readonly output: string[];
  readonly json?: boolean;
  readonly quiet?: boolean;
}

const examples = `
Examples:
  smhdr merge a.jpg b.jpg c.jpg -o merged.exr
  smhdr merge bracket/*.tif -o merged.exr -o preview.jpg       one merge, two files
  smhdr merge a.png b.png c.png --ev 0,2,4 -o merged.hdr       photographs without EXIF
  smhdr merge *.jpg --reference 0 -o merged.tif                show the moment of the shortest exposure`;

export function registerMerge(program: Command): void {
  const command = program
    .command("merge")
    .description("merge the photographs of a bracket into one high dynamic range image without ghosts")
    .argument("<image...>", "the photographs, in any order: JPEG, PNG, TIFF, WebP or AVIF")
    .requiredOption("-o, --output <file>", `where to write: ${OUTPUT_EXTENSIONS.join(", ")}; may be repeated`, collect)
    .option("--ev <stops>", "exposure values in the order of the photographs, such as 0,2,4", parseExposureValues);
  addLimitOptions(addMergeOptions(command))
    .option("--json", "print one JSON object a line: progress, notes, the result")
    .option("--quiet", "no progress bar, no notes")
    .addHelpText("after", examples)
    .action((images: string[], options: MergeCommandOptions) =>
      runCommand(options, (reporter, signal) => merge(images, options, reporter, signal)),
    );
}

async function merge(
  images: string[],
  options: MergeCommandOptions,
  reporter: Reporter,
  signal: AbortSignal,
): Promise<void> {
  const { ev, memory, threads, output } = options;
  const { method, model, device, precision, tile, align, follow, alpha, reference } = mergeSettings(options);
  const start = performance.now();
  await checkOutputs(output, images);
  const reconstructor = await Reconstructor.load({ method, model, device, precision, tile, memory, threads });
  for (const note of reconstructor.notes) reporter.note(note);
  const merged = await mergeFiles(reconstructor, images, output, {
    ...{ ev, reference, align, follow, alpha, memory, threads, signal },
    onStage: (name) => reporter.stage(name),
    onNote: (note) => reporter.note(note),
  });
  const seconds = Number(((performance.now() - start) / 1000).toFixed(3));
  reporter.result(output.join("\n"), { outputs: output, ...merged, seconds });
}
