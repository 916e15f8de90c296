import { type Command, Option } from "commander";
import { duration } from "../duration.js";
import type { NativeDevices } from "../engine/addon.js";
import { SmhdrError } from "../errors.js";
import { loadModel } from "../model/model.js";
import { makeConfig, readConfig } from "../train/config.js";
import type { ProgressState } from "../train/loop.js";
import { type PresetName, presets } from "../train/presets.js";
import { type TrainOptions, train } from "../train/train.js";
import { memoryOption, threadsOption, trainingDeviceOption } from "./arguments.js";
import type { Reporter } from "./reporter.js";
import { runCommand } from "./run-command.js";

interface TrainCommandOptions {
  readonly data?: string;
  readonly synthesize?: readonly string[];
  readonly output: string;
  readonly config?: string;
  readonly preset?: PresetName;
  readonly resume?: boolean;
  readonly model?: string;
  readonly vgg?: string;
  readonly memory: number;
  readonly device: NativeDevices;
  readonly threads?: number;
  readonly json?: boolean;
}

const help = `
The run's folder gets config.json, metrics.jsonl, model.safetensors (for smhdr merge --model), pictures/ of the validation
scenes, and checkpoint.safetensors. Ctrl-C writes a checkpoint; --resume goes on from it and arrives at the same bits.
A configuration file is JSON with the keys of config.json that differ from the preset, and possibly "preset".

Examples:
  smhdr synthesize *.hdr -o data --count 200 --seed 1
  smhdr train --data data -o run                               the preset "small": smhdr-s
  smhdr train --synthesize *.hdr --data data -o run            new scenes all the time, validated on data/Test
  smhdr train --data data -o run --preset paper --vgg vgg19.safetensors
  smhdr train --data data -o run --resume
  smhdr report run`;

export function registerTrain(program: Command): void {
  program
    .command("train")
    .description("train a network on brackets with known truth")
    .option("--data <dir>", "data set: trains on Training, validates on Test")
    .option("--synthesize <hdr...>", "train on scenes made from these HDR images instead")
    .requiredOption("-o, --output <dir>", "folder of the run")
    .option("--config <file>", "configuration, JSON")
    .addOption(
      new Option("--preset <name>", "configuration to begin with (default: small)").choices(Object.keys(presets)),
    )
    .option("--resume", "go on with the run in the output folder")
    .option("--model <name|file>", "weights to begin with")
    .option("--vgg <file>", "VGG-19's weights for the perceptual term: safetensors, torchvision's names")
    .addOption(memoryOption("memory for the reconstruction of whole scenes"))
    .addOption(trainingDeviceOption())
    .addOption(threadsOption())
    .option("--json", "print one JSON object a line")
    .addHelpText("after", help)
    .action((options: TrainCommandOptions) =>
      runCommand(options, async (reporter, signal) => {
        const { data, synthesize, output, resume, vgg, memory, threads, device } = options;
        const model = options.model === undefined ? undefined : await loadModel(options.model);
        const result = await train({
          ...{ output, data, sources: synthesize, resume, model, vgg, threads, device, memory, signal },
          config: await chooseConfig(options),
          ...followTraining(reporter, synthesize !== undefined),
        });
        const { position, psnrMu, psnrL, folder } = result;
        const quality = psnrMu === undefined ? "" : `, PSNR-mu ${psnrMu.toFixed(2)} dB, PSNR-l ${psnrL?.toFixed(2)} dB`;
        reporter.result(`${folder.model}: ${position.steps} steps${quality}`, {
          model: folder.model,
          steps: position.steps,
          skipped: position.skipped,
          seconds: Number(position.seconds.toFixed(1)),
          ...(psnrMu !== undefined && { psnrMu, psnrL }),
        });
      }),
    );
}

/** Shows notes and progress of a run. */
export function followTraining(
  reporter: Reporter,
  makesScenes: boolean,
): Pick<TrainOptions, "onNote" | "onReading" | "onProgress"> {
  // Reading may take long, or not happen at all: its stage begins with its first news.
  let reading: ((fraction: number) => void) | undefined;
  let training: ReturnType<Reporter["stage"]> | undefined;
  return {
    onNote: (message) => reporter.note({ code: "train", message }),
    onReading: (fraction) => {
      reading ??= reporter.stage(makesScenes ? "Scenes" : "Reading");
      reading(fraction);
    },
    onProgress: (fraction, state) => {
      training ??= reporter.stage("Training");
      training(fraction, describe(state));
    },
  };
}

/** Undefined for a run that goes on as it was begun. */
async function chooseConfig({ config, preset, resume, model }: TrainCommandOptions) {
  if (resume && model !== undefined)
    throw new SmhdrError("INVALID_ARGUMENT", "--model begins a run, --resume goes on with one: give one of them.");
  if (config !== undefined) return readConfig(config, preset);
  return preset !== undefined || !resume ? makeConfig({}, preset) : undefined;
}

function describe({ epoch, epochs, loss, secondsLeft }: ProgressState): string {
  const left = Number.isFinite(secondsLeft) ? `, ${duration(secondsLeft)} left` : "";
  return `epoch ${epoch} of ${epochs}, loss ${Number.isNaN(loss) ? "-" : loss.toFixed(4)}${left}`;
}
