import type { Radiance } from "../image.js";

/**
 * What a file should remember of a radiance, as names and one-line texts: the same in every format. Luminance in
 * cd/m2 is not among it, for photographs do not tell it; `scale` says what 1.0 means instead.
 */
export function describe({ metadata }: Radiance): [name: string, value: string][] {
  const { exposureValues, reference, method, model, software, scale } = metadata;
  const entries: [string, string | undefined][] = [
    ["software", software ?? "smhdr"],
    ["exposureValues", exposureValues?.join(" ")],
    ["referenceExposure", reference?.toString()],
    ["mergeMethod", method],
    ["model", model],
    ["scale", scale ?? "Linear light; 1.0 is where the shortest exposure clips."],
  ];
  // Control characters would end a header line.
  const line = (text: string) => text.replace(/\p{Cc}+/gu, " ").trim();
  return entries.flatMap(([name, value]) => (value === undefined ? [] : [[name, line(value)] as [string, string]]));
}
