/** An sRGB-coded picture of eight stops of light in 16 bits, as an exposure of that many stops; `square` is a bright thing at x. */
export function picture(width: number, height: number, stops: number, square?: number): Uint16Array {
  const out = new Uint16Array(width * height * 3);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const inSquare = square !== undefined && x >= square && x < square + 24 && y >= 20 && y < 44;
      const texture = 1 + 0.2 * Math.sin(x * 0.5) * Math.cos(y * 0.4);
      const light = inSquare ? 0.2 : 2 ** ((6 * x) / width - 7) * texture;
      for (let c = 0; c < 3; c++, i++) {
        const v = Math.min(1, light * (1 - 0.1 * c) * 2 ** stops);
        out[i] = Math.round(65535 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055));
      }
    }
  }
  return out;
}
