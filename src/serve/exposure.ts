import type { Note } from "../bracket/bracket.js";
import type { Member } from "../bracket/read-bracket.js";

/** An exposure of a job, on its way to be complete. */
export interface JobExposure {
  readonly name: string;
  readonly complete: boolean;
  /** What is still missing, for a person; undefined once complete. */
  readonly missing: string | undefined;
  /** What must be said of its pixels. */
  readonly notes: readonly Note[];
  /** The complete exposure as a bracket takes it; the pixels stay this exposure's. */
  member(): Promise<Member>;
  close(): void;
}
