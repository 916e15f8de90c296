import { takeColourNoiseAway } from "./colour-noise.js";
import { takeDriftBack } from "./drift.js";
import type { Sampler } from "./sampler.js";

/** What a network was given of one exposure. */
export interface SampledExposure {
  readonly sampler: Sampler;
  readonly exposureValue: number;
}

/**
 * Finishes, in place, the picture that a network with a prior made: its drift from the merge, times `scale`, is taken back, then the
 * colour noise that it left.
 * @param reference which of the exposures is the reference
 * @throws SmhdrError as takeDriftBack and takeColourNoiseAway do
 */
export async function finishPicture(
  picture: Float32Array,
  merge: { readonly width: number; readonly height: number; readonly data: Float32Array },
  scale: number,
  exposures: readonly SampledExposure[],
  reference: number,
  options: { readonly threads?: number | undefined; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  await takeDriftBack(picture, merge, scale, exposures[reference].sampler, options);
  await takeColourNoiseAway(picture, merge.width, exposures, options);
}
