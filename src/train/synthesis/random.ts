/**
 * Small fast generator (sfc32, Chris Doty-Humphrey's PractRand), seeded by splitmix32: the same numbers on every platform.
 * Not for secrets.
 */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d = 1;

  /** Any finite number seeds; `stream` separates independent sequences of one seed. */
  constructor(seed: number, stream = 0) {
    let state = (Math.floor(seed / 2 ** 32) ^ Math.imul(stream + 1, 0x9e3779b9)) | 0;
    const split = () => {
      state = (state + 0x9e3779b9) | 0;
      let z = state ^ (state >>> 16);
      z = Math.imul(z, 0x21f0aaad);
      z ^= z >>> 15;
      z = Math.imul(z, 0x735a2d97);
      return (z ^ (z >>> 15)) | 0;
    };
    this.a = split() ^ (seed | 0);
    this.b = split();
    this.c = split();
    for (let i = 0; i < 15; i++) this.next();
  }

  /** 32 random bits as a signed integer. */
  next(): number {
    const t = (((this.a + this.b) | 0) + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (this.c << 21) | (this.c >>> 11);
    this.c = (this.c + t) | 0;
    return t;
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * ((this.next() >>> 0) / 2 ** 32);
  }

  /** Uniform in the logarithm between two positive numbers. */
  logUniform(low: number, high: number): number {
    return low * (high / low) ** this.uniform();
  }

  /** Uniform in 0 .. count - 1. */
  integer(count: number): number {
    return Math.floor(this.uniform() * count);
  }

  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.integer(items.length)];
  }

  sign(): number {
    return this.next() < 0 ? -1 : 1;
  }

  normal(mean = 0, deviation = 1): number {
    return mean + deviation * normalTable()[this.next() >>> 16];
  }
}

let table: Float32Array | undefined;

/** 65536 equally likely values of the standard normal distribution: indexing it with 16 random bits draws from it. */
export function normalTable(): Float32Array {
  if (table) return table;
  table = new Float32Array(65536);
  for (let i = 0; i < 32768; i++) {
    const value = inverseNormal((i + 0.5) / 65536);
    table[i] = value;
    table[65535 - i] = -value;
  }
  return table;
}

/** Quantile function of the normal distribution for p <= 0.5 (Peter Acklam's rational approximation, relative error 1.15e-9). */
function inverseNormal(p: number): number {
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    return (
      (((((-7.784894002430293e-3 * q - 3.223964580411365e-1) * q - 2.400758277161838) * q - 2.549732539343734) * q +
        4.374664141464968) *
        q +
        2.938163982698783) /
      ((((7.784695709041462e-3 * q + 3.224671290700398e-1) * q + 2.445134137142996) * q + 3.754408661907416) * q + 1)
    );
  }
  const q = p - 0.5;
  const r = q * q;
  return (
    ((((((-3.969683028665376e1 * r + 2.209460984245205e2) * r - 2.759285104469687e2) * r + 1.38357751867269e2) * r -
      3.066479806614716e1) *
      r +
      2.506628277459239) *
      q) /
    (((((-5.447609879822406e1 * r + 1.615858368580409e2) * r - 1.556989798598866e2) * r + 6.680131188771972e1) * r -
      1.328068155288572e1) *
      r +
      1)
  );
}
