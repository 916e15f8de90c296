import ExifReader from "exifreader";

/** What the camera says about how much light it let in; each only where stated and sensible. */
export interface CameraSettings {
  /** Seconds. */
  readonly time?: number;
  /** Focal length over aperture diameter. */
  readonly fNumber?: number;
  readonly iso?: number;
}

/**
 * Exposure time, f-number and ISO from EXIF: `data` is a whole file or a bare EXIF block (with or without its "Exif"
 * header). Nonsense (zero denominators, negative or absurd values) counts as absent. Exposure bias is not read: it is what
 * the photographer asked for, not what the camera did.
 */
export function readCameraSettings(data: Uint8Array): CameraSettings {
  return settingsOf(loadExif(data));
}

export type ExifTags = Readonly<Record<string, { readonly value?: unknown } | undefined>>;

/** EXIF's tags by name; undefined where there are none that can be read. `data` as in readCameraSettings. */
export function loadExif(data: Uint8Array): ExifTags | undefined {
  const bare = bareExif(data);
  try {
    return ExifReader.load(Buffer.from(bare.buffer, bare.byteOffset, bare.byteLength), { expanded: true })
      .exif as unknown as ExifTags;
  } catch {
    return undefined;
  }
}

/** The block from its TIFF header on. */
export function bareExif(data: Uint8Array): Uint8Array {
  return String.fromCharCode(...data.subarray(0, 6)) === "Exif\0\0" ? data.subarray(6) : data;
}

export function settingsOf(exif: ExifTags | undefined): CameraSettings {
  const settings: { time?: number; fNumber?: number; iso?: number } = {};
  // Times and apertures may be stated in APEX units only.
  const time =
    sensible(rational(exif?.ExposureTime), 1e-7, 1e5) ?? apex(exif?.ShutterSpeedValue, (v) => 2 ** -v, 1e-7, 1e5);
  const fNumber =
    sensible(rational(exif?.FNumber), 0.3, 512) ?? apex(exif?.ApertureValue, (v) => 2 ** (v / 2), 0.3, 512);
  // 65535 in ISOSpeedRatings means: more than 16 bits hold, see the other tags.
  const iso =
    sensible(number(exif?.ISOSpeedRatings), 1, 65534) ??
    sensible(number(exif?.RecommendedExposureIndex), 1, 1e8) ??
    sensible(number(exif?.ISOSpeed), 1, 1e8);
  if (time !== undefined) settings.time = time;
  if (fNumber !== undefined) settings.fNumber = fNumber;
  if (iso !== undefined) settings.iso = iso;
  return settings;
}

/** Light collected, in stops: log2(time * ISO / fNumber^2), missing parts taken as 1. */
export function lightInStops({ time = 1, iso = 1, fNumber = 1 }: CameraSettings): number {
  return Math.log2((time * iso) / fNumber ** 2);
}

export function rational(tag: { readonly value?: unknown } | undefined): number | undefined {
  const value = tag?.value;
  if (!Array.isArray(value) || value.length < 2) return undefined;
  return Number(value[0]) / Number(value[1]);
}

export function number(tag: { readonly value?: unknown } | undefined): number | undefined {
  const value = Array.isArray(tag?.value) ? tag.value[0] : tag?.value;
  return value === undefined ? undefined : Number(value);
}

const sensible = (value: number | undefined, low: number, high: number) =>
  value !== undefined && value >= low && value <= high ? value : undefined;

function apex(tag: { readonly value?: unknown } | undefined, decode: (v: number) => number, low: number, high: number) {
  const value = rational(tag);
  return value === undefined ? undefined : sensible(decode(value), low, high);
}
