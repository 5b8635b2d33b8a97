/** The job API. Every call rejects with an `ApiError`, whatever went wrong. */

const NO_ANSWER = "The server cannot be reached. Check the connection and try again.";
const STRANGE_ANSWER = "The server answered in a way that this page does not understand.";

export class ApiError extends Error {
  /** `status` 0: no answer at all. `retryAfter`: seconds, or null where the server does not say. */
  constructor(message, { status = 0, code = "network", field = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, field, retryAfter });
  }

  get isWorthRepeating() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Seconds of a Retry-After header, which may also be a date. */
export function secondsOf(header) {
  if (!header) return null;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(1, Math.ceil(seconds)) : null;
}

export function errorOf(status, text, retryAfter) {
  let told = null;
  try {
    told = JSON.parse(text).error;
  } catch {
    // A proxy in between answers with a page of its own.
  }
  const message = told?.message ?? `${STRANGE_ANSWER} (${status})`;
  const { code = "unknown", field = null } = told ?? {};
  return new ApiError(message, { status, code, field, retryAfter: secondsOf(retryAfter) });
}

async function call(method, path, { json, headers = {}, signal } = {}) {
  const request = { method, headers: { Accept: "application/json", ...headers }, signal };
  if (json !== undefined) {
    request.body = JSON.stringify(json);
    request.headers["Content-Type"] = "application/json";
  }
  let response, text;
  try {
    response = await fetch(path, request);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(NO_ANSWER);
  }
  if (!response.ok) throw errorOf(response.status, text, response.headers.get("Retry-After"));
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(STRANGE_ANSWER, { status: response.status, code: "unknown" });
  }
}

/** For Idempotency-Key. Not `randomUUID`: it is missing where the page comes over plain http. */
export function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const session = () => call("GET", "/session");
export const signIn = (key) => call("POST", "/session", { json: { key } });
export const signOut = () => call("DELETE", "/session");
export const models = () => call("GET", "/models");
export const generate = (body, key) =>
  call("POST", "/generate", { json: body, headers: { "Idempotency-Key": key } });
const path = (id) => encodeURIComponent(id);
export const status = (id, signal) => call("GET", `/status/${path(id)}`, { signal });
export const cancel = (id) => call("DELETE", `/jobs/${path(id)}`);
export const eventsAddress = (id) => `/jobs/${path(id)}/events`;

export function jobs({ limit = 20, before = null } = {}) {
  const query = new URLSearchParams({ limit });
  if (before) query.set("before", before);
  return call("GET", `/jobs?${query}`);
}

/**
 * Sends a sound. `onProgress` gets the part that is sent, 0 to 1; `signal` stops it. It is an
 * XMLHttpRequest because fetch does not tell how much of a body was sent.
 */
export function upload(blob, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/uploads");
    request.setRequestHeader("Content-Type", blob.type || "application/octet-stream");
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    };
    request.onload = () => {
      if (request.status === 201) resolve(JSON.parse(request.responseText));
      else {
        const wait = request.getResponseHeader("Retry-After");
        reject(errorOf(request.status, request.responseText, wait));
      }
    };
    request.onerror = () => reject(new ApiError(NO_ANSWER));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(blob);
  });
}
