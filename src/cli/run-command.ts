import { outOfMemory, SmhdrError } from "../errors.js";
import { createReporter, type Reporter } from "./reporter.js";

/** Exit codes: 0 success, 1 the work failed, 2 the call was wrong, 130 stopped by the person. */
const exitCodes = { failure: 1, wrongCall: 2, stopped: 130 };

/**
 * Runs the work of a command: Ctrl-C and SIGTERM fire `signal` (a second one ends the process at once), errors become one
 * message and an exit code.
 */
export async function runCommand(
  options: { json?: boolean; quiet?: boolean },
  work: (reporter: Reporter, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const reporter = createReporter(options);
  const controller = new AbortController();
  const stop = () => {
    reporter.close();
    if (controller.signal.aborted) process.exit(exitCodes.stopped);
    controller.abort();
  };
  process.on("SIGINT", stop).on("SIGTERM", stop);
  try {
    await work(reporter, controller.signal);
  } catch (error) {
    const { code, message } = describe(error);
    reporter.error(code, message);
    process.exitCode =
      code === "CANCELLED" ? exitCodes.stopped : code === "INVALID_ARGUMENT" ? exitCodes.wrongCall : exitCodes.failure;
  } finally {
    reporter.close();
    process.off("SIGINT", stop).off("SIGTERM", stop);
  }
}

function describe(error: unknown): { code: string; message: string } {
  const ours = error instanceof SmhdrError ? error : outOfMemory(error);
  if (ours) return ours;
  const { stack } = error as Error;
  return { code: "INTERNAL", message: `This is a fault of smhdr, please report it.\n${stack ?? String(error)}` };
}
