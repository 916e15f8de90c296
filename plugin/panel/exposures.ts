import { PanelError } from "./client.js";
import { exposureValueFromName } from "./exposure-name.js";
import type { HostItem } from "./host.js";

/** An item of the host, and what the person and the service said of it. */
export interface Row {
  readonly id: string;
  readonly name: string;
  detail: string;
  problem: string | undefined;
  note: string | undefined;
  ticked: boolean;
  /** Stops; undefined: the service finds out. */
  ev: number | undefined;
  evSource: "entered" | "name" | "exif" | "estimated" | undefined;
  /** Light in stops that the file's metadata tells of. */
  stops: number | undefined;
  thumbnail: string | undefined;
}

/** The items that may be exposures, which of them are, and their exposure values. */
export class Exposures {
  rows: Row[] = [];
  /** The id of the reference; undefined: the middle exposure. */
  reference: string | undefined;

  get ticked(): Row[] {
    return this.rows.filter((row) => row.ticked && !row.problem);
  }

  /** Takes the host's list; what was said of items that are still there stays. */
  replace(items: readonly HostItem[], keepDetails: boolean): void {
    const known = new Map(this.rows.map((row) => [row.id, row]));
    this.rows = items.map(({ id, name, detail, problem, note, ticked }) => {
      const before = known.get(id);
      if (before?.name === name) return Object.assign(before, keepDetails ? {} : { detail, problem, note });
      const ev = exposureValueFromName(name);
      const evSource = ev === undefined ? undefined : "name";
      return { id, name, detail, problem, note, ticked, ev, evSource, stops: undefined, thumbnail: before?.thumbnail };
    });
    if (!this.rows.some(({ id }) => id === this.reference)) this.reference = undefined;
  }

  tick(row: Row, ticked: boolean): void {
    row.ticked = ticked;
    if (!ticked && this.reference === row.id) this.reference = undefined;
  }

  /** Text that is no number clears the value: the service finds out. */
  enterValue(row: Row, text: string): void {
    const value = Number(text.replace(",", ".").replace(/[\u2212\u2013]/, "-"));
    row.ev = text.trim() === "" || !Number.isFinite(value) ? undefined : value;
    row.evSource = row.ev === undefined ? undefined : "entered";
  }

  /** The rows to merge. Throws what keeps them from being merged. */
  checked(many: string): Row[] {
    const rows = this.ticked;
    if (rows.length < 2) throw new PanelError("INVALID_ARGUMENT", `Tick at least two ${many}: exposures of one scene.`);
    if (rows.length > 16)
      throw new PanelError("INVALID_ARGUMENT", `Tick at most 16 ${many}; these are ${rows.length}.`);
    return rows;
  }

  /** The exposure values to send: none unless the person or the names say what the service does not know. */
  givenValues(rows: readonly Row[]): ReadonlyMap<Row, number> | undefined {
    const entered = rows.some(({ evSource }) => evSource === "entered");
    if (!entered && !rows.some(({ evSource }) => evSource === "name")) return undefined;
    const unknown = rows.filter(({ ev }) => ev === undefined);
    if (unknown.length === 0) return new Map(rows.map((row) => [row, row.ev as number]));
    if (!entered) return undefined; // names that state values of some only tell nothing
    const names = unknown.map(({ name }) => name).join(", ");
    throw new PanelError("INVALID_ARGUMENT", `Enter an exposure value for ${names} too, or clear all of them.`);
  }

  /** Shows what the service found. */
  takeValues(rows: readonly Row[], values: readonly (number | null)[], source: "exif" | "estimated"): void {
    for (const [i, row] of rows.entries()) {
      const value = values[i];
      if (typeof value === "number") Object.assign(row, { ev: twoDigits(value), evSource: source });
    }
  }

  /** Shows what metadata says, relative to the darkest, where nobody said anything else. */
  takeMetadata(): void {
    const known = this.rows.filter(({ stops, evSource }) => stops !== undefined && (!evSource || evSource === "exif"));
    const least = Math.min(...known.map(({ stops }) => stops as number));
    for (const row of known) Object.assign(row, { ev: twoDigits((row.stops as number) - least), evSource: "exif" });
  }
}

const twoDigits = (value: number) => Math.round(value * 100) / 100;
