import { createRequire } from "node:module";
import { type Command, InvalidArgumentError } from "commander";
import { defaultLimits } from "../serve/job-store.js";
import { DEFAULT_PORTS } from "../serve/start-file.js";
import { collect, memoryOption, parseCount, threadsOption } from "./arguments.js";
import type { Reporter } from "./reporter.js";
import { runCommand } from "./run-command.js";

interface ServeOptions {
  port?: number;
  allowOrigin?: string[];
  model?: string[];
  memory: number;
  threads?: number;
  expire: number;
  json?: boolean;
}

const help = `
It listens on this machine only (127.0.0.1). The address it prints opens the panel in a browser; plug-ins find the service by
themselves. Ctrl-C stops it. Protocol: docs/service.md.

Examples:
  smhdr serve
  smhdr serve --port 8080 --model mine.safetensors`;

export function registerServe(program: Command): void {
  program
    .command("serve")
    .description("do the work for panels in a browser, Photoshop or GIMP")
    .option(
      "--port <number>",
      `port (default: the first free one of ${DEFAULT_PORTS[0]} to ${DEFAULT_PORTS.at(-1)})`,
      parsePort,
    )
    .option("--model <file>", "a model to offer besides the shipped ones; may be repeated", collect)
    .addOption(
      memoryOption("memory for the pixels of all jobs; a merge takes up to half as much besides").default(
        defaultLimits.memory,
        "4GiB",
      ),
    )
    .addOption(threadsOption())
    .option("--expire <seconds>", "forget a job that nobody asked for so long", parseCount(1), defaultLimits.expires)
    .option(
      "--allow-origin <origin>",
      "let pages of this origin ask, such as http://localhost:3000; may be repeated",
      (text, previous: string[] | undefined) => collect(parseOrigin(text), previous),
    )
    .option("--json", "print one JSON object a line")
    .addHelpText("after", help)
    .action((options: ServeOptions) => runCommand(options, (reporter, signal) => serve(options, reporter, signal)));
}

async function serve(options: ServeOptions, reporter: Reporter, signal: AbortSignal): Promise<void> {
  const { port, allowOrigin, model, memory, threads, expire } = options;
  const { version } = createRequire(import.meta.url)("../../package.json");
  const { startService } = await import("../serve/service.js"); // other commands need not wait for the HTTP library
  const service = await startService({
    version,
    port,
    allowedOrigins: allowOrigin,
    modelFiles: model,
    threads,
    limits: { memory, expires: expire },
  });
  const address = `http://127.0.0.1:${service.port}/#token=${service.token}`;
  reporter.result(`The service runs. The panel: ${address}\nCtrl-C stops it.`, {
    port: service.port,
    address,
    startFile: service.startFile,
  });
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
    process.once("SIGHUP", () => resolve()); // the terminal was closed
  });
  await service.close();
}

function parsePort(text: string): number {
  const port = parseCount(0)(text);
  if (port > 65535) throw new InvalidArgumentError("Expected a port, 0 to 65535.");
  return port;
}

/** An origin as its pages send it. Hosts of plug-ins have schemes of their own, or send "null" or "file://". */
function parseOrigin(text: string): string {
  if (text === "null") return text;
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@\\]*$/i.test(text) || !URL.canParse(text)) {
    throw new InvalidArgumentError("Expected an origin, scheme://host[:port], such as http://localhost:3000.");
  }
  const { origin } = new URL(text); // without the default port, in small letters: what is compared with
  return origin === "null" ? text : origin;
}
