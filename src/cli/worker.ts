import { hostname } from "node:os";
import { type Command, InvalidArgumentError } from "commander";
import { connectQueue } from "../batch/queue/connection.js";
import { runQueueWorker } from "../batch/queue/queue-worker.js";
import { memoryOption, parseCount, threadsOption } from "./arguments.js";
import { runCommand } from "./run-command.js";

interface WorkerCommandOptions {
  readonly queue: string;
  readonly map?: [string, string][];
  readonly stalledAfter: number;
  readonly jobs?: number;
  readonly memory: number;
  readonly threads?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

const help = `
Takes brackets that smhdr batch --queue has put on the queue. Photographs and results lie in a folder that all machines share; where
it has another path here, say so by --map. Ctrl-C or SIGTERM: finishes the brackets in hand and ends; a second one ends at once,
and other workers take the brackets over, as they do when a worker dies.

Examples:
  smhdr worker --queue redis://10.0.0.5
  smhdr worker --queue redis://10.0.0.5 --map /Volumes/photos=/mnt/photos --memory 8G`;

export function registerWorker(program: Command): void {
  program
    .command("worker")
    .description("merge brackets that smhdr batch puts on a queue, on any number of machines")
    .requiredOption("--queue <address>", "Redis, such as redis://host:6379")
    .option("--map <from=to>", "what paths begin with for the submitter, and here; may be repeated", collectMap)
    .option("--stalled-after <seconds>", "take over brackets of workers that are silent for so long", parseCount(1), 30)
    .option("--jobs <n>", "brackets in work at once (default: by threads and memory)", parseCount(1))
    .addOption(memoryOption())
    .addOption(threadsOption())
    .option("--json", "print one JSON object a line")
    .option("--quiet", "no notes")
    .addHelpText("after", help)
    .action((options: WorkerCommandOptions) =>
      runCommand(options, async (reporter, signal) => {
        const { queue, map, stalledAfter, jobs, memory, threads } = options;
        // So that no work is announced where Redis does not answer.
        (await connectQueue(queue)).redis.disconnect();
        reporter.note({ code: "worker", message: `Taking brackets on ${hostname()}.` });
        await runQueueWorker({
          ...{ queue, paths: map, stalledAfter, jobs, memory, threads, signal },
          onNote: (note) => reporter.note(note),
          onMerged: ({ name, outputs }, { seconds, attempts }) =>
            reporter.result(outputs.join("\n"), { bracket: name, outputs, seconds, attempts }),
        });
      }),
    );
}

function collectMap(text: string, previous: [string, string][] = []): [string, string][] {
  const at = text.indexOf("=");
  if (at < 1 || at === text.length - 1)
    throw new InvalidArgumentError("Expected FROM=TO, such as /Volumes/photos=/mnt/photos.");
  return [...previous, [text.slice(0, at), text.slice(at + 1)]];
}
