import { writeFile } from "node:fs/promises";
import { extname } from "node:path";
import type { Command } from "commander";
import { SmhdrError } from "../errors.js";
import { modelFor } from "../model/extractors.js";
import { loadModel } from "../model/model.js";
import { exportOnnx } from "../model/onnx/export.js";
import { hasPrior } from "../model/prior.js";
import { replaceFile } from "../output/replace-file.js";
import { parseCount } from "./arguments.js";
import type { Reporter } from "./reporter.js";
import { runCommand } from "./run-command.js";

interface ExportOptions {
  readonly output: string;
  readonly exposures?: number;
  readonly json?: boolean;
}

export function registerExport(program: Command): void {
  program
    .command("export")
    .description("write a model as an ONNX file, for any batch and any height and width that are multiples of 8")
    .argument("<model>", "a model's name or .safetensors file")
    .requiredOption("-o, --output <model.onnx>", "where to write the ONNX file")
    .option("--exposures <n>", "for how many, where the model has several extractors (default: its own)", parseCount(1))
    .option("--json", "print one JSON object a line")
    .addHelpText(
      "after",
      `
Inputs:   exposures [batch, 6 n, height, width]: per exposure, shortest first, linearised radiance RGB, then pixel
          values RGB in [0, 1]; n is fixed in the file. Models with a prior, as the shipped ones are, take 6 channels
          more: the radiance of the merge without a network, RGB in [0, 1], then its mu-law (docs/training.md)
          sums_mode (optional): whose image-wide sums are used: 0 each image's own, 1 the batch's mean, 2 given_sums
          given_sums (optional): a row of the output "sums", so that the tiles of a picture agree
Outputs:  radiance [batch, 3, height, width], linear, in [0, 1]; sums [batch, count]

Example:
  smhdr export smhdr -o smhdr.onnx`,
    )
    .action((model: string, options: ExportOptions) =>
      runCommand(options, (reporter, signal) => exportModel(model, options, reporter, signal)),
    );
}

async function exportModel(
  name: string,
  options: ExportOptions,
  reporter: Reporter,
  signal: AbortSignal,
): Promise<void> {
  const { output } = options;
  if (extname(output) !== ".onnx") {
    throw new SmhdrError("INVALID_ARGUMENT", `Output "${output}": expected a name ending in .onnx.`);
  }
  const loaded = await loadModel(name);
  const model = modelFor(loaded, options.exposures ?? loaded.exposures);
  const bytes = exportOnnx(model);
  await replaceFile(output, signal, (temporary) => writeFile(temporary, bytes));
  const { width, exposures } = model;
  const prior = hasPrior(model.tensors);
  reporter.result(
    `${output}: ${bytes.length.toLocaleString("en")} bytes, for ${exposures} exposures${prior ? " and the merge of them" : ""}`,
    {
      output,
      bytes: bytes.length,
      width,
      exposures,
      prior,
    },
  );
}
