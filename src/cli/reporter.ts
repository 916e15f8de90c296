import { SingleBar } from "cli-progress";
import type { Note } from "../bracket/bracket.js";

/** What a command prints and where: results on stdout, the rest on stderr; with `json` one object a line on stdout. */
export interface Reporter {
  /** Begins a stage of the work; the function returned takes its finished fraction in [0, 1] and what to say beside it. */
  stage(name: string): (fraction: number, detail?: string) => void;
  note(note: Note): void;
  /** What the command was run for: `text` for people, `fields` for programs. */
  result(text: string, fields: Record<string, unknown>): void;
  error(code: string, message: string): void;
  close(): void;
}

export function createReporter(options: { json?: boolean; quiet?: boolean }): Reporter {
  if (options.json) return new JsonReporter();
  return new TextReporter(!options.quiet && process.stderr.isTTY === true, options.quiet === true);
}

class JsonReporter implements Reporter {
  stage(name: string): (fraction: number, detail?: string) => void {
    let reported = -1;
    return (fraction, detail) => {
      const percent = Math.floor(fraction * 100);
      if (percent <= reported) return;
      reported = percent;
      this.print({ event: "progress", stage: name, fraction: percent / 100, ...(detail && { detail }) });
    };
  }

  note({ code, message }: Note): void {
    this.print({ event: "note", code, message });
  }

  result(_text: string, fields: Record<string, unknown>): void {
    this.print({ event: "result", ...fields });
  }

  error(code: string, message: string): void {
    this.print({ event: "error", code, message });
    console.error(`smhdr: ${message}`);
  }

  close(): void {}

  private print(object: Record<string, unknown>): void {
    console.log(JSON.stringify(object));
  }
}

class TextReporter implements Reporter {
  private bar: SingleBar | undefined;

  constructor(
    private readonly showsProgress: boolean,
    private readonly quiet: boolean,
  ) {}

  stage(name: string): (fraction: number, detail?: string) => void {
    if (!this.showsProgress) return () => {};
    this.close();
    const bar = new SingleBar({
      format: `${name.padEnd(10)} {bar} {percentage}% {detail}`,
      barCompleteChar: "━",
      barIncompleteChar: "─",
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: true,
      gracefulExit: false, // runCommand does
    });
    bar.start(1, 0, { detail: "" });
    this.bar = bar;
    return (fraction, detail = "") => {
      if (this.bar === bar) bar.update(fraction, { detail });
    };
  }

  note({ message }: Note): void {
    if (this.quiet) return;
    this.close();
    console.error(`Note: ${message}`);
  }

  result(text: string): void {
    this.close();
    console.log(text);
  }

  error(_code: string, message: string): void {
    this.close();
    console.error(`smhdr: ${message}`);
  }

  /** Takes the progress bar off the terminal. */
  close(): void {
    this.bar?.stop();
    this.bar = undefined;
  }
}
