import { bracketingOf } from "./maker-note.js";
import { type CameraSettings, type ExifTags, loadExif, number, rational, settingsOf } from "./metadata.js";

/** What EXIF says of how a photograph was taken; each only where stated and sensible. */
export interface Capture {
  readonly settings: CameraSettings;
  /** Make, model and serial number. */
  readonly camera?: string;
  /** Milliseconds on the camera's own clock, counted as if it showed UTC. */
  readonly takenAt?: number;
  /** Milliseconds that `takenAt` may be early: 1000 where the camera states whole seconds. */
  readonly clockStep?: number;
  /** What the photographer asked for, in stops. */
  readonly bias?: number;
  /** Millimetres. */
  readonly focalLength?: number;
  /** Whether the camera was bracketing exposures. */
  readonly bracketing?: boolean;
  /** The camera's own count within a bracket or burst, from 1. */
  readonly sequence?: number;
}

/** Reads `data` as readCameraSettings does, and the maker's notes on bracketing. */
export function readCapture(data: Uint8Array): Capture {
  const exif = loadExif(data);
  if (!exif) return { settings: {} };
  const capture: { -readonly [K in keyof Capture]: Capture[K] } = { settings: settingsOf(exif) };
  const make = text(exif.Make);
  const camera = [make, text(exif.Model), text(exif.BodySerialNumber)].filter(Boolean).join(" ");
  if (camera) capture.camera = camera;
  Object.assign(capture, momentOf(exif));
  const bias = rational(exif.ExposureBiasValue);
  if (bias !== undefined && Math.abs(bias) <= 20) capture.bias = bias;
  const focalLength = rational(exif.FocalLength);
  if (focalLength !== undefined && focalLength > 0 && focalLength < 1e5) capture.focalLength = focalLength;
  // EXIF 2.32, ExposureMode: 0 automatic, 1 manual, 2 automatic bracket.
  if (number(exif.ExposureMode) === 2) capture.bracketing = true;
  return { ...capture, ...bracketingOf(data, exif, make) };
}

function momentOf(exif: ExifTags): Pick<Capture, "takenAt" | "clockStep"> {
  const stated = text(exif.DateTimeOriginal) ?? text(exif.DateTimeDigitized);
  const match = /^(\d{4}):(\d\d):(\d\d)[ T](\d\d):(\d\d):(\d\d)/.exec(stated ?? "");
  if (!match) return {};
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number);
  const whole = Date.UTC(year, month - 1, day, hour, minute, second);
  if (year < 1900 || month < 1 || month > 12 || day < 1) return {}; // clocks that were never set say 0000:00:00
  const fraction = /^\d{1,9}/.exec(text(exif.SubSecTimeOriginal) ?? "")?.[0];
  if (fraction === undefined) return { takenAt: whole, clockStep: 1000 };
  return { takenAt: whole + Math.round(1000 * Number(`0.${fraction}`)), clockStep: 1000 / 10 ** fraction.length };
}

function text(tag: { readonly value?: unknown } | undefined): string | undefined {
  const value = Array.isArray(tag?.value) ? tag.value[0] : tag?.value;
  // Fields of fixed length are padded with NUL.
  const end = typeof value === "string" ? value.split("\0")[0].trim() : "";
  return end === "" ? undefined : end;
}
