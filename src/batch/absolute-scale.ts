import type { Bracket } from "../bracket/bracket.js";
import { type CameraSettings, lightInStops } from "../bracket/metadata.js";
import { SmhdrError } from "../errors.js";
import type { Radiance } from "../image.js";
import { readFacts } from "./photographs.js";
import type { PlannedBracket } from "./plan.js";
import type { AbsoluteScale } from "./task.js";

/**
 * One scale for all brackets, from their cameras' exposure times, f-numbers and ISO: 1.0 is where the shortest exposure of all
 * clips, so that no result exceeds it. F-number and ISO count where every photograph states them.
 * @throws SmhdrError BAD_INPUT naming a photograph without an exposure time.
 */
export async function absoluteScales(brackets: readonly PlannedBracket[]): Promise<AbsoluteScale[]> {
  const settings: CameraSettings[][] = [];
  for (const { photographs, name } of brackets) {
    const facts = await Promise.all(photographs.map((path) => readFacts(path, path)));
    settings.push(
      facts.map((fact) => {
        if ("capture" in fact && fact.capture.settings.time !== undefined) return fact.capture.settings;
        const why = "reason" in fact ? fact.reason : "its EXIF has no exposure time";
        throw new SmhdrError(
          "BAD_INPUT",
          `One scale for all brackets needs every exposure time: ${fact.path} of ${name}, ${why}.`,
        );
      }),
    );
  }
  const all = settings.flat();
  const [hasIso, hasF] = [all.every(({ iso }) => iso !== undefined), all.every(({ fNumber }) => fNumber !== undefined)];
  const light = settings.map((bracket) =>
    bracket.map(({ time, iso, fNumber }) =>
      lightInStops({ ...(time && { time }), ...(hasIso && iso && { iso }), ...(hasF && fNumber && { fNumber }) }),
    ),
  );
  const one = light.flat().reduce((least, stops) => Math.min(least, stops), Number.POSITIVE_INFINITY);
  return light.map((stops) => ({ light: stops, one }));
}

/** Brings a bracket's radiance to the scale, in place. `photographs` are named in the order of `scale.light`. */
export function toAbsolute(
  radiance: Radiance,
  bracket: Bracket,
  photographs: readonly string[],
  { light, one }: AbsoluteScale,
): Radiance {
  // The bracket's 1.0 is where its shortest exposure clips.
  const shortest = light[photographs.indexOf(bracket.exposures[0].name)];
  const factor = 2 ** (one - shortest);
  const { data } = radiance;
  if (factor !== 1) for (let i = 0; i < data.length; i++) data[i] *= factor;
  const scale = `Linear light; one scale for the whole batch: 1.0 is where ${Number(one.toFixed(3))} stops of light clip (log2 of seconds x ISO / f-number^2).`;
  return { ...radiance, metadata: { ...radiance.metadata, scale } };
}
