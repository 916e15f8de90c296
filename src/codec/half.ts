/** IEEE 754 binary16, as its 16 bits in an integer. */

/** The largest finite half: 65504. */
export const MAX_HALF = 65504;

let table: Float32Array | undefined;

/** The value of every half, indexed by its bits. */
export function halfValues(): Float32Array {
  table ??= Float32Array.from({ length: 65536 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const mantissa = bits & 1023;
    if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25));
  });
  return table;
}

/**
 * Rounds finite float32 values to halves, to nearest and ties to even. What would round to infinity becomes
 * +-65504. `from` and `to` have the same length.
 */
export function floatsToHalves(from: Float32Array, to: Uint16Array): void {
  const bits = new Uint32Array(from.buffer, from.byteOffset, from.length);
  for (let i = 0; i < from.length; i++) {
    const sign = (bits[i] >>> 16) & 0x8000;
    const magnitude = bits[i] & 0x7fffffff;
    let half: number;
    if (magnitude >= 0x477fe000) {
      half = 0x7bff; // 65504 and above
    } else if (magnitude >= 0x38800000) {
      // Normal: drop 13 bits of mantissa, round half to even; a carry runs into the exponent as it must.
      half = (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13;
    } else if (magnitude >= 0x33000000) {
      // Subnormal: shift the mantissa with its leading one to units of 2^-24.
      const shift = 126 - (magnitude >>> 23);
      const mantissa = (magnitude & 0x7fffff) | 0x800000;
      half = mantissa >>> shift;
      const rest = mantissa & ((1 << shift) - 1);
      const tie = 1 << (shift - 1);
      if (rest > tie || (rest === tie && half & 1)) half++;
    } else {
      half = 0; // below half of the smallest subnormal
    }
    to[i] = sign | half;
  }
}
