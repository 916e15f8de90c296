const STEPS = 4096;

/** A table of `curve`, of light within 0 and 1: step k holds it at (k / 4096)^2, which keeps the shadows exact. */
export function curveTable(curve: (light: number) => number): Float32Array {
  return Float32Array.from({ length: STEPS + 2 }, (_, i) => curve((i / STEPS) ** 2));
}

/** The curve of such a table. */
export function tabulated(table: Float32Array): (light: number) => number {
  return (light) => {
    const at = Math.sqrt(light < 0 ? 0 : light > 1 ? 1 : light) * STEPS;
    const below = Math.floor(at);
    return table[below] + (at - below) * (table[below + 1] - table[below]);
  };
}
