import { access, readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import sharp from "sharp";
import { SmhdrError, throwIfAborted } from "../errors.js";
import { makeFolder } from "../output/make-folder.js";
import { replaceFile } from "../output/replace-file.js";
import { MOST_SEGMENTS, segmentPhotograph, smallestSegment } from "../segment/segment-map.js";
import type { Split } from "../train/dataset.js";
import { streamBrackets } from "../train/synthesis/stream.js";
import type { SyntheticBracket } from "../train/synthesis/synthesize.js";
import { writeScene } from "../train/write-scene.js";
import { parseCount, parseThreads } from "./arguments.js";
import { runCommand } from "./run-command.js";

interface SynthesizeOptions {
  readonly output: string;
  readonly count: number;
  readonly seed: number;
  readonly exposures: number;
  readonly spacing?: readonly number[];
  readonly size: readonly [number, number];
  readonly split: Split;
  readonly jpeg?: number;
  readonly threads: number;
  readonly json?: boolean;
}

/** What the scenes of a set follow from. */
interface Settings {
  readonly sources: readonly string[];
  readonly seed: number;
  readonly exposures: number;
  readonly width: number;
  readonly height: number;
  readonly jpeg: number | null;
  readonly spacing?: readonly number[];
}

export function registerSynthesize(program: Command): void {
  program
    .command("synthesize")
    .description("make a training set: dynamic brackets with exact truth, cut from HDR images")
    .argument("<hdr...>", "HDR images (.hdr, .exr); those twice as wide as high are taken for panoramas")
    .requiredOption("-o, --output <dir>", "folder of the data set")
    .requiredOption("--count <n>", "scenes to make", parseCount(1))
    .requiredOption("--seed <n>", "the same seed makes the same scenes", parseCount(0))
    .option("--exposures <n>", "photographs per bracket, 2 to 9", parseCount(2, 9), 3)
    .option(
      "--spacing <stops...>",
      "stops between exposures, one drawn for each scene (default: mixed, mostly 2)",
      parseSpacing,
    )
    .addOption(new Option("--size <WxH>", "pixels").argParser(parseSize).default([512, 512], "512x512"))
    .addOption(
      new Option("--split <name>", "which part of the data set").choices(["Training", "Test"]).default("Training"),
    )
    .option("--jpeg <quality>", "send the photographs through JPEG, 1 to 100", parseCount(1, 100))
    .option("--threads <n>", "threads", parseThreads, availableParallelism())
    .option("--json", "print one JSON object a line")
    .addHelpText(
      "after",
      "\nAn interrupted run goes on where it stopped when called again the same way.\n\nExample:\n  smhdr synthesize *.hdr -o data --count 500 --seed 1",
    )
    .action((sources: string[], options: SynthesizeOptions) =>
      runCommand(options, async (reporter, signal) => {
        const folder = join(options.output, options.split);
        const made = await synthesizeDataSet(sources, options, signal, reporter.stage("Synthesise"));
        const scenes = options.count === 1 ? "1 scene" : `${options.count} scenes`;
        reporter.result(`${scenes} in ${folder}${made < options.count ? ` (${made} of them new)` : ""}`, {
          folder,
          scenes: options.count,
          made,
        });
      }),
    );
}

function parseSize(text: string): [number, number] {
  const match = /^(\d+)x(\d+)$/i.exec(text.trim());
  const [width, height] = match ? [Number(match[1]), Number(match[2])] : [0, 0];
  if (!(Math.min(width, height) >= 16 && Math.max(width, height) <= 8192))
    throw new InvalidArgumentError("Expected width and height such as 512x512, each from 16 to 8192.");
  return [width, height];
}

function parseSpacing(text: string, before: readonly number[] = []): number[] {
  const stops = Number(text);
  if (!(stops > 0 && stops <= 6)) throw new InvalidArgumentError("Expected a number of stops above 0, 6 at most.");
  return [...before, stops];
}

/** Returns how many scenes were made: those of an earlier, interrupted run are kept. */
async function synthesizeDataSet(
  sources: readonly string[],
  options: SynthesizeOptions,
  signal: AbortSignal,
  progress: (fraction: number) => void,
): Promise<number> {
  const { count, seed, exposures, spacing, split, jpeg } = options;
  const [width, height] = options.size;
  // Room for every segment that a scene can have keeps ids unique over the set, whatever order scenes are made in.
  const idsPerScene = Math.floor((width * height) / smallestSegment) + 2;
  const most = Math.floor(MOST_SEGMENTS / idsPerScene);
  if (count > most)
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `--count: expected at most ${most} scenes of ${width}x${height} in one data set, whose segments are numbered as floats; got ${count}. Make several sets, or smaller scenes (--size).`,
    );
  await agreeOnSettings(options.output, split, {
    sources: sources.map((path) => basename(path)),
    seed,
    exposures,
    width,
    height,
    jpeg: jpeg ?? null,
    ...(spacing && { spacing }),
  });
  const folders = Array.from({ length: count }, (_, i) => join(options.output, split, String(i).padStart(5, "0")));
  let first = 0;
  while (first < count && (await exists(folders[first]))) first++;
  if (first === count) return 0;
  let index = first;
  const stream = {
    sources,
    options: {
      ...{ width, height, exposures },
      ...(spacing && { evSpacing: spacing }),
      ...(jpeg !== undefined && { bits: 8 as const, jpeg: 0 }),
    },
    seed,
    workers: options.threads,
    first,
    count: count - first,
    signal,
  };
  for await (const bracket of streamBrackets(stream)) {
    throwIfAborted(signal);
    const photographed = jpeg === undefined ? bracket : await throughJpeg(bracket, jpeg);
    const middle = photographed.exposures[exposures >> 1];
    await writeScene(folders[index], photographed, segmentPhotograph(middle, width, height, index * idsPerScene));
    index++;
    progress(index / count);
  }
  return count - first;
}

