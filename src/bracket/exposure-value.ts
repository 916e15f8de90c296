import { SmhdrError, shown } from "../errors.js";
import type { Exposure, Note } from "./bracket.js";
import { estimateRatios, orderByLight } from "./exposure-ratio.js";
import { type CameraSettings, lightInStops } from "./metadata.js";
import type { ExposureProxy } from "./proxy.js";

/** What is known of one photograph before its exposure value is. */
export interface Candidate {
  readonly name: string;
  readonly proxy: ExposureProxy;
  readonly settings: CameraSettings;
}

/** Exposure values of photographs, in their order: `values[i]` belongs to the photograph at `order[i]`. */
export interface ExposureValues {
  /** Indices of the photographs, shortest exposure first; equal ones from dark to bright. */
  readonly order: readonly number[];
  /** Stops relative to the shortest. */
  readonly values: readonly number[];
  readonly source: Exposure["exposureSource"];
  readonly notes: readonly Note[];
}

/** No bracket spans more; a larger number is a mistake of units. */
const MAX_SPAN = 40;
/** Exposures closer than this, in stops, are the same exposure. */
const SAME = 0.1;

/**
 * A stated ratio is denied when the pixels' differs by more than this many stops: what the estimate was seen to be wrong by
 * on real photographs (0.63 stops at worst), and more for wide steps.
 */
const doubt = (stated: number, estimated: number) => 0.5 + 0.15 * Math.max(Math.abs(stated), Math.abs(estimated));

/**
 * Finds exposure values: those given, else those of the cameras' settings unless the pixels deny them, else estimates from
 * the pixels. All come from one source: a bracket whose metadata is wrong somewhere is estimated as a whole.
 *
 * @param given One finite value for each candidate (checkGiven).
 * @throws SmhdrError BAD_INPUT where neither metadata nor pixels tell.
 */
export function findExposureValues(candidates: readonly Candidate[], given?: readonly number[]): ExposureValues {
  const byLight = orderByLight(candidates.map(({ proxy }) => proxy));
  if (given) {
    const found = sorted(given, byLight);
    const denied = deny(candidates, found);
    const notes = denied ? [{ code: "given-values-doubtful", message: `${denied} The given values were used.` }] : [];
    return { ...found, source: "given", notes: [...notes, ...noteEqual(candidates, found)] };
  }
  const stated = statedStops(candidates);
  let why = stated ? undefined : "No exposure times are stored in the photographs.";
  if (stated) {
    const found = sorted(stated, byLight);
    why = deny(candidates, found);
    const values = found.values.map(withoutDust);
    if (!why) return { order: found.order, values, source: "exif", notes: noteEqual(candidates, found) };
  } else if (candidates.some(({ settings }) => settings.time !== undefined)) {
    why = "Some photographs store no exposure time.";
  }
  const found = estimate(candidates, byLight);
  const code = stated ? "stated-values-denied" : "no-exposure-metadata";
  const message = `${why} Exposure values were estimated from the pixels: ${found.values.map(round).join(", ")}.`;
  return { ...found, source: "estimated", notes: [{ code, message }, ...noteEqual(candidates, found)] };
}

type Found = Pick<ExposureValues, "order" | "values">;

/** Checks exposure values that a person gave. */
export function checkGiven(given: readonly number[], count: number): void {
  if (!Array.isArray(given))
    throw new SmhdrError("INVALID_ARGUMENT", `ev: expected an array of stops; got ${shown(given)}.`);
  if (given.length !== count) {
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `ev: expected ${count} values, one for each image; got ${given.length} (${given.join(",")}).`,
    );
  }
  const bad = given.find((value) => !Number.isFinite(value));
  if (bad !== undefined) throw new SmhdrError("INVALID_ARGUMENT", `ev: expected finite numbers of stops; got ${bad}.`);
  const span = Math.max(...given) - Math.min(...given);
  if (span > MAX_SPAN) {
    throw new SmhdrError("INVALID_ARGUMENT", `ev: expected stops, at most ${MAX_SPAN} apart; got a span of ${span}.`);
  }
}

/** Light in stops from all settings; a quantity that any photograph lacks is taken as constant. */
function statedStops(candidates: readonly Candidate[]): number[] | undefined {
  const all = candidates.map(({ settings }) => settings);
  if (all.some(({ time }) => time === undefined)) return undefined;
  const fNumbers = all.every(({ fNumber }) => fNumber !== undefined);
  const isos = all.every(({ iso }) => iso !== undefined);
  return all.map(({ time, fNumber, iso }) =>
    lightInStops({ ...(time && { time }), ...(fNumbers && fNumber && { fNumber }), ...(isos && iso && { iso }) }),
  );
}

function sorted(stops: readonly number[], byLight: readonly number[]): Found {
  const order = [...byLight].sort((a, b) => stops[a] - stops[b]);
  return { order, values: order.map((index) => stops[index] - stops[order[0]]) };
}

function estimate(candidates: readonly Candidate[], byLight: readonly number[]): Found {
  const { stops } = estimateRatios(byLight.map((index) => candidates[index].proxy));
  const stops0 = [0];
  for (const [i, ratio] of stops.entries()) {
    if (Number.isNaN(ratio)) {
      const [dark, bright] = [candidates[byLight[i]].name, candidates[byLight[i + 1]].name];
      throw new SmhdrError(
        "BAD_INPUT",
        `The exposures of ${dark} and ${bright} cannot be compared: their metadata does not tell, and hardly a pixel is ` +
          "well exposed in both. Give the exposure values.",
      );
    }
    stops0.push(stops0[i] + ratio);
  }
  const absolute: number[] = [];
  for (const [i, index] of byLight.entries()) absolute[index] = stops0[i];
  return sorted(absolute, byLight);
}

/** The sentence that says which neighbours' ratio the pixels deny, if any. */
function deny(candidates: readonly Candidate[], { order, values }: Found): string | undefined {
  const { stops } = estimateRatios(order.map((index) => candidates[index].proxy));
  for (const [i, estimated] of stops.entries()) {
    const ratio = values[i + 1] - values[i];
    if (Math.abs(estimated - ratio) > doubt(ratio, estimated)) {
      const [dark, bright] = [candidates[order[i]].name, candidates[order[i + 1]].name];
      return `${bright} is said to be ${round(ratio)} stops above ${dark}, but its pixels say about ${round(estimated)}.`;
    }
  }
  return undefined;
}

/** Equal exposures are legitimate, they lower the noise, but rarely meant. */
function noteEqual(candidates: readonly Candidate[], { order, values }: Found): Note[] {
  return values.slice(1).flatMap((value, i) => {
    if (value - values[i] >= SAME) return [];
    const [first, second] = [candidates[order[i]].name, candidates[order[i + 1]].name];
    return [{ code: "equal-exposures", message: `${first} and ${second} have the same exposure; both are used.` }];
  });
}

/** Logarithms of exact ratios are off by their last bits: 2.999999999999999 for 3. */
const withoutDust = (stops: number) => Number(stops.toFixed(6));

const round = (stops: number) => Number(stops.toFixed(2));
