import { availableParallelism } from "node:os";
import { InvalidArgumentError, Option } from "commander";
import { DEFAULT_MEMORY } from "../default-memory.js";
import type { NativeDevices } from "../engine/addon.js";
import { type DeviceName, deviceNames, isDeviceName } from "../engine/select.js";
import { LEAST_TILE } from "../reconstruct/tiles.js";

/** "0,2,4" -> [0, 2, 4]. */
export function parseExposureValues(text: string): number[] {
  const values = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (!values.every(Number.isFinite)) {
    throw new InvalidArgumentError("Expected exposure values in stops, separated by commas, such as 0,2,4.");
  }
  return values;
}

/** A whole number from `least` to `most`. */
export function parseCount(least: number, most = Infinity): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isInteger(value) || value < least || value > most) {
      const range = most === Infinity ? `, ${least} or more` : ` from ${least} to ${most}`;
      throw new InvalidArgumentError(`Expected a whole number${range}.`);
    }
    return value;
  };
}

/** Threads: a whole number from 1 to four for every processor; more would only get in each other's way. */
export function parseThreads(text: string): number {
  const threads = parseCount(1)(text);
  const most = 4 * availableParallelism();
  if (threads > most) throw new InvalidArgumentError(`Expected at most ${most} threads on this machine.`);
  return threads;
}

/** "auto", "full", or the side of a tile in pixels. */
export function parseTile(text: string): "auto" | "full" | number {
  if (text === "auto" || text === "full") return text;
  const side = Number(text);
  if (!(Number.isInteger(side) && side >= LEAST_TILE))
    throw new InvalidArgumentError(`Expected auto, full, or a whole number of pixels, ${LEAST_TILE} or more.`);
  return side;
}

const sizeUnits: Record<string, number> = { "": 0, b: 0, k: 1, m: 2, g: 3, t: 4 };
const leastMemory = 2 ** 26;

/** A size such as 512M, 2G, 1.5GiB or a number of bytes; K, M and G are powers of 1024. Returns bytes. */
export function parseMemory(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  if (!match) throw new InvalidArgumentError("Expected a size such as 512M or 2G.");
  const bytes = Math.floor(Number(match[1]) * 1024 ** sizeUnits[match[2].toLowerCase()]);
  if (!(bytes >= leastMemory)) throw new InvalidArgumentError("Expected 64M or more.");
  return bytes;
}

/** Gathers an option that may be given several times. */
export function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value];
}

/** --device, for what `use` says. */
export function deviceOption(use: string): Option {
  return new Option("--device <name>", `${use}: ${deviceNames}`).argParser(parseDevice).default("auto");
}

function parseDevice(text: string): DeviceName {
  if (!isDeviceName(text)) throw new InvalidArgumentError(`Expected ${deviceNames}.`);
  return text;
}

/** --device of what trains: ONNX Runtime does not. */
export function trainingDeviceOption(): Option {
  return new Option("--device <name>", "what computes: cpu or cuda (cuda:1, ..., cuda:all)")
    .argParser((text): NativeDevices => {
      if (text === "cpu" || (text.startsWith("cuda") && isDeviceName(text))) return text as NativeDevices;
      throw new InvalidArgumentError("Expected cpu or cuda (cuda:1, ..., cuda:all).");
    })
    .default("cpu");
}

/** --memory, for what `use` says. */
export function memoryOption(use = "memory to stay within, such as 512M or 4G"): Option {
  return new Option("--memory <size>", use).argParser(parseMemory).default(DEFAULT_MEMORY, "2GiB");
}

export function threadsOption(): Option {
  return new Option("--threads <count>", "threads to use (default: one for every processor)").argParser(parseThreads);
}
