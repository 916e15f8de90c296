/** How to reach the service. */
export interface Connection {
  /** Such as http://127.0.0.1:27180. */
  readonly origin: string;
  readonly token: string;
  /** Whether responses can be read while they come; else progress is asked for. */
  readonly streams: boolean;
}

/** What a person is told, and what kind of thing went wrong. */
export class PanelError extends Error {
  override readonly name = "PanelError";
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export const HOW_TO_START = "The smhdr service does not answer. Start it in a terminal with: smhdr serve";

export function cancelled(): PanelError {
  return new PanelError("CANCELLED", "Cancelled.");
}

export interface RequestOptions {
  readonly json?: unknown;
  readonly body?: ArrayBuffer | ArrayBufferView | Blob | undefined;
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
}

/** Requests to the service; every refusal becomes a PanelError. */
export class ServiceClient {
  constructor(readonly connection: Connection) {}

  async request(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
    const { json, body, accept, signal } = options;
    const { origin, token } = this.connection;
    const headers: Record<string, string> = { Authorization: `Bearer ${token}` };
    if (accept) headers.Accept = accept;
    if (json !== undefined) headers["Content-Type"] = "application/json";
    else if (body) headers["Content-Type"] = "application/octet-stream";
    const content = json === undefined ? body : JSON.stringify(json);
    let response: Response;
    try {
      const init: RequestInit = { method, headers };
      if (content !== undefined) init.body = content as BodyInit;
      if (signal) init.signal = signal;
      response = await fetch(`${origin}/v1${path}`, init);
    } catch {
      throw signal?.aborted ? cancelled() : new PanelError("NO_SERVICE", HOW_TO_START);
    }
    if (response.ok) return response;
    throw await refusal(response);
  }

  async json<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    return (await (await this.request(method, path, options)).json()) as T;
  }

  async bytes(path: string, options: RequestOptions = {}): Promise<ArrayBuffer> {
    const response = await this.request("GET", path, options);
    try {
      return await response.arrayBuffer();
    } catch {
      throw options.signal?.aborted ? cancelled() : new PanelError("NO_SERVICE", HOW_TO_START);
    }
  }
}

async function refusal(response: Response): Promise<PanelError> {
  const { error } = (await response.json().catch(() => ({}))) as { error?: { code: string; message: string } };
  if (response.status === 401) {
    return new PanelError(
      "UNAUTHORIZED",
      "The service was started anew since. In a browser, open the address that smhdr serve printed; elsewhere, try again.",
    );
  }
  return new PanelError(error?.code ?? "INTERNAL", error?.message ?? `The service answered ${response.status}.`);
}
