import { createHash } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { basename, extname } from "node:path";
import type { Command } from "commander";
import { createNativeEngine } from "../engine/native.js";
import { SmhdrError, throwIfAborted, unreadable } from "../errors.js";
import { type Checkpoint, decodeCheckpoint } from "../model/checkpoint/checkpoint.js";
import type { Model } from "../model/model.js";
import { encodeSafetensors } from "../model/safetensors.js";
import { replaceFile } from "../output/replace-file.js";
import { parseCount } from "./arguments.js";
import type { Reporter } from "./reporter.js";
import { runCommand } from "./run-command.js";

interface ImportOptions {
  readonly output: string;
  readonly exposures?: number;
  readonly json?: boolean;
}

/** The published checkpoints have 5 MB, 16 with their optimiser's state: larger files are something else. */
const MAX_BYTES = 2 ** 30;

export function registerImport(program: Command): void {
  program
    .command("import")
    .description("make a model of a PyTorch checkpoint; nothing in it is executed")
    .argument("<checkpoint.pth>", "what torch.save wrote: a state dictionary, alone or beside other things")
    .requiredOption("-o, --output <model.safetensors>", "where to write the model")
    .option("--exposures <n>", "how many exposures it was trained for (default: 3)", parseCount(1))
    .option("--json", "print one JSON object a line")
    .addHelpText("after", "\nExample:\n  smhdr import smhdr_kalantari.pth -o kalantari.safetensors")
    .action((path: string, options: ImportOptions) =>
      runCommand(options, (reporter, signal) => importCheckpoint(path, options, reporter, signal)),
    );
}

async function importCheckpoint(path: string, options: ImportOptions, reporter: Reporter, signal: AbortSignal) {
  if (extname(options.output) !== ".safetensors")
    throw new SmhdrError("INVALID_ARGUMENT", `Output "${options.output}": expected a name ending in .safetensors.`);
  const bytes = await read(path);
  let checkpoint: Checkpoint;
  try {
    checkpoint = await decodeCheckpoint(bytes);
  } catch (error) {
    throw error instanceof SmhdrError
      ? new SmhdrError(error.code, `${path}: ${error.message}`, { cause: error })
      : error;
  }
  throwIfAborted(signal);
  const model = toModel(path, bytes, checkpoint, options.exposures);
  tryToBuild(path, model, reporter);
  await replaceFile(options.output, signal, (temporary) =>
    writeFile(temporary, encodeSafetensors(model.tensors, model.metadata)),
  );
  const parameters = Number(model.metadata.parameters);
  reporter.result(
    `${options.output}: ${parameters.toLocaleString("en")} parameters, width ${model.width}, for ${model.exposures} exposures`,
    { output: options.output, parameters, width: model.width, exposures: model.exposures, format: checkpoint.format },
  );
}

async function read(path: string): Promise<Buffer> {
  const cannot = (error: Error) => {
    throw unreadable(path, error);
  };
  const { size } = await stat(path).catch(cannot);
  if (size > MAX_BYTES)
    throw new SmhdrError(
      "UNSUPPORTED",
      `${path}: ${size} bytes are no checkpoint of this network (at most ${MAX_BYTES}).`,
    );
  return readFile(path).catch(cannot);
}

function toModel(path: string, bytes: Uint8Array, { tensors, facts, format }: Checkpoint, exposures?: number): Model {
  const first = tensors.get("conv_first.0.weight")?.shape;
  if (first?.length !== 4 || first[1] !== 6)
    throw new SmhdrError(
      "BAD_INPUT",
      `${path}: holds no SMNet model: ${first ? `conv_first.0.weight is [${first}], not` : "there is no conv_first.0.weight"} [C, 6, 3, 3].`,
    );
  const width = first[0];
  const count = exposures ?? 3;
  if (count > width)
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `--exposures: weights of width ${width} take at most ${width} exposures, not ${count}; say for how many they were trained.`,
    );
  let parameters = 0;
  for (const { data } of tensors.values()) parameters += data.length;
  const metadata = {
    exposures: String(count),
    parameters: String(parameters),
    ...("epoch" in facts && { epoch: facts.epoch }),
    source: basename(path),
    source_format: `pytorch-${format}`,
    source_sha256: createHash("sha256").update(bytes).digest("hex"),
  };
  return { name: basename(path), tensors, width, exposures: count, metadata };
}

/** Names and shapes are right when the network can be built of them; the error names the first that is not. */
function tryToBuild(path: string, model: Model, reporter: Reporter): void {
  try {
    createNativeEngine(model, 1);
  } catch (error) {
    if (!(error instanceof SmhdrError)) throw error;
    if (error.code === "ADDON_MISSING")
      reporter.note({
        code: "unchecked-model",
        message: "The weights' names and shapes were not checked: the native part is missing.",
      });
    else throw new SmhdrError("BAD_INPUT", `${path}: holds no SMNet model: ${error.message}`, { cause: error });
  }
}
