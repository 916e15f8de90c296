import { readFile } from "node:fs/promises";
import type { Precision } from "../engine/engine.js";
import type { Perceptual } from "../engine/trainer.js";
import { SmhdrError, shown, unreadable } from "../errors.js";
import { type PresetName, presets } from "./presets.js";
import { ISO_RANGE } from "./synthesis/camera.js";

/** Everything that decides what a training run computes. Stored in the run's folder as config.json. */
export interface TrainConfig {
  /** Of the first weights and of every random choice. */
  readonly seed: number;
  /** Photographs per bracket, shortest first, the reference in the middle. */
  readonly exposures: number;
  /** The network's shape; a model to go on from (--model) has its own. */
  readonly network: {
    readonly width: number;
    readonly stages: number;
    /** Masked hybrid attention blocks of each stage. */
    readonly blocks: number;
    readonly heads: number;
    /** Start of conv_end.bias: with -2 the first guess is an even, rather dark picture. null: as method.md draws it. */
    readonly outputBias: number | null;
    /** Whether the network chooses, pixel by pixel, between its own radiance and a plain merge (docs/training.md). */
    readonly prior: boolean;
  };
  readonly curriculum: {
    /** Epochs without masks, with a rising and with a falling mask ratio. */
    readonly plain: number;
    readonly rising: number;
    readonly falling: number;
    readonly peakRatio: number;
    /** False: the ratio is constant, peakRatio, in the masked epochs. */
    readonly changing: boolean;
  };
  /** Patches per scene and epoch. */
  readonly patchesPerScene: number;
  /** Side of a patch in pixels, a multiple of 8. */
  readonly patch: number;
  readonly batch: number;
  /** Learning rate: a cosine from `from` towards `to`; over the first `warmUp` steps it rises linearly to that. */
  readonly rate: { readonly from: number; readonly to: number; readonly warmUp: number };
  readonly adam: { readonly beta1: number; readonly beta2: number; readonly epsilon: number };
  /** Longest gradient; 0: no limit. */
  readonly clip: number;
  readonly dropPath: number;
  /** Decay of the weight averages, which the saved model is made of; 0: the model is the weights themselves. */
  readonly averageDecay: number;
  /** Random flips (the paper's), turns by a quarter, and the share of patches whose colours change places. */
  readonly augmentation: { readonly flips: boolean; readonly turns: boolean; readonly colours: number };
  /** Masks by segment and local quality, over the whole patch, or none. */
  readonly masks: "semantic" | "random" | "none";
  /** How often a stage is masked by the mask map rather than by the importance map. */
  readonly maskProbability: number;
  /** Loss weights by the local quality of segments, or 1 everywhere. */
  readonly lossWeights: "quality" | "uniform";
  /** Half of it times the squared mu-law difference is added to the absolute one: more than 0 weighs what is far off, as a PSNR does. */
  readonly squaredWeight: number;
  /** It times the loss of a network's own radiance, its prior left out, is added to the loss: so it learns where the prior is taken, too. */
  readonly ownWeight: number;
  /**
   * Half of it times the mean square of the logits of a prior's gate is added to the loss, so that the gate never opens so far that the
   * network has nothing to learn from.
   */
  readonly gateWeight: number;
  /** bf16: products of bfloat16, where the device has them (docs/training.md). */
  readonly precision: Precision;
  readonly perceptual: Perceptual;
  readonly perceptualWeight: number;
  /** Beginnings of the names of the parameters to train; all where empty. */
  readonly trained: readonly string[];
  /** A validation every so many epochs on so many scenes of Test/; `every` 0: only at the end. */
  readonly validation: { readonly every: number; readonly scenes: number };
  /** Scenes held in memory at once; 0: all. Fewer cost a reading of every scene per epoch. */
  readonly scenesAtOnce: number;
  /**
   * For --synthesize: brackets per epoch, their side in pixels, stops between exposures (empty: mixed), the share of cameras whose
   * curve is not gamma 2.2, the share of scenes in which anything moves, the range of ISO settings, which decide the noise, and what the
   * network shall give: the scene's radiance, or what a merge makes of the same photographs without movement and noise.
   */
  readonly synthesis: {
    readonly scenes: number;
    readonly size: number;
    readonly evSpacing: readonly number[];
    readonly response: number;
    readonly motion: number;
    readonly iso: readonly [number, number];
    readonly truth: "scene" | "merged";
  };
  /** A checkpoint is written when so many minutes have passed since the last; 0: after every step. */
  readonly checkpointMinutes: number;
  /** A line of metrics every so many steps. */
  readonly metricsEvery: number;
}

