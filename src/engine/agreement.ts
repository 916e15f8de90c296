import { SmhdrError } from "../errors.js";
import type { EngineInput } from "./engine.js";

type Run = (input: EngineInput) => Promise<Float32Array>;

/** PSNR in dB below which a device computes something else; bf16 is above 60. */
export const LEAST_AGREEMENT = 40;

/** PSNR in dB of what two devices make of the same small noise. */
export async function agreement(a: Run, b: Run, exposures: number): Promise<number> {
  const [height, width] = [16, 24];
  const noise = (_: unknown, i: number) => 0.5 + 0.5 * Math.sin(i * i);
  const input: EngineInput = {
    exposures: Array.from({ length: exposures }, () => Float32Array.from({ length: height * width * 6 }, noise)),
    batch: 1,
    height,
    width,
  };
  const [left, right] = [await a(input), await b(input)];
  const squared = left.reduce((sum, value, i) => sum + (value - right[i]) ** 2, 0);
  return -10 * Math.log10(squared / left.length);
}

/**
 * Compares a GPU with the processor before it is trusted.
 * @throws SmhdrError UNSUPPORTED where they disagree; as `gpu` does where it fails
 */
export async function checkAgreement(device: string, gpu: Run, processor: Run, exposures: number): Promise<void> {
  const psnr = await agreement(gpu, processor, exposures);
  if (!(psnr >= LEAST_AGREEMENT))
    throw new SmhdrError(
      "UNSUPPORTED",
      `device: "${device}" computes something else than the processor (PSNR ${psnr.toFixed(1)} dB); please report it, and use --device cpu.`,
    );
}
