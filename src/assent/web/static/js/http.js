// Speaking to the server: one function, one kind of error.

/** What the server refused, or (status 0) that it could not be reached. */
export class Problem extends Error {
  constructor(status, title, detail, errors = []) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.errors = errors;
  }

  /** Whether sending the same again may succeed. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

const meta = document.querySelector('meta[name="csrf-token"]');

async function send(method, path, body, key) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = meta?.content ?? "";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  try {
    return await fetch(`/api/v1${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      redirect: "error",
      signal: AbortSignal.timeout(20_000),
    });
  } catch {
    throw new Problem(0, "Unreachable", "The server cannot be reached just now.");
  }
}

async function problemOf(response) {
  let told = {};
  try {
    told = await response.json();
  } catch {
    // Not ours: a proxy's page, or nothing at all.
  }
  return new Problem(response.status, told.title ?? `Status ${response.status}`, told.detail ?? "", told.errors ?? []);
}

/** JSON from the API under /api/v1; null where there is none. Throws `Problem`. */
export async function call(method, path, body, key) {
  let response = await send(method, path, body, key);
  if (response.status === 403 && method !== "GET") {
    // Another tab may have logged in again since: its token is the one that counts.
    const me = await send("GET", "/me");
    if (me.ok) {
      const token = (await me.json()).csrf_token;
      if (token && meta && token !== meta.content) {
        meta.content = token;
        response = await send(method, path, body, key);
      }
    }
  }
  if (!response.ok) throw await problemOf(response);
  return response.status === 204 ? null : response.json();
}

/** A key for one piece of work: the same key sent twice is stored once. */
export const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
