const STEPS = 4096;

/** `curve`, of light within 0 and 1, by a table: even steps in the square root keep the shadows exact. */
export function tabulated(curve: (light: number) => number): (light: number) => number {
  const table = Float32Array.from({ length: STEPS + 2 }, (_, i) => curve((i / STEPS) ** 2));
  return (light) => {
    const at = Math.sqrt(light < 0 ? 0 : light > 1 ? 1 : light) * STEPS;
    const below = Math.floor(at);
    return table[below] + (at - below) * (table[below + 1] - table[below]);
  };
}
