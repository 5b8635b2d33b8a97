// Typed client of the MusicGen job API, for Node.js 20 and browsers. `schema.ts` is generated.
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type { components, operations, paths } from "./schema.js";
export type GenerationRequest = components["schemas"]["GenerationRequest"];
export type Status = components["schemas"]["Status"];
export type ClipInfo = components["schemas"]["ClipInfo"];
export type ErrorBody = components["schemas"]["ErrorBody"];
export type JobEvent = components["schemas"]["JobEvent"];
export type MusicGenClient = Client<paths>;

/** A call that the server refused, or a job that did not complete. */
export class MusicGenError extends Error {
  constructor(
    /** Stable code, as in docs/errors.md. */
    readonly code: string,
    message: string,
    /** HTTP status; 0 for the error of a job. */
    readonly status = 0,
    /** Seconds until the next try can help, if the server names them. */
    readonly retryAfter?: number,
  ) {
    super(message);
    this.name = "MusicGenError";
  }
}

/** Options of waiting. */
export interface WaitOptions {
  signal?: AbortSignal;
  /** Seconds between two looks at the status; 1 by default. */
  pollSeconds?: number;
  /** Called with each status. */
  onStatus?: (status: Status) => void;
}

/** Return a client of a server; `key` is an API key, where the server needs one. */
export function createMusicGenClient(baseUrl: string, key?: string): MusicGenClient {
  return createClient<paths>({
    baseUrl,
    ...(key === undefined ? {} : { headers: { Authorization: `Bearer ${key}` } }),
  });
}

/** Submit a job and return its id. A call that is sent again by `fetch` makes no second job. */
export async function submit(client: MusicGenClient, body: GenerationRequest): Promise<string> {
  const reply = await client.POST("/v1/generate", {
    body,
    params: { header: { "idempotency-key": crypto.randomUUID() } },
  });
  return read(reply).job_id;
}

/** Return the status of a job once it is completed. Throws if it failed or was cancelled. */
export async function wait(
  client: MusicGenClient,
  jobId: string,
  { signal, pollSeconds = 1, onStatus }: WaitOptions = {},
): Promise<Status> {
  for (;;) {
    const pause = await look(client, jobId, signal, onStatus);
    if (typeof pause === "object") return pause;
    await sleep(Math.max(pause, pollSeconds), signal);
  }
}

/** Return the bytes of a clip: "JOB.wav" is the first one, "JOB-2.mp3" the second one as mp3. */
export async function download(client: MusicGenClient, name: string): Promise<Uint8Array> {
  const reply = await client.GET("/v1/audio/{name}", {
    params: { path: { name } },
    parseAs: "arrayBuffer",
  });
  return new Uint8Array(read(reply));
}

/** Make music: submit, wait, and return the bytes of each clip with the status. */
export async function generate(
  client: MusicGenClient,
  body: GenerationRequest,
  options: WaitOptions = {},
): Promise<{ status: Status; clips: Uint8Array[] }> {
  const status = await wait(client, await submit(client, body), options);
  const names = (status.audio_urls ?? []).map((url) => url.slice(url.lastIndexOf("/") + 1));
  return { status, clips: await Promise.all(names.map((name) => download(client, name))) };
}

/** Return the status of a completed job, or the seconds to wait before the next look. */
async function look(
  client: MusicGenClient,
  jobId: string,
  signal: AbortSignal | undefined,
  onStatus: WaitOptions["onStatus"],
): Promise<Status | number> {
  const reply = await client.GET("/v1/status/{job_id}", {
    params: { path: { job_id: jobId } },
    ...(signal === undefined ? {} : { signal }),
  });
  // A limit of calls, or a server without its database for a while.
  if (reply.response.status === 429 || reply.response.status === 503) {
    return retryAfter(reply.response) ?? 10;
  }
  const status = read(reply);
  onStatus?.(status);
  if (status.status === "completed") return status;
  if (status.status === "failed" || status.status === "cancelled") {
    const { code, message } = status.error ?? { code: status.status, message: "The job was cancelled." };
    throw new MusicGenError(code, message);
  }
  return 0;
}

/** Return the data of a reply. Throws `MusicGenError` for an error. */
function read<T>(reply: { data?: T; error?: unknown; response: Response }): T {
  const { data, error, response } = reply;
  if (data !== undefined) return data;
  const body = (error as { error?: ErrorBody } | undefined)?.error;
  const message = body?.message ?? `The server answered ${response.status}.`;
  throw new MusicGenError(body?.code ?? "refused", message, response.status, retryAfter(response));
}

function retryAfter(response: Response): number | undefined {
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return Number.isFinite(seconds) ? seconds : undefined;
}

function sleep(seconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
