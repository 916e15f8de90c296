import { availableParallelism } from "node:os";
import { PROXY_PIXELS } from "../bracket/proxy.js";
import { DEFAULT_MEMORY } from "../default-memory.js";
import { SmhdrError } from "../errors.js";

/** How memory and threads are shared out among the processes of a batch. */
export interface WorkPlan {
  /** Processes, each with one bracket in work. */
  readonly jobs: number;
  /** Threads of each process besides the one that JavaScript runs on; for the network, of the engine. */
  readonly threads: number;
  /** Bytes for the pixels of all brackets in work. */
  readonly pixelBytes: number;
  /**
   * What each reconstructor is told that it may take. For the network the same for any number of jobs, for its tiles follow from it, but
   * shared out where several devices compute at once; the radiance merge gives the same pixels in any.
   */
  readonly engineBytes: number;
}

export interface WorkOptions {
  /** Brackets in work at once. Default: for the network 2 a device, one of which computes; else one per thread. */
  readonly jobs?: number | undefined;
  /** Threads that compute, in all. Default: one per processor. */
  readonly threads?: number | undefined;
  /** Bytes for everything. Default: 2 GiB. */
  readonly memory?: number | undefined;
}

const MIB = 1024 ** 2;
/** The process that shares out the work: its runtime, the plan and the journal. */
const COORDINATOR_BYTES = 120 * MIB;
/** A process that merges, without pixels: runtime, decoders, the engine's code, and what waits for its garbage collector. */
const PROCESS_BYTES = 150 * MIB;
/** The smallest room for pixels that a job is started for. */
const LEAST_PIXEL_BYTES = 160 * MIB;
/** Following what moved: pixels of the pictures it compares at most, and what it holds for each (native/motion/find_motion.cpp). */
const FLOW_PIXELS = 1e6;
const FLOW_BYTES = 80;
/** The part of the memory that the network may work in: its tiles follow from it. */
const ENGINE_SHARE = 1 / 2;

/**
 * @param devices of the network, each with brackets of its own
 * @throws SmhdrError OUT_OF_MEMORY where not even one process fits, INVALID_ARGUMENT.
 */
export function planWork(
  network: boolean,
  { jobs, threads, memory = DEFAULT_MEMORY }: WorkOptions,
  devices = 1,
): WorkPlan {
  for (const [name, value] of Object.entries({ jobs, threads })) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1))
      throw new SmhdrError("INVALID_ARGUMENT", `${name}: expected a whole number, 1 or more; got ${value}.`);
  }
  if (!(memory > 0)) throw new SmhdrError("INVALID_ARGUMENT", `memory: expected a number of bytes; got ${memory}.`);
  const cores = threads ?? availableParallelism();
  const engineBytes = network ? memory * ENGINE_SHARE : 0;
  const shared = memory - COORDINATOR_BYTES - engineBytes;
  const most = Math.floor(shared / (PROCESS_BYTES + LEAST_PIXEL_BYTES));
  if (most < 1) {
    const least = Math.ceil((COORDINATOR_BYTES + PROCESS_BYTES + LEAST_PIXEL_BYTES) / MIB);
    const needed = network
      ? `${Math.ceil(least / (1 - ENGINE_SHARE))} MiB with a network, ${least} MiB with the method "radiance"`
      : `${least} MiB`;
    throw new SmhdrError(
      "OUT_OF_MEMORY",
      `memory: a batch needs at least ${needed}; got ${Math.floor(memory / MIB)} MiB.`,
    );
  }
  const wanted = jobs ?? (network ? 2 * devices : cores);
  const chosen = Math.min(wanted, most);
  const pixelBytes = shared - chosen * PROCESS_BYTES;
  return {
    jobs: chosen,
    threads: network ? cores : Math.max(1, Math.floor(cores / chosen)),
    pixelBytes,
    engineBytes: network ? engineBytes / Math.min(devices, chosen) : pixelBytes,
  };
}

export interface BracketSize {
  readonly width: number;
  readonly height: number;
  readonly exposures: number;
  readonly bytesPerSample: number;
  /** Whether what moved is followed. */
  readonly follow: boolean;
}

/** What a bracket in work holds. */
export interface BracketNeed {
  readonly bytes: number;
  /** Its pixels do not fit and go through temporary files. */
  readonly spill: boolean;
}

/** The need of a bracket where `room` bytes are there for it at most. */
export function bracketNeed(
  { width, height, exposures, bytesPerSample, follow }: BracketSize,
  network: boolean,
  room: number,
): BracketNeed {
  const pixels = width * height;
  const proxies = exposures * Math.min(pixels, PROXY_PIXELS) * 12;
  const following = follow ? Math.min(pixels, FLOW_PIXELS) * FLOW_BYTES : 0;
  // The network's inputs wait as floats for its turn, beside the merge that it is given; strips and decoders take some of everything.
  const result = pixels * 12 + (network ? pixels * 12 + (exposures + 1) * Math.min(pixels, 4e6) * 24 : 0);
  const decoded = exposures * pixels * 3 * bytesPerSample;
  const rest = 32 * MIB;
  // Proxies and flows are gone when the result is made.
  const most = Math.max(proxies + following, result);
  const whole = decoded + most + rest;
  if (whole <= room) return { bytes: whole, spill: false };
  return { bytes: Math.min(room, most + rest), spill: true };
}
