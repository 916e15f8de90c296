import { SmhdrError } from "../errors.js";
import type { NativeDevice } from "./addon.js";
import type { Engine, EngineInput, RunOptions } from "./engine.js";

/** A device with less than this part of the roomiest one's room takes only runs that fit it, rather than make all small. */
const LEAST_ROOM = 1 / 4;

/** What is no fault of the device. */
const EXCUSED: ReadonlySet<string> = new Set(["CANCELLED", "INVALID_ARGUMENT", "OUT_OF_MEMORY"]);

interface Member {
  readonly engine: Engine;
  readonly parallel: number;
  /** Runs in work. */
  running: number;
  /** Pixels that a run may have, when last asked. */
  room: number;
  /** Whether it has the sums that the others have. */
  ready: boolean;
}

/**
 * Engines of the same network as one: a run goes to the device with the least to do, and each device takes the image-wide sums
 * itself, of the same samples, so that a picture is the same bits on any number of equal devices. A device that fails is left out and its run
 * done by another. It never ran on a GPU.
 */
export class SeveralEngines implements Engine {
  private members: readonly Member[];

  constructor(
    engines: readonly Engine[],
    readonly devices: readonly NativeDevice[],
  ) {
    this.members = engines.map((engine) => {
      return { engine, parallel: engine.parallel ?? 1, running: 0, room: Number.POSITIVE_INFINITY, ready: true };
    });
  }

  get device(): string {
    return this.members.map(({ engine }) => engine.device).join(", ");
  }

  get cuda(): NativeDevice | undefined {
    return this.members[0].engine.cuda;
  }

  get parallel(): number {
    return this.members.reduce((sum, { parallel }) => sum + parallel, 0);
  }

  bytesPerPixel(exposures: number): number {
    return Math.max(...this.members.map(({ engine }) => engine.bytesPerPixel(exposures)));
  }

  pixelsAtOnce(exposures: number): number {
    for (const member of this.members) {
      member.room = member.engine.pixelsAtOnce?.(exposures) ?? Number.POSITIVE_INFINITY;
    }
    const rooms = this.members.map(({ room }) => room);
    const most = Math.max(...rooms);
    return Math.min(...rooms.filter((room) => room >= LEAST_ROOM * most));
  }

  substitute(): Engine {
    const { engine } = this.members[0];
    return engine.substitute?.() ?? engine;
  }

  /** @throws SmhdrError OUT_OF_MEMORY where no device has room for it; as the last device does when there is no other */
  async run(input: EngineInput, options: RunOptions = {}): Promise<Float32Array> {
    if (input.record) return this.record(input, options);
    for (;;) {
      const fitting = this.fitting(input).filter(({ ready }) => ready);
      if (fitting.length === 0) throw lacksRoom();
      const member = fitting.reduce((best, each) => (load(each) < load(best) ? each : best));
      try {
        return await this.runOn(member, input, options);
      } catch (error) {
        this.leaveOut(member, error, options);
      }
    }
  }

  clearSums(): void {
    for (const member of this.members) {
      member.engine.clearSums();
      member.ready = true;
    }
  }

  private async record(input: EngineInput, options: RunOptions): Promise<Float32Array> {
    const members = this.fitting(input);
    if (members.length === 0) throw lacksRoom();
    for (const member of this.members) member.ready = false;
    const fractions = members.map(() => 0);
    const runs = members.map((member, i) => {
      const onProgress = (fraction: number) => {
        fractions[i] = fraction;
        options.onProgress?.(Math.min(...fractions));
      };
      return this.runOn(member, input, { ...options, onProgress });
    });
    const results: Float32Array[] = [];
    for (const [i, ended] of (await Promise.allSettled(runs)).entries()) {
      members[i].ready = ended.status === "fulfilled";
      if (ended.status === "fulfilled") results.push(ended.value);
      else this.leaveOut(members[i], ended.reason, options);
    }
    if (results.length === 0) throw lacksRoom(); // those that had room for it were left out
    return results[0];
  }

  private fitting({ batch, height, width }: EngineInput): Member[] {
    return this.members.filter(({ room }) => batch * height * width <= room);
  }

  private async runOn(member: Member, input: EngineInput, options: RunOptions): Promise<Float32Array> {
    member.running++;
    try {
      return await member.engine.run(input, options);
    } finally {
      member.running--;
    }
  }

  /** Throws where the device is not to blame, or there is no other. */
  private leaveOut(member: Member, error: unknown, { onNote }: RunOptions): void {
    if (error instanceof SmhdrError && EXCUSED.has(error.code)) throw error;
    if (!this.members.includes(member)) return; // another of its runs failed first
    if (this.members.length === 1) throw error;
    this.members = this.members.filter((other) => other !== member);
    onNote?.({ code: "engine", message: leftOut(member.engine.device, error) });
  }
}

/**
 * One engine over those devices that `make` has an engine for; `note` is told why the others are left out.
 * @throws as `make` does for the first, where it has none at all or the weights are at fault
 */
export async function joinDevices(
  devices: readonly NativeDevice[],
  make: (device: NativeDevice) => Promise<Engine>,
  note: (message: string) => void,
): Promise<Engine> {
  const made = await Promise.allSettled(devices.map(make));
  const engines: Engine[] = [];
  const working: NativeDevice[] = [];
  for (const [i, each] of made.entries()) {
    if (each.status === "fulfilled") {
      engines.push(each.value);
      working.push(devices[i]);
    } else if (each.reason instanceof SmhdrError && each.reason.code === "INVALID_ARGUMENT") throw each.reason;
  }
  if (engines.length === 0) throw (made[0] as PromiseRejectedResult).reason;
  for (const [i, each] of made.entries()) if (each.status === "rejected") note(leftOut(devices[i], each.reason));
  return engines.length === 1 ? engines[0] : new SeveralEngines(engines, working);
}

const load = ({ running, parallel }: Member) => running / parallel;

const leftOut = (device: string, error: unknown) =>
  `${device} is left out: ${error instanceof Error ? error.message : String(error)}`;

const lacksRoom = () => new SmhdrError("OUT_OF_MEMORY", "The devices have too little memory; use smaller tiles.");