/** What may differ between a run and its continuation: it changes nothing that is computed. */
const FREE = new Set(["checkpointMinutes", "metricsEvery", "validation"]);

type Range = readonly [least: number, most: number, whole?: boolean];
const ranges: Readonly<Record<string, Range>> = {
  seed: [0, 2 ** 32 - 1, true],
  exposures: [2, 9, true],
  "network.width": [4, 1024, true],
  "network.stages": [1, 32, true],
  "network.blocks": [1, 64, true],
  "network.heads": [1, 256, true],
  "network.outputBias": [-20, 20],
  "curriculum.plain": [0, 1e6, true],
  "curriculum.rising": [0, 1e6, true],
  "curriculum.falling": [0, 1e6, true],
  "curriculum.peakRatio": [0, 1],
  patchesPerScene: [1, 1e6, true],
  patch: [8, 4096, true],
  batch: [1, 1024, true],
  "rate.from": [0, 1],
  "rate.to": [0, 1],
  "rate.warmUp": [0, 1e9, true],
  "adam.beta1": [0, 0.999999],
  "adam.beta2": [0, 0.999999],
  "adam.epsilon": [1e-16, 1],
  clip: [0, 1e9],
  dropPath: [0, 0.99],
  averageDecay: [0, 0.999999],
  "augmentation.colours": [0, 1],
  maskProbability: [0, 1],
  squaredWeight: [0, 1e6],
  ownWeight: [0, 1e6],
  gateWeight: [0, 1e6],
  perceptualWeight: [0, 1e6],
  "validation.every": [0, 1e6, true],
  "validation.scenes": [0, 1e6, true],
  scenesAtOnce: [0, 1e6, true],
  "synthesis.scenes": [1, 1e5, true],
  "synthesis.size": [16, 4096, true],
  "synthesis.response": [0, 1],
  "synthesis.motion": [0, 1],
  checkpointMinutes: [0, 1e5],
  metricsEvery: [1, 1e6, true],
};
const choices: Readonly<Record<string, readonly string[]>> = {
  masks: ["semantic", "random", "none"],
  lossWeights: ["quality", "uniform"],
  precision: ["fp32", "bf16"],
  perceptual: ["vgg", "structure", "none"],
  "synthesis.truth": ["scene", "merged"],
};

function refuse(where: string, expected: string, got: unknown): never {
  throw new SmhdrError("INVALID_ARGUMENT", `${where}: expected ${expected}, got ${shown(got)}.`);
}

/** `given` over `base`, key by key; a key that the base lacks, or a value out of its range, is refused. */
function overlay(base: unknown, given: unknown, key: string, source: string): unknown {
  const where = `${source}: ${key}`;
  const known = choices[key];
  if (known) return known.includes(given as string) ? given : refuse(where, known.join(", "), given);
  const range = ranges[key];
  if (range) {
    if (given === null && key === "network.outputBias") return null;
    const [least, most, whole] = range;
    if (typeof given !== "number" || !(given >= least && given <= most) || (whole && !Number.isInteger(given)))
      refuse(where, `a ${whole ? "whole " : ""}number from ${least} to ${most}`, given);
    return given;
  }
  if (typeof base === "boolean") return typeof given === "boolean" ? given : refuse(where, "true or false", given);
  if (key === "trained")
    return Array.isArray(given) && given.every((name) => typeof name === "string" && name !== "")
      ? given
      : refuse(where, "a list of names", given);
  if (key === "synthesis.evSpacing")
    return Array.isArray(given) && given.every((stops) => typeof stops === "number" && stops > 0 && stops <= 6)
      ? given
      : refuse(where, "a list of numbers above 0, 6 at most", given);
  if (key === "synthesis.iso")
    return Array.isArray(given) &&
      given.length === 2 &&
      given.every((iso) => typeof iso === "number" && iso >= ISO_RANGE[0] && iso <= ISO_RANGE[1]) &&
      given[0] <= given[1]
      ? given
      : refuse(where, `[low, high] within ${ISO_RANGE.join(" to ")}`, given);
  if (!isObject(given)) return refuse(key ? where : source, "an object", given);
  const out: Record<string, unknown> = { ...(base as object) };
  for (const [name, value] of Object.entries(given)) {
    const path = key ? `${key}.${name}` : name;
    if (!Object.hasOwn(out, name))
      refuse(source, `the keys ${Object.keys(out).join(", ")}${key ? ` in ${key}` : ""}`, path);
    out[name] = overlay(out[name], value, path, source);
  }
  return out;
}

