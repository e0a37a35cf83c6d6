// Drafts and answers on their way. Each lies in this browser until the server has acknowledged it,
// with the key that makes sending it twice the same as sending it once.

import { call, newKey } from "./http.js";

const PREFIX = "assent.draft.";
const LONGEST_WAIT = 30_000;

const read = (name) => {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
};

export class Outbox extends EventTarget {
  #me;
  #sending = false;
  #timer = null;
  #wait = 1000;

  /** Answers of one person; what others left in this browser is not touched. */
  constructor(me) {
    super();
    this.#me = me;
    addEventListener("online", () => this.send());
  }

  get #drafts() {
    return Object.keys(localStorage)
      .filter((name) => name.startsWith(PREFIX))
      .map(read)
      .filter((draft) => draft && draft.me === this.#me && typeof draft.lease === "string");
  }

  draft(lease) {
    return this.#drafts.find((draft) => draft.lease === lease) ?? null;
  }

  /** Answers that are finished and not acknowledged, oldest first. */
  get waiting() {
    return this.#drafts.filter((draft) => draft.ready).sort((one, other) => one.at - other.at);
  }

  /** Answers that the server refused for good; kept until the person lets them go. */
  get refused() {
    return this.#drafts.filter((draft) => draft.refused);
  }

  keep(lease, body, more = {}) {
    const known = this.draft(lease);
    // Another text under a key that may have been sent would be a conflict: it gets a new one.
    const key = known && !known.sent ? known.key : newKey();
    const draft = { me: this.#me, lease, key, body, at: Date.now(), ready: false, ...more };
    try {
      localStorage.setItem(PREFIX + lease, JSON.stringify(draft));
    } catch {
      this.#tell("problem", "This browser has no room to keep the draft.");
    }
    return draft;
  }

  /** Finish a draft: it is sent now, and again until it is acknowledged. */
  post(lease, body, more = {}) {
    this.keep(lease, body, { ...more, ready: true });
    return this.send();
  }

  drop(lease) {
    localStorage.removeItem(PREFIX + lease);
  }

  /** Take back an answer that has not been sent yet. */
  recall(lease) {
    const draft = this.draft(lease);
    if (!draft?.ready || draft.sent) return null;
    this.keep(lease, draft.body);
    return draft;
  }

  async send() {
    if (this.#sending) return;
    this.#sending = true;
    clearTimeout(this.#timer);
    try {
      for (let [draft] = this.waiting; draft; [draft] = this.waiting) {
        this.#tell("sending", "Sending…");
        if (!(await this.#sendOne(draft))) return;
        this.#wait = 1000;
      }
    } finally {
      this.#sending = false;
    }
  }

  async #sendOne(draft) {
    localStorage.setItem(PREFIX + draft.lease, JSON.stringify({ ...draft, sent: true }));
    const [method, path] = draft.edits ? ["PUT", `/answers/${draft.edits}`] : ["POST", `/leases/${draft.lease}/answer`];
    try {
      const stored = await call(method, path, draft.body, draft.key);
      this.drop(draft.lease);
      this.#tell("saved", this.waiting.length ? `Saved. ${this.waiting.length} more to send.` : "Saved.");
      this.dispatchEvent(new CustomEvent("stored", { detail: { draft, stored } }));
      return true;
    } catch (problem) {
      if (problem.passing || problem.status === 401) {
        const count = this.waiting.length;
        const kept = count === 1 ? "1 answer is kept in this browser" : `${count} answers are kept in this browser`;
        if (problem.status === 401) {
          this.#tell("problem", `You are logged out. ${kept} until you log in again.`);
          this.dispatchEvent(new CustomEvent("loggedout"));
          return false;
        }
        this.#tell("kept", `${problem.status === 0 ? "Offline" : problem.message || "The server is busy"}: ${kept} and will be sent.`);
        this.#timer = setTimeout(() => this.send(), this.#wait);
        this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT);
        return false;
      }
      localStorage.setItem(PREFIX + draft.lease, JSON.stringify({ ...draft, ready: false, sent: true, refused: problem.message }));
      this.#tell("problem", "An answer was refused.");
      this.dispatchEvent(new CustomEvent("refused", { detail: { draft, problem } }));
      return true;
    }
  }

  #tell(state, words) {
    this.dispatchEvent(new CustomEvent("state", { detail: { state, words } }));
  }
}
