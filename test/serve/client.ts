import { mkdtemp, rm } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Service, type ServiceOptions, startService } from "../../src/serve/service.js";

/** The service on a free port with a start file of its own, and how tests talk to it. */
export class TestService {
  private constructor(
    readonly service: Service,
    private readonly folder: string,
  ) {}

  static async start(options: Partial<ServiceOptions> = {}): Promise<TestService> {
    const folder = await mkdtemp(join(tmpdir(), "smhdr-test-"));
    const startFile = join(folder, "smhdr", "service.json");
    return new TestService(await startService({ version: "0.0.0", port: 0, startFile, ...options }), folder);
  }

  get origin(): string {
    return `http://127.0.0.1:${this.service.port}`;
  }

  async close(): Promise<void> {
    await this.service.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = { authorization: `Bearer ${this.service.token}`, ...(init.headers as Record<string, string>) };
    return fetch(`${this.origin}${path}`, { ...init, headers });
  }

  post(path: string, body?: unknown): Promise<Response> {
    if (body === undefined) return this.fetch(path, { method: "POST" });
    const headers = { "content-type": "application/json" };
    return this.fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  }

  put(path: string, body: ArrayBufferView | string): Promise<Response> {
    const bytes =
      typeof body === "string" ? body : new Uint8Array(body.buffer as ArrayBuffer, body.byteOffset, body.byteLength);
    return this.fetch(path, {
      method: "PUT",
      headers: { "content-type": "application/octet-stream" },
      body: bytes,
    });
  }

  /** A request whose headers are exactly these: fetch would set Host by itself. Returns the status and the body. */
  raw(path: string, headers: Record<string, string>, method = "GET"): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      httpRequest({ host: "127.0.0.1", port: this.service.port, path, method, headers }, (response) => {
        let body = "";
        response.setEncoding("utf8").on("data", (text) => {
          body += text;
        });
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
      })
        .on("error", reject)
        .end();
    });
  }

  /** Reads a job's events to their end: the names and data. */
  async events(
    id: string,
    onEvent?: (event: string) => void,
  ): Promise<{ event: string; data: Record<string, unknown> }[]> {
    const response = await this.fetch(`/v1/jobs/${id}/events`);
    const all: { event: string; data: Record<string, unknown> }[] = [];
    let rest = "";
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      rest += new TextDecoder().decode(chunk);
      for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
        const block = rest.slice(0, end);
        rest = rest.slice(end + 2);
        const event = /^event: (.*)$/m.exec(block)?.[1];
        if (!event) continue;
        all.push({ event, data: JSON.parse(/^data: (.*)$/m.exec(block)?.[1] ?? "null") });
        onEvent?.(event);
      }
    }
    return all;
  }
}

/** The refusal in a response, as "status CODE message". */
export async function refusal(response: Response | Promise<Response>): Promise<string> {
  const answer = await response;
  const { error } = (await answer.json()) as { error?: { code: string; message: string } };
  return `${answer.status} ${error?.code} ${error?.message}`;
}
