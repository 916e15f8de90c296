/** One line of `smhdr bench`. Seconds are medians of runs that alternated with the peers'. */
export interface Row {
  /** Such as "smnet/256/fp32". */
  readonly name: string;
  readonly seconds: number;
  readonly threads: number;
  /** Of the operations and bytes that the work needs by its formula. */
  readonly gflops?: number;
  readonly gigabytesPerSecond?: number;
  /** Of the arithmetic or the memory peak, whichever binds, measured in turn with the work: the median over rounds. */
  readonly fractionOfPeak?: number;
  readonly bound?: "arithmetic" | "memory";
  /** The most memory that the process which did nothing else held. */
  readonly memoryBytes?: number;
  readonly tapeBytesPerPixel?: number;
  /** Seconds of the others at the same work: onnxruntime, pytorch, opencv, and copy, of as many bytes as are touched. */
  readonly peers: Readonly<Record<string, number>>;
  /** How many times ours the peers' seconds are: the median over rounds in which both ran. */
  readonly ratios?: Readonly<Record<string, number>>;
  readonly peerMemoryBytes?: Readonly<Record<string, number>>;
  /** Largest difference between our result and a peer's, relative to the largest value. */
  readonly differences?: Readonly<Record<string, number>>;
  /** How many runs the medians are of. */
  readonly runs?: Readonly<Record<string, number>>;
  /** Smaller work than the name says: shows that the row runs, measures nothing. */
  readonly quick?: true;
}

/** Who else can be raced. */
export const PEERS = ["onnxruntime", "pytorch", "opencv"] as const;
export type Peer = (typeof PEERS)[number];

/** What everything that makes rows is told. */
export interface BenchContext {
  readonly threads: number;
  /** Small work, one run. */
  readonly quick: boolean;
  readonly peers: readonly Peer[];
  readonly signal: AbortSignal;
  /** Empty; removed afterwards. */
  readonly folder: string;
  /** Remarks for the person, such as why a peer is missing; each is said once. */
  note(message: string): void;
  /** The finished fraction of the row at work. */
  progress(fraction: number): void;
}
