import { availableParallelism } from "node:os";
import { type Command, InvalidArgumentError } from "commander";
import { bench, describeMachine } from "../bench/bench.js";
import { PEERS, type Peer } from "../bench/row.js";
import { textLine } from "../bench/table.js";
import { parseThreads } from "./arguments.js";
import { runCommand } from "./run-command.js";

interface BenchCommandOptions {
  readonly filter?: string;
  readonly threads?: number;
  readonly peers?: readonly Peer[];
  readonly quick?: boolean;
  readonly full?: boolean;
  readonly json?: boolean;
}

/** "pytorch,opencv" or "none". */
function parsePeers(text: string): Peer[] {
  if (text === "none") return [];
  return text.split(",").map((name) => {
    const peer = PEERS.find((each) => each === name.trim());
    if (!peer) throw new InvalidArgumentError(`Expected none, or some of ${PEERS.join(",")}.`);
    return peer;
  });
}

export function registerBench(program: Command): void {
  program
    .command("bench")
    .description("measure this machine: the network and the merge, against its peaks and against other programs")
    .option("--filter <text>", "only the rows whose name contains it")
    .option("--threads <count>", "threads of everyone (default: one per processor)", parseThreads)
    .option(
      "--peers <names>",
      `whom to race: none, or some of ${PEERS.join(",")} (default: whoever is installed)`,
      parsePeers,
    )
    .option("--full", "also the rows that take many minutes")
    .option("--quick", "small work, one run: shows that everything runs, measures nothing")
    .option("--json", "print one JSON object a line")
    .addHelpText(
      "after",
      `
Rows: smnet/SIDE/PRECISION is one pass of the network (width 60, three exposures), smnet-s/... one of the default model's
(width 24), merge/... merges 3 photographs of 24 megapixels without a network, growth/... shows how time and memory grow
with the picture. In a clone, "npm run bench" also measures the peaks, each kernel (kernel/...) and a training step
(train/...). Seconds are medians; contenders take turns.
PyTorch and OpenCV are raced in a clone, by the Python that SMHDR_PYTHON names; ONNX Runtime where onnxruntime-node is.

Examples:
  smhdr bench --filter smnet/256
  smhdr bench --peers none --json`,
    )
    .action((options: BenchCommandOptions) =>
      runCommand(options, async (reporter, signal) => {
        const threads = options.threads ?? availableParallelism();
        const rows = bench({
          filter: options.filter,
          threads,
          quick: options.quick ?? false,
          full: options.full ?? false,
          peers: options.peers ?? PEERS,
          signal,
          note: (message) => reporter.note({ code: "bench", message }),
          stage: (name) => reporter.stage(name),
        });
        let begun = false;
        for await (const row of rows) {
          if (!begun) reporter.note({ code: "machine", message: describeMachine(threads) });
          if (!begun && !options.json) console.log(textLine());
          begun = true;
          reporter.result(textLine(row), { ...row });
        }
      }),
    );
}
