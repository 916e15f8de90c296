import type { ServerResponse } from "node:http";
import type { JobEvent } from "./job.js";
import type { AnyJob } from "./job-store.js";

const KEEP_ALIVE = 15_000;

/** Writes a job's events as server-sent events until its merge ends or nobody listens; resolves then. */
export function streamEvents(job: AnyJob, response: ServerResponse, headers: Record<string, string>): Promise<void> {
  response.writeHead(200, { ...headers, "content-type": "text/event-stream", "cache-control": "no-store" });
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    let stopListening = () => {};
    const end = () => {
      clearInterval(timer);
      stopListening();
      response.end();
      resolve();
    };
    const send = ({ event, data }: JobEvent) => {
      response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      if (event !== "progress" && event !== "note") end();
    };
    response.on("close", end);
    const last = job.lastEvent();
    if (last) return send(last);
    const { progress, notes } = job.report();
    for (const note of notes) send({ event: "note", data: note });
    if (progress) send({ event: "progress", data: progress });
    response.write(": connected\n\n"); // the headers are on their way
    stopListening = job.listen(send);
    timer = setInterval(() => response.write(": still here\n\n"), KEEP_ALIVE);
  });
}
