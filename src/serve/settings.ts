import type { DeviceName } from "../engine/select.js";
import type { Chromaticities, Encoding, Primaries, Transfer } from "../image.js";
import type { Method } from "../reconstruct/reconstructor.js";

/** How a job is to be merged; the fields of docs/service.md. */
export interface Settings {
  /** Indices of the exposures to merge; null: all. */
  readonly use: readonly number[] | null;
  readonly ev: readonly number[] | null;
  /** Index into the job's exposures as listed. */
  readonly reference: number | null;
  readonly method: Method | null;
  readonly model: string | null;
  readonly device: DeviceName;
  readonly precision: "auto" | "fp32" | "bf16";
  readonly align: "auto" | "none";
  /** Null: as align. */
  readonly follow: "auto" | "none" | null;
}

export const defaultSettings: Settings = {
  use: null,
  ev: null,
  reference: null,
  method: null,
  model: null,
  device: "auto",
  precision: "auto",
  align: "auto",
  follow: null,
};

export interface MergeRequest extends Partial<Settings> {
  /** Longest side of a preview. */
  readonly size?: number;
}

export interface JobRequest extends Partial<Settings> {
  readonly source?: "rows" | "files";
  readonly width?: number;
  readonly height?: number;
  readonly format?: "uint8" | "uint16" | "float32";
  readonly encoding?: { readonly transfer?: string | { readonly gamma: number }; readonly primaries?: Primaries };
  readonly exposures: readonly { readonly name?: string }[];
}

/** The settings among the fields of a request, over those before it. */
export function withSettings(before: Settings, request: Partial<Settings>): Settings {
  const { use, ev, reference, method, model, device, precision, align, follow } = { ...before, ...request };
  return { use, ev, reference, method, model, device, precision, align, follow };
}

const GAMMA_STEPS = 4096;

/** The encoding that a request names; sRGB where it names none. */
export function encodingOf({ transfer = "srgb", primaries = "srgb" }: NonNullable<JobRequest["encoding"]>): Encoding {
  if (typeof transfer === "string") return { transfer: transfer as Transfer, primaries };
  const table = Float32Array.from({ length: GAMMA_STEPS }, (_, i) => (i / (GAMMA_STEPS - 1)) ** transfer.gamma);
  return { transfer: { table }, primaries };
}

const number = { type: "number" } as const;
const xy = { type: "array", items: number, minItems: 2, maxItems: 2 } as const;
const nullable = (schema: object) => ({ anyOf: [schema, { type: "null" }] });
const corners: Record<keyof Chromaticities, typeof xy> = { red: xy, green: xy, blue: xy, white: xy };

const settingsFields = {
  use: nullable({
    type: "array",
    items: { type: "integer", minimum: 0, maximum: 15 },
    minItems: 2,
    maxItems: 16,
    uniqueItems: true,
  }),
  ev: nullable({ type: "array", items: number, minItems: 1, maxItems: 16 }),
  reference: nullable({ type: "integer", minimum: 0, maximum: 15 }),
  method: { enum: ["radiance", "network", null] },
  model: nullable({ type: "string", minLength: 1, maxLength: 200 }),
  device: { type: "string", maxLength: 40 },
  precision: { enum: ["auto", "fp32", "bf16"] },
  align: { enum: ["auto", "none"] },
  follow: { enum: ["auto", "none", null] },
};

/** JSON schemas of the requests' bodies. */
export const mergeSchema = {
  type: "object",
  additionalProperties: false,
  properties: { ...settingsFields, size: { type: "integer", minimum: 64, maximum: 4096 } },
} as const;

export const jobSchema = {
  type: "object",
  additionalProperties: false,
  required: ["exposures"],
  properties: {
    ...settingsFields,
    source: { enum: ["rows", "files"] },
    width: { type: "integer", minimum: 1 },
    height: { type: "integer", minimum: 1 },
    format: { enum: ["uint8", "uint16", "float32"] },
    encoding: {
      type: "object",
      additionalProperties: false,
      properties: {
        transfer: {
          anyOf: [
            { enum: ["linear", "srgb", "gamma2.2", "rec709", "pq", "hlg"] },
            {
              type: "object",
              additionalProperties: false,
              required: ["gamma"],
              properties: { gamma: { type: "number", minimum: 0.2, maximum: 5 } },
            },
          ],
        },
        primaries: {
          anyOf: [
            { enum: ["srgb", "display-p3", "adobe-rgb", "prophoto", "rec2020"] },
            {
              type: "object",
              additionalProperties: false,
              required: ["red", "green", "blue", "white"],
              properties: corners,
            },
          ],
        },
      },
    },
    exposures: {
      type: "array",
      minItems: 1,
      maxItems: 16,
      items: {
        type: "object",
        additionalProperties: false,
        properties: { name: { type: "string", maxLength: 500 } },
      },
    },
  },
} as const;
