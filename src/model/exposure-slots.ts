// How C channels are shared out among n exposures and the heads of their attention; the native core's rule
// (native/ops/ops.h, docs/exposures.md).

/** The channel at which part `part` of `parts` begins; partStart(parts, ...) is the end of the last. */
export function partStart(part: number, parts: number, channels: number): number {
  return Math.floor((part * channels) / parts);
}

/** The parts as [first channel, the one after the last]. */
export function channelParts(parts: number, channels: number): [start: number, end: number][] {
  return Array.from({ length: parts }, (_, i) => [partStart(i, parts, channels), partStart(i + 1, parts, channels)]);
}

/** Heads of the attention between exposures: 4n, but none of a single channel unless 4n = C. */
export function exposureHeads(channels: number, exposures: number): number {
  const published = 4 * exposures;
  return published === channels ? published : Math.min(published, Math.max(1, Math.floor(channels / 2)));
}
