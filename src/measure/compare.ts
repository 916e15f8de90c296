import type { Image } from "../image.js";
import { muLaw } from "./mu-law.js";
import { psnr } from "./psnr.js";
import { pu21Psnr } from "./pu21.js";
import { ssim } from "./ssim.js";

/** PSNR in dB, SSIM up to 1; "L" on linear radiance, "Mu" after the mu-law. */
export interface Measures {
  readonly psnrL: number;
  readonly psnrMu: number;
  readonly ssimL: number;
  readonly ssimMu: number;
  readonly psnrPu21: number;
}

/** All measures of a result against the truth: float32 linear pictures of one size on one scale, in [0, 1]. */
export function compare(
  result: Image & { readonly data: Float32Array },
  truth: Image & { readonly data: Float32Array },
): Measures {
  return {
    psnrL: psnr(result.data, truth.data),
    psnrMu: psnr(result.data, truth.data, muLaw),
    ssimL: ssim(result, truth),
    ssimMu: ssim(result, truth, muLaw),
    psnrPu21: pu21Psnr(result.data, truth.data),
  };
}
