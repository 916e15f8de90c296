import type { Bracket, Note } from "../bracket/bracket.js";
import { type ReadOptions, readBracket } from "../bracket/read-bracket.js";
import type { Radiance } from "../image.js";
import { writeImage } from "../output/write-image.js";
import type { Reconstructor, RunOptions } from "../reconstruct/reconstructor.js";

export interface MergeFilesOptions extends Omit<ReadOptions, "onProgress">, Pick<RunOptions, "turn"> {
  /** Begins a stage ("Reading", "Merging", "Writing"); the function returned takes its finished fraction. */
  readonly onStage?: ((name: string) => (fraction: number) => void) | undefined;
  readonly onNote?: ((note: Note) => void) | undefined;
  /** Changes the radiance before it is written. */
  readonly finish?: ((radiance: Radiance, bracket: Bracket) => Radiance) | undefined;
}

/** What a merge was made of. */
export interface MergedFiles {
  readonly width: number;
  readonly height: number;
  readonly exposures: readonly {
    readonly name: string;
    readonly exposureValue: number;
    readonly exposureSource: string;
  }[];
  readonly reference: number;
  readonly method: string | undefined;
  readonly model: string | undefined;
}

/** Photographs in, files out: reads, merges and writes one bracket. Throws as readBracket, Reconstructor.run and writeImage do. */
export async function mergeFiles(
  reconstructor: Reconstructor,
  photographs: readonly string[],
  outputs: readonly string[],
  { onStage, onNote, finish, turn, ...read }: MergeFilesOptions,
): Promise<MergedFiles> {
  const { signal } = read;
  const bracket = await readBracket(photographs, { ...read, onProgress: onStage?.("Reading") });
  let radiance: Radiance;
  try {
    for (const note of bracket.notes) onNote?.(note);
    radiance = await reconstructor.run(bracket, { signal, onProgress: onStage?.("Merging"), onNote, turn });
  } finally {
    bracket.close();
  }
  if (finish) radiance = finish(radiance, bracket);
  const progress = onStage?.("Writing");
  for (const [index, path] of outputs.entries()) {
    await writeImage(radiance, path, {
      signal,
      onProgress: progress && ((fraction) => progress((index + fraction) / outputs.length)),
    });
  }
  const { width, height, reference } = bracket;
  const exposures = bracket.exposures.map(({ name, exposureValue, exposureSource }) => ({
    name,
    exposureValue,
    exposureSource,
  }));
  const { method, model } = radiance.metadata;
  return { width, height, exposures, reference, method, model };
}
