/** Calls of the job API. Every failed call rejects with an `ApiError`. */

import { say } from "./language.js";

const NO_ANSWER = say("error.network");
const UNEXPECTED_ANSWER = say("api.unexpected");

export class ApiError extends Error {
  /** `status`: 0 without an answer. `retryAfter`: seconds, or null if the server names none. */
  constructor(message, { code = "network", ...rest } = {}) {
    super(message);
    const nothing = { status: 0, field: null, reason: null, values: null, retryAfter: null };
    Object.assign(this, nothing, { code, ...rest });
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
  let body = null;
  try {
    body = JSON.parse(text).error;
  } catch {
    // An error page of a proxy is no JSON.
  }
  const message = body?.message ?? say("api.unexpected-status", { status: String(status) });
  const { code = "unexpected", field = null, reason = null, values = null } = body ?? {};
  const wait = secondsOf(retryAfter);
  return new ApiError(message, { status, code, field, reason, values, retryAfter: wait });
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
    throw new ApiError(UNEXPECTED_ANSWER, { status: response.status, code: "unexpected" });
  }
}

/** Returns a new Idempotency-Key. `randomUUID` is missing on pages over plain http. */
export function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const session = () => call("GET", "/session");
export const signIn = (key) => call("POST", "/session", { json: { key } });
export const signOut = () => call("DELETE", "/session");
/** `fields`: those of the request, such as duration and variations. */
export const estimate = (fields) => call("GET", `/v1/estimate?${new URLSearchParams(fields)}`);
export const models = () => call("GET", "/v1/models");
export const generate = (body, key) =>
  call("POST", "/v1/generate", { json: body, headers: { "Idempotency-Key": key } });
const path = (id) => encodeURIComponent(id);
export const status = (id, signal) => call("GET", `/v1/status/${path(id)}`, { signal });
export const cancel = (id) => call("POST", `/v1/jobs/${path(id)}/cancel`);
/** Deletes a job; the first call cancels an unfinished one and answers with its status. */
export async function remove(id) {
  try {
    const cancelled = await call("DELETE", `/v1/jobs/${path(id)}`);
    if (cancelled?.job_id) await call("DELETE", `/v1/jobs/${path(id)}`);
  } catch (error) {
    // Another tab, or an earlier call without an answer, has deleted it.
    if (error.status !== 404) throw error;
  }
}
export const change = (id, changes) => call("PATCH", `/v1/jobs/${path(id)}`, { json: changes });
export const zipAddress = (ids) => `/v1/jobs/zip?${new URLSearchParams(ids.map((id) => ["id", id]))}`;
export const eventsAddress = (id) => `/v1/jobs/${path(id)}/events`;

export function jobs({ limit = 20, ...filter } = {}) {
  const query = new URLSearchParams({ limit });
  for (const [name, value] of Object.entries(filter)) if (value) query.set(name, value);
  return call("GET", `/v1/jobs?${query}`);
}

/**
 * Uploads a sound. `onProgress` gets the part sent, 0 to 1; `signal` stops the upload. fetch cannot
 * report the progress of a body, so this is an XMLHttpRequest.
 */
export function upload(blob, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/uploads");
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