/** A set is made by one recipe: it is written beside the scenes, and another one is refused. */
async function agreeOnSettings(directory: string, split: Split, settings: Settings): Promise<void> {
  const path = join(directory, `synthesis-${split}.json`);
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  const before = await readFile(path, "utf8").catch(() => undefined);
  if (before === text) return;
  if (await exists(join(directory, split)))
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `${join(directory, split)} already holds scenes made otherwise (${difference(before, settings) ?? `see ${path}`}): choose another --output.`,
    );
  await makeFolder(directory);
  await replaceFile(path, undefined, (temporary) => writeFile(temporary, text));
}

/** The first option that the file has otherwise: "seed 2, not 3"; undefined where that cannot be told. */
function difference(before: string | undefined, settings: Settings): string | undefined {
  try {
    const made = inWords(JSON.parse(before ?? ""));
    const asked = inWords(settings);
    const name = [...asked.keys(), ...made.keys()].find((key) => asked.get(key) !== made.get(key));
    return name && `${name} ${made.get(name) ?? "none"}, not ${asked.get(name) ?? "none"}`;
  } catch {
    return undefined;
  }
}

function inWords({ sources, seed, exposures, width, height, jpeg, spacing }: Settings): Map<string, string> {
  return new Map([
    ["seed", `${seed}`],
    ["exposures", `${exposures}`],
    ["size", `${width}x${height}`],
    ["jpeg", `${jpeg ?? "none"}`],
    ["spacing", spacing?.join(" ") ?? "mixed"],
    ...sources.map((name, i): [string, string] => [`HDR image ${i + 1}`, name]),
  ]);
}

async function throughJpeg(bracket: SyntheticBracket, quality: number): Promise<SyntheticBracket> {
  const { width, height } = bracket;
  const exposures = await Promise.all(
    bracket.exposures.map(async (codes) => {
      const bytes = Uint8Array.from(codes, (code) => code >> 8);
      const jpeg = await sharp(bytes, { raw: { width, height, channels: 3 } })
        .jpeg({ quality })
        .toBuffer();
      return Uint16Array.from(await sharp(jpeg).raw().toBuffer(), (v) => v * 257);
    }),
  );
  return { ...bracket, exposures };
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