/**
 * A preset with changes over it.
 * @param given keys of TrainConfig to change, and possibly `preset`, as a configuration file holds them
 * @param source names the file or option in errors
 * @throws SmhdrError INVALID_ARGUMENT for an unknown key, a value out of range, or values that do not go together
 */
export function makeConfig(given: unknown = {}, preset?: PresetName, source = "config"): TrainConfig {
  if (!isObject(given)) refuse(source, "an object", given);
  const { preset: own, ...changes } = given;
  const name = preset ?? own ?? "small";
  if (typeof name !== "string" || !Object.hasOwn(presets, name))
    refuse(`${source}: preset`, Object.keys(presets).join(", "), name);
  const config = overlay(presets[name as PresetName], changes, "", source) as TrainConfig;
  const { network, curriculum } = config;
  if (network.width % network.heads !== 0)
    refuse(`${source}: network.heads`, `a divisor of the width ${network.width}`, network.heads);
  if (config.patch % 8 !== 0) refuse(`${source}: patch`, "a multiple of 8", config.patch);
  if (config.perceptual === "vgg" && config.patch < 16)
    refuse(`${source}: patch`, "16 or more for VGG-19", config.patch);
  if (config.rate.to > config.rate.from) refuse(`${source}: rate.to`, "no more than rate.from", config.rate.to);
  if (curriculum.plain + curriculum.rising + curriculum.falling < 1)
    refuse(`${source}: curriculum`, "at least one epoch", curriculum);
  if (config.synthesis.size < config.patch)
    refuse(`${source}: synthesis.size`, `at least the patch's ${config.patch}`, config.synthesis.size);
  return config;
}

/** What a run did before there were such keys. */
const BEFORE = { squaredWeight: 0, ownWeight: 0, gateWeight: 0 } as const;
const BEFORE_IN_SYNTHESIS = { truth: "scene" } as const;

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * The configuration of a run that was begun, all of it: it goes on as it was, whatever presets are by now.
 * @throws SmhdrError as makeConfig does
 */
export function begunConfig(given: unknown, source: string): TrainConfig {
  if (!isObject(given)) return makeConfig(given, undefined, source);
  const { synthesis = {} } = given;
  const completed = isObject(synthesis) ? { ...BEFORE_IN_SYNTHESIS, ...synthesis } : synthesis;
  return makeConfig({ ...BEFORE, ...given, synthesis: completed }, undefined, source);
}

/** Reads a configuration file (JSON: keys of TrainConfig and `preset`). Throws IO, BAD_INPUT or as makeConfig does. */
export async function readConfig(path: string, preset?: PresetName): Promise<TrainConfig> {
  const text = await readFile(path, "utf8").catch((error: Error) => {
    throw unreadable(path, error);
  });
  return makeConfig(parseJson(text, path), preset, path);
}

/** What the text of a file, named `path` in errors, says. Throws BAD_INPUT. */
export function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SmhdrError("BAD_INPUT", `${path}: is not JSON (${(error as Error).message}).`, { cause: error });
  }
}

/** Where two configurations differ in what they compute: "patch (128, not 64)"; undefined where they do not. */
export function configDifference(expected: TrainConfig, got: TrainConfig): string | undefined {
  const visit = (a: unknown, b: unknown, key: string): string | undefined => {
    if (FREE.has(key)) return undefined;
    if (typeof a === "object" && typeof b === "object" && a && b && !Array.isArray(a)) {
      const names = new Set([...Object.keys(a), ...Object.keys(b)]);
      for (const name of names) {
        const sub = (o: object) => (o as Record<string, unknown>)[name];
        const found = visit(sub(a), sub(b), key ? `${key}.${name}` : name);
        if (found) return found;
      }
      return undefined;
    }
    return JSON.stringify(a) === JSON.stringify(b)
      ? undefined
      : `${key} (${JSON.stringify(a)}, not ${JSON.stringify(b)})`;
  };
  return visit(expected, got, "");
}
