import type { Transfer } from "../image.js";
import type { PixelStore } from "./bracket.js";

type NamedTransfer = Extract<Transfer, string>;

/** Stored value in [0, 1] to linear light in [0, 1]. */
const decoders: Record<NamedTransfer, (value: number) => number> = {
  linear: (v) => v,
  /** IEC 61966-2-1. */
  srgb: (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4),
  "gamma2.2": (v) => v ** 2.2,
  /** ITU-R BT.709, the inverse of the camera's curve, with the digits that make its parts meet (BT.2020, 12 bits). */
  rec709: (v) => (v < 4.5 * 0.0180539685 ? v / 4.5 : ((v + 0.0992968268) / 1.0992968268) ** (1 / 0.45)),
  /** SMPTE ST 2084; 1.0 is 10 000 cd/m2. */
  pq: (v) => {
    const p = v ** (32 / 2523);
    return (Math.max(0, p - 3424 / 4096) / (2413 / 128 - (2392 / 128) * p)) ** (16384 / 2610);
  },
  /** ITU-R BT.2100 HLG, the inverse of the camera's curve: scene light, 1.0 is its peak. */
  hlg: (v) => (v <= 0.5 ? (v * v) / 3 : (Math.exp((v - 0.55991073) / 0.17883277) + 0.28466892) / 12),
};

/** The linear light, in [0, 1], of a stored value in [0, 1]. */
export function toLinear(transfer: Transfer, value: number): number {
  if (typeof transfer === "string") return decoders[transfer](value);
  const { table } = transfer;
  const at = Math.min(Math.max(value, 0), 1) * (table.length - 1);
  const below = Math.min(Math.floor(at), table.length - 2);
  return table[below] + (at - below) * (table[below + 1] - table[below]);
}

/** Linear light in [0, 1] to sRGB's stored value (IEC 61966-2-1). */
export function toSrgb(linear: number): number {
  return linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
}

const namedTables = new Map<string, Float32Array>();
const customTables = new WeakMap<Float32Array, Map<number, Float32Array>>();

/** Linear light of every 8- or 16-bit code; kept, so that it can be asked for per strip. */
export function linearTable(transfer: Transfer, bits: 8 | 16): Float32Array {
  const own = typeof transfer === "string" ? undefined : (customTables.get(transfer.table) ?? new Map());
  if (own && typeof transfer !== "string") customTables.set(transfer.table, own);
  const known = own ? own.get(bits) : namedTables.get(`${transfer} ${bits}`);
  if (known) return known;
  const top = 2 ** bits - 1;
  const table = Float32Array.from({ length: top + 1 }, (_, code) => toLinear(transfer, code / top));
  if (own) own.set(bits, table);
  else namedTables.set(`${transfer} ${bits}`, table);
  return table;
}

const FLOAT_TABLE = 65536;

/** Linear light of evenly spaced stored values: of every code, or of floats within 0 and 1; empty for floats that are linear. */
export function transferTable({ depth, encoding: { transfer } }: Pick<PixelStore, "depth" | "encoding">): Float32Array {
  if (depth !== "float32") return linearTable(transfer, depth === "uint8" ? 8 : 16);
  if (transfer === "linear") return new Float32Array(0);
  return Float32Array.from({ length: FLOAT_TABLE }, (_, i) => toLinear(transfer, i / (FLOAT_TABLE - 1)));
}
