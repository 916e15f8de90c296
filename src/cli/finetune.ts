import { type Command, InvalidArgumentError } from "commander";
import type { NativeDevices } from "../engine/addon.js";
import { SmhdrError } from "../errors.js";
import { exposureCounts, modelFor } from "../model/extractors.js";
import { FOLD_WEIGHT, plainFold, spreadFold } from "../model/fold.js";
import { loadModel, type Model } from "../model/model.js";
import { hasPrior } from "../model/prior.js";
import { makeConfig, readConfig } from "../train/config.js";
import { readRunConfig, runFolder } from "../train/run-folder.js";
import { train } from "../train/train.js";
import { memoryOption, parseCount, threadsOption, trainingDeviceOption } from "./arguments.js";
import { runCommand } from "./run-command.js";
import { followTraining } from "./train.js";

interface FinetuneOptions {
  readonly model: string;
  readonly exposures: number;
  readonly data?: string;
  readonly synthesize?: readonly string[];
  readonly output: string;
  readonly config?: string;
  readonly resume?: boolean;
  readonly memory: number;
  readonly device: NativeDevices;
  readonly threads?: number;
  readonly json?: boolean;
}

const help = `
Only the feature extractor (conv_first and its fold) is trained, the rest of the model stays as it is. The run's folder is like that of smhdr
train; its model.safetensors is the model given with one more extractor: smhdr merge then uses brackets of that many exposures
whole. A configuration file changes keys of the preset "finetune"; its "trained" names what else to train.
A new extractor begins as the model's own on a selection of the exposures. Compare by smhdr evaluate before you keep it.

Examples:
  smhdr synthesize *.hdr -o data5 --count 200 --seed 1 --exposures 5
  smhdr finetune --model smhdr-s --exposures 5 --data data5 -o run5
  smhdr finetune --model run5/model.safetensors --exposures 7 --synthesize *.hdr -o run7`;

export function registerFinetune(program: Command): void {
  program
    .command("finetune")
    .description("adapt a model to another number of exposures by training its feature extractor")
    .requiredOption("--model <name|file>", "the model to adapt")
    .requiredOption("--exposures <n>", "photographs per bracket, 2 to 9", parseExposures)
    .option("--data <dir>", "data set of such brackets: trains on Training, validates on Test")
    .option("--synthesize <hdr...>", "train on scenes made from these HDR images instead")
    .requiredOption("-o, --output <dir>", "folder of the run")
    .option("--config <file>", "configuration, JSON")
    .option("--resume", "go on with the run in the output folder")
    .addOption(memoryOption("memory for the reconstruction of whole scenes"))
    .addOption(trainingDeviceOption())
    .addOption(threadsOption())
    .option("--json", "print one JSON object a line")
    .addHelpText("after", help)
    .action((options: FinetuneOptions) =>
      runCommand(options, async (reporter, signal) => {
        const { exposures, data, synthesize, output, resume, memory, threads, device } = options;
        const base = await loadModel(options.model);
        const result = await train({
          ...{ output, data, sources: synthesize, resume, base, threads, device, memory, signal },
          ...(!resume && { model: start(base, exposures) }),
          config: await chooseConfig(options),
          ...followTraining(reporter, synthesize !== undefined),
        });
        const { position, psnrMu, psnrL, folder } = result;
        const counts = exposureCounts(await loadModel(folder.model));
        const quality = psnrMu === undefined ? "" : `, PSNR-mu ${psnrMu.toFixed(2)} dB, PSNR-l ${psnrL?.toFixed(2)} dB`;
        reporter.result(
          `${folder.model}: takes ${counts.join(", ")} exposures; ${position.steps} steps for ${exposures}${quality}`,
          {
            model: folder.model,
            exposures: counts,
            steps: position.steps,
            skipped: position.skipped,
            seconds: Number(position.seconds.toFixed(1)),
            ...(psnrMu !== undefined && { psnrMu, psnrL }),
          },
        );
      }),
    );
}

function parseExposures(text: string): number {
  const count = parseCount(2)(text);
  if (count > 9) throw new InvalidArgumentError("Expected a whole number from 2 to 9.");
  return count;
}

/** The extractor that the model has for so many, else the network's own on a selection of the exposures. */
function start(base: Model, exposures: number): Model {
  if (exposures > base.width)
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `exposures: the model ${base.name} of width ${base.width} takes at most ${base.width}; got ${exposures}.`,
    );
  if (exposureCounts(base).includes(exposures)) return modelFor(base, exposures);
  const { tensors, ...own } = modelFor(base, base.exposures);
  const fold = tensors.get(FOLD_WEIGHT) ?? plainFold(base.width, base.exposures);
  const first = spreadFold(fold, exposures, hasPrior(tensors));
  return { ...own, exposures, tensors: new Map(tensors).set(FOLD_WEIGHT, first) };
}

/** Undefined for a run that goes on as it was begun. */
async function chooseConfig({ config, exposures, resume, output }: FinetuneOptions) {
  const begun = resume ? (await readRunConfig(runFolder(output))).exposures : exposures;
  if (begun !== exposures)
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `--exposures: the run in ${output} was begun for ${begun}; got ${exposures}.`,
    );
  if (config !== undefined) return { ...(await readConfig(config, "finetune")), exposures };
  return resume ? undefined : makeConfig({ exposures }, "finetune");
}
