import { join } from "node:path";
import { type Command, Option } from "commander";
import { loadAddon } from "../engine/addon.js";
import type { DeviceName } from "../engine/select.js";
import { SmhdrError, throwIfAborted } from "../errors.js";
import { compare, type Measures } from "../measure/compare.js";
import { loadModel } from "../model/model.js";
import { readOnnx } from "../model/onnx/read.js";
import { LoadedNetwork } from "../reconstruct/loaded-network.js";
import { findScenes, readScene, type Scene, type Split } from "../train/dataset.js";
import { mergeScene, type RestoreOptions, referenceAlone, restoreByNetwork } from "../train/restore-scene.js";
import { deviceOption, memoryOption, parseTile, threadsOption } from "./arguments.js";
import type { Reporter } from "./reporter.js";
import { runCommand } from "./run-command.js";

type EvaluatedMethod = "network" | "radiance" | "reference";

interface EvaluateOptions {
  readonly model?: string;
  readonly method: EvaluatedMethod;
  readonly split: Split;
  readonly device: DeviceName;
  readonly align?: "auto" | "none";
  readonly follow?: "auto" | "none";
  readonly memory: number;
  readonly tile: "auto" | "full" | number;
  readonly threads?: number;
  readonly json?: boolean;
}

const help = `
Figures in dB, or up to 1 for SSIM: -l on linear radiance, -mu after the mu-law; PU21-PSNR shows radiance 1.0 at 1000 cd/m2.
The mean is that of the scenes' figures.

Examples:
  smhdr evaluate data
  smhdr evaluate data --model run/model.safetensors
  smhdr evaluate data --method radiance
  smhdr evaluate data --method reference --json`;

export function registerEvaluate(program: Command): void {
  program
    .command("evaluate")
    .description("measure a model, the radiance merge or the reference alone on a data set with known truth")
    .argument("<dir>", "folder of the data set, with Test or Training")
    .addOption(
      new Option("--method <name>", "what to measure: a model, the merge without one, or the reference exposure alone")
        .choices(["network", "radiance", "reference"])
        .default("network"),
    )
    .option("--model <name|file>", "the network's weights (default: the shipped model)")
    .addOption(new Option("--split <name>", "which part of the data set").choices(["Test", "Training"]).default("Test"))
    .addOption(deviceOption("what computes a model"))
    .addOption(
      new Option(
        "--align <mode>",
        "undo what the hands moved between photographs first (default: auto for radiance and for a model that sees its merge; none for others, as published figures are made)",
      ).choices(["auto", "none"]),
    )
    .addOption(
      new Option(
        "--follow <mode>",
        "take what moved from where it went in each photograph (default: as --align)",
      ).choices(["auto", "none"]),
    )
    .option("--tile <size>", "side of the network's tiles in pixels, auto, or full: all at once", parseTile, "auto")
    .addOption(memoryOption())
    .addOption(threadsOption())
    .option("--json", "print one JSON object a line")
    .addHelpText("after", help)
    .action((directory: string, options: EvaluateOptions) =>
      runCommand(options, (reporter, signal) => evaluate(directory, options, reporter, signal)),
    );
}

const columns: readonly (readonly [keyof Measures, string, number])[] = [
  ["psnrL", "PSNR-l", 2],
  ["psnrMu", "PSNR-mu", 2],
  ["ssimL", "SSIM-l", 4],
  ["ssimMu", "SSIM-mu", 4],
  ["psnrPu21", "PU21-PSNR", 2],
];
const COLUMN_WIDTH = 11;

async function evaluate(directory: string, options: EvaluateOptions, reporter: Reporter, signal: AbortSignal) {
  const scenes = await findScenes(directory, options.split);
  const { restore, label, aligned } = await chooseMethod(options, reporter);
  const { method } = options;
  const align = method === "reference" ? "none" : (options.align ?? (aligned ? "auto" : "none"));
  const follow = method === "reference" ? "none" : (options.follow ?? align);
  const title = `${label}, align ${align}${follow === align ? "" : `, follow ${follow}`}`;
  const nameWidth = Math.max(title.length, "mean of 1000".length, ...scenes.map(({ name }) => name.length));
  const row = (name: string, cells: readonly string[]) =>
    name.padEnd(nameWidth) + cells.map((cell) => cell.padStart(COLUMN_WIDTH)).join("");
  const figures = (measures: Measures) =>
    columns.map(([key, , digits]) => (measures[key] === Infinity ? "inf" : measures[key].toFixed(digits)));
  const header = row(
    title,
    columns.map(([, heading]) => heading),
  );
  const seen = new Set<string>();
  const all: Measures[] = [];
  for (const [index, files] of scenes.entries()) {
    throwIfAborted(signal);
    const progress = reporter.stage("Evaluate");
    progress(index / scenes.length);
    const scene = await readScene(files);
    const data = await restore(scene, {
      align,
      follow,
      memory: options.memory,
      tile: options.tile,
      threads: options.threads,
      signal,
      onProgress: (fraction) => progress((index + 0.9 * fraction) / scenes.length),
      onNote: (note) => {
        if (note.code !== "tiles" && seen.has(note.message)) return; // said once for all scenes like it
        seen.add(note.message);
        reporter.note(note);
      },
    });
    throwIfAborted(signal);
    const picture = (values: Float32Array) => ({
      width: scene.width,
      height: scene.height,
      channels: 3,
      data: values,
      encoding: { transfer: "linear", primaries: "srgb" } as const,
    });
    const measures = compare(picture(data), picture(scene.truth));
    all.push(measures);
    const line = row(scene.name, figures(measures));
    const { name, width, height, exposureValues } = scene;
    reporter.result(index === 0 ? `${header}\n${line}` : line, {
      scene: name,
      width,
      height,
      exposureValues,
      align,
      follow,
      ...measures,
    });
  }
  const mean = Object.fromEntries(
    columns.map(([key]) => [key, all.reduce((sum, measures) => sum + measures[key], 0) / all.length]),
  ) as unknown as Measures;
  const { split } = options;
  reporter.result(row(`mean of ${all.length}`, figures(mean)), {
    mean: true,
    scenes: all.length,
    set: join(directory, split),
    label,
    align,
    follow,
    ...mean,
  });
}

type Restore = (scene: Scene, options: RestoreOptions) => Promise<Float32Array>;

async function chooseMethod(
  { method, model, device, threads }: EvaluateOptions,
  reporter: Reporter,
): Promise<{
  readonly restore: Restore;
  readonly label: string;
  /** Whether it is made for photographs that are aligned. */
  readonly aligned: boolean;
}> {
  if (method === "radiance" || method === "reference") {
    if (model !== undefined)
      throw new SmhdrError("INVALID_ARGUMENT", `model: method "${method}" uses no model; got "${model}".`);
    if (method === "reference")
      return { restore: async (scene) => referenceAlone(scene), label: "reference alone", aligned: false };
    loadAddon();
    return { restore: mergeScene, label: "radiance merge", aligned: true };
  }
  const loaded = model?.endsWith(".onnx") ? await readOnnx(model) : await loadModel(model);
  // In fp32 everywhere: a measure must not depend on the processor it is taken on.
  const { network, notes } = await LoadedNetwork.load(loaded, device, threads, "fp32");
  for (const note of notes) reporter.note(note);
  // As given: every run's model is called model.safetensors.
  const label = model === undefined || model === "default" ? loaded.name : model;
  return {
    restore: (scene, options) => restoreByNetwork(scene, network, options),
    label,
    aligned: network.prior,
  };
}
