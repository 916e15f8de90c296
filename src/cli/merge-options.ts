import { type Command, Option } from "commander";
import type { MergeSettings } from "../batch/task.js";
import type { DeviceName } from "../engine/select.js";
import type { Method } from "../reconstruct/reconstructor.js";
import { deviceOption, memoryOption, parseCount, parseTile, threadsOption } from "./arguments.js";

/** How to merge: what every command that merges brackets takes. */
export interface MergeOptions {
  readonly reference?: number;
  readonly method?: Method;
  readonly model?: string;
  readonly device: DeviceName;
  readonly align: "auto" | "none";
  readonly follow?: "auto" | "none";
  readonly precision: "auto" | "fp32" | "bf16";
  readonly tile: "auto" | "full" | number;
  readonly alpha: "refuse" | "flatten";
}

/** Adds the options that decide what a merge looks like. */
export function addMergeOptions(command: Command): Command {
  return command
    .option("--reference <index>", "whose moment to show, 0 the shortest exposure (default: the middle)", parseCount(0))
    .addOption(
      new Option(
        "--method <name>",
        "how to merge: with a trained network, or by weights alone, several times faster (default: network)",
      ).choices(["network", "radiance"]),
    )
    .option("--model <name|file>", "the network's weights")
    .addOption(deviceOption("what computes"))
    .addOption(
      new Option("--align <mode>", "undo what the hands moved between photographs")
        .choices(["auto", "none"])
        .default("auto"),
    )
    .addOption(
      new Option(
        "--follow <mode>",
        "take what moved from where it went in each photograph (default: as --align)",
      ).choices(["auto", "none"]),
    )
    .addOption(
      new Option("--precision <type>", "the network's arithmetic").choices(["auto", "fp32", "bf16"]).default("auto"),
    )
    .option("--tile <size>", "side of the network's tiles in pixels, auto, or full: all at once", parseTile, "auto")
    .addOption(
      new Option("--alpha <what>", "photographs with transparency").choices(["refuse", "flatten"]).default("refuse"),
    );
}

/** What a command that merges may use of the machine. */
export interface LimitOptions {
  readonly memory: number;
  readonly threads?: number;
}

export function addLimitOptions(command: Command): Command {
  return command.addOption(memoryOption()).addOption(threadsOption());
}

export function mergeSettings(options: MergeOptions): MergeSettings {
  const { reference, method, model, device, align, follow, precision, tile, alpha } = options;
  return { reference, method, model, device, align, follow, precision, tile, alpha };
}
