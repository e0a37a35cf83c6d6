// The judging page: shows a task, sends the answer on its way, and has the next one ready.

import { formOf } from "./answering.js";
import { ask, h, putSafe } from "./dom.js";
import { call, newKey } from "./http.js";
import { actionOf, isWriting, shownKey, showKeys } from "./keys.js";
import { Outbox } from "./outbox.js";

const RENEW_EVERY = 4 * 60_000;
const KEEP_AFTER = 400;
const NOTHING = {
  all_done: ["You have answered everything there is for you.", "New tasks appear here by themselves when there are some."],
  all_taken: ["Other people have the remaining tasks just now.", "This page looks again every half minute."],
  none_yet: ["There is nothing to judge yet.", "Whoever runs this project has to make tasks first."],
};
const ACTIONS = ["skip", "undo", "flags", "note", "guidelines", "written", "help"];

const page = document.querySelector("main.judging");
const place = document.getElementById("task");
const status = document.getElementById("saved");
const problem = document.getElementById("problem");
const announce = document.getElementById("announce");
const actions = document.getElementById("actions");
const counter = document.getElementById("answered-today");
const wanted = new URLSearchParams(location.search).get("kind");
const kinds = ["comparison", "ranking", "rating", "demonstration"].includes(wanted) ? [wanted] : null;
const outbox = new Outbox(page.dataset.me);

let form = null;
let next = null;
let fetching = null;
let leaving = new Set(); // leases answered or skipped here, whatever the server knows by now
let last = null; // the answer that Undo takes back
let again = null;
let stuck = false; // nothing could be fetched; once something was sent it is worth another try

// --- time in front -------------------------------------------------------------------------------
let seconds = 0;
let since = null;
let active = false;
const inFront = () => document.visibilityState === "visible" && document.hasFocus();
function clock() {
  const now = performance.now();
  if (since !== null) seconds += (now - since) / 1000;
  since = inFront() ? now : null;
}
for (const name of ["focus", "blur"]) addEventListener(name, clock);
document.addEventListener("visibilitychange", clock);
for (const name of ["pointerdown", "keydown", "scroll", "input"]) addEventListener(name, () => { active = true; }, { passive: true, capture: true });

// --- what to show --------------------------------------------------------------------------------
function show(task, draft = null) {
  clearTimeout(again);
  form = formOf(task, draft?.body ? { ...draft.body, ...draft.extra } : null);
  seconds = draft?.seconds ?? 0;
  since = inFront() ? performance.now() : null;
  problem.textContent = "";
  if (!form) {
    place.replaceChildren(h("p", { class: "notice bad" }, "This page is older than the server: reload it."));
    return;
  }
  form.element.classList.add("fresh");
  place.replaceChildren(form.element);
  actions.hidden = false;
  form.element.addEventListener("input", later);
  form.element.addEventListener("change", later);
  form.element.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("title").textContent = form.title;
  announce.textContent = `${form.title}.`;
  scrollTo({ top: 0 });
  form.element.focus({ preventScroll: true });
  guidelinesOf(task.guidelines_version, task.kind);
  prefetch();
}

function showNothing(why) {
  form = null;
  actions.hidden = true;
  const [title, more] = NOTHING[why] ?? NOTHING.none_yet;
  document.getElementById("title").textContent = "Nothing to judge";
  announce.textContent = title;
  place.replaceChildren(h("div", { class: "card done" }, h("h2", {}, title), h("p", { class: "quiet" }, more),
    h("p", {}, h("button", { class: "button", type: "button", onclick: undo }, "Undo the last answer"), " ", h("a", { class: "button", href: "/history" }, "See what you answered"))));
  clearTimeout(again);
  again = setTimeout(advance, 30_000);
}

let timer = null;
function later() {
  clearTimeout(timer);
  timer = setTimeout(keep, KEEP_AFTER);
}
function keep() {
  clearTimeout(timer);
  if (!form || leaving.has(form.task.lease)) return;
  clock();
  const { body, draft = {} } = form.read();
  outbox.keep(form.task.lease, body, { seconds, extra: draft });
}
addEventListener("pagehide", keep);

// --- tasks ---------------------------------------------------------------------------------------
async function claim() {
  const exclude = [...leaving];
  if (form) exclude.push(form.task.lease);
  const wish = { kinds, exclude: [...new Set(exclude)] };
  try {
    return await call("POST", "/claims", wish);
  } catch (trouble) {
    if (trouble.status !== 409 || !(await handBack(wish.exclude))) throw trouble;
    return call("POST", "/claims", wish);
  }
}

/** Give tasks of other kinds back that were fetched ahead; whether there were any. */
async function handBack(kept) {
  const { tasks } = await call("GET", "/claims");
  const spare = tasks.filter(({ lease, kind }) => kinds && !kinds.includes(kind) && !kept.includes(lease) && !outbox.draft(lease));
  for (const { lease } of spare) await call("POST", `/leases/${lease}/release`, {});
  return spare.length > 0;
}

/** Have the next task ready; one request at a time. */
function prefetch() {
  if (next?.task || fetching) return fetching;
  fetching = claim()
    .then((found) => { next = found; })
    .catch((trouble) => { next = { task: null, trouble }; })
    .finally(() => { fetching = null; });
  return fetching;
}

async function advance() {
  form = null;
  stuck = false;
  // Until the next task is there the old one takes no more keys and clicks.
  place.firstElementChild?.setAttribute("inert", "");
  if (fetching) await fetching;
  if (!next?.task || leaving.has(next.task.lease)) {
    next = null;
    await prefetch();
  }
  const { task, nothing, trouble } = next ?? {};
  next = null;
  if (task) show(task, outbox.draft(task.lease));
  else if (trouble) showTrouble(trouble);
  else showNothing(nothing);
}

function showTrouble(trouble) {
  stuck = true;
  actions.hidden = true;
  const words = trouble.status === 401 ? "You are logged out." : trouble.message;
  const link = trouble.status === 401 ? h("a", { class: "button primary", href: `/login?next=${encodeURIComponent(location.pathname + location.search)}` }, "Log in") : h("button", { class: "button", type: "button", onclick: advance }, "Try again");
  place.replaceChildren(h("div", { class: "card done" }, h("h2", {}, words), h("p", { class: "quiet" }, "What you have answered so far is kept."), link));
  clearTimeout(again);
  if (trouble.passing) again = setTimeout(advance, 5_000);
}

// --- what a person does --------------------------------------------------------------------------
function send() {
  if (!form) return;
  const { body, draft = {}, missing } = form.read();
  problem.textContent = missing ?? "";
  if (missing) return;
  clock();
  clearTimeout(timer);
  const { lease } = form.task;
  const task = form.task;
  leaving.add(lease);
  last = { lease, task, body, extra: draft, answer: null, seconds };
  outbox.post(lease, { ...body, seconds: Math.min(Math.round(seconds * 10) / 10, 86_400) }, { seconds, extra: draft });
  advance();
}

async function skip() {
  if (!form) return;
  const { task } = form;
  const box = h("fieldset", {}, h("legend", { class: "visually-hidden" }, "Reason"));
  task.skip_reasons.forEach(({ name, label }, index) => {
    box.append(h("label", { class: "choice" }, h("input", { type: "radio", name: "reason", value: name }), h("span", { class: "face" }, h("kbd", { "aria-hidden": "true" }, String(index + 1)), label)));
  });
  const digits = (event) => {
    const input = box.querySelectorAll("input")[Number(event.key) - 1];
    if (!input) return;
    input.checked = true;
    input.focus();
  };
  box.addEventListener("change", () => { problemInside.textContent = ""; });
  const problemInside = h("p", { class: "problem", role: "alert" });
  const body = h("div", {}, h("p", { class: "quiet" }, "It is not shown to you again. Choose a reason."), box, problemInside);
  body.addEventListener("keydown", digits);
  document.addEventListener("keydown", digits);
  const answer = await ask("Skip this task?", body, [{ label: "Back", value: "" }, { label: "Skip it", value: "skip", kind: "primary" }]);
  document.removeEventListener("keydown", digits);
  const reason = box.querySelector("input:checked")?.value;
  if (answer !== "skip") return;
  if (!reason) {
    problem.textContent = "Nothing was skipped: choose a reason first.";
    return;
  }
  try {
    await call("POST", `/leases/${task.lease}/skip`, { reason });
    outbox.drop(task.lease);
    leaving.add(task.lease);
    tell("saved", "Skipped.");
    advance();
  } catch (trouble) {
    problem.textContent = trouble.message;
  }
}

async function undo() {
  if (last && !last.answer) {
    // Not acknowledged yet: if it was never sent, it simply comes back.
    if (outbox.recall(last.lease)) return bringBack(last.task, last);
    await outbox.send();
  }
  try {
    const answer = last?.answer ?? (await call("GET", "/answers?limit=1")).answers.find(({ state }) => state === "stands")?.answer;
    if (!answer) {
      tell("saved", "There is nothing to undo.");
      return;
    }
    const { body } = last?.answer === answer ? last : await call("GET", `/answers/${answer}`);
    const { task } = await call("POST", `/answers/${answer}/undo`, {}, newKey());
    bringBack(task, { body, extra: last?.answer === answer ? last.extra : {}, seconds: 0 });
  } catch (trouble) {
    problem.textContent = trouble.message;
  }
}

function bringBack(task, draft) {
  keep();
  if (form) next = { task: form.task };
  leaving.delete(task.lease);
  last = null;
  show(task, draft);
  tell("saved", "Undone. Change it and send it again, or skip it.");
}

// --- saying so -----------------------------------------------------------------------------------
function tell(state, words) {
  status.dataset.state = state;
  status.textContent = words;
}
outbox.addEventListener("state", ({ detail }) => tell(detail.state, detail.words));
outbox.addEventListener("stored", ({ detail: { draft, stored } }) => {
  if (last?.lease === draft.lease) last.answer = stored.answer;
  leaving.delete(draft.lease);
  if (stuck) advance();
  counter.textContent = String(Number(counter.textContent) + 1);
});
outbox.addEventListener("refused", ({ detail: { draft, problem: trouble } }) => {
  // If the task is still this person's, it comes back with what they wrote.
  leaving.delete(draft.lease);
  const where = trouble.errors.map((error) => `${error.where}: ${error.problem}`).join("; ");
  refused({ ...draft, refused: where || trouble.message });
});
addEventListener("storage", ({ key: name, newValue }) => {
  if (newValue !== null || !form || name !== `assent.draft.${form.task.lease}`) return;
  leaving.add(form.task.lease);
  advance();
  tell("saved", "That task was finished in another tab.");
});

/** An answer that cannot be stored: say why, and let the person read what they had written. */
function refused(draft) {
  const box = document.getElementById("refused");
  const words = draft.body?.text ?? draft.body?.note;
  const item = h("div", { class: "notice bad" }, h("p", {}, `An answer was not stored: ${draft.refused}`),
    words ? h("p", { class: "as-written" }, words) : null,
    h("button", { class: "button small", type: "button", onclick: () => { outbox.drop(draft.lease); item.remove(); } }, "Discard it"));
  box.append(item);
}

// --- guidelines ----------------------------------------------------------------------------------
const guidelines = document.getElementById("guidelines");
const desk = document.querySelector(".desk");
const toggle = document.getElementById("guidelines-toggle");
function showGuidelines(on) {
  guidelines.hidden = !on;
  desk.classList.toggle("with-guidelines", on);
  toggle.setAttribute("aria-expanded", String(on));
}
toggle.addEventListener("click", () => {
  const on = guidelines.hidden;
  showGuidelines(on);
  localStorage.setItem("assent.guidelines", on ? "shown" : "hidden");
});
showGuidelines(localStorage.getItem("assent.guidelines") ? localStorage.getItem("assent.guidelines") === "shown" : matchMedia("(min-width: 68rem)").matches);

/** The part that is for this kind of task, beside what is for all. */
function guidelinesFor(kind) {
  for (const part of guidelines.querySelectorAll("[data-part]")) part.hidden = part.dataset.part !== kind;
}

async function guidelinesOf(version, kind) {
  guidelinesFor(kind);
  if (!version || Number(guidelines.dataset.version) === version) return;
  try {
    const found = await call("GET", `/guidelines/${version}`);
    const parts = found.parts.map((part) => putSafe(h("div", part.kind ? { "data-part": part.kind } : {}), part.html));
    document.getElementById("guidelines-text").replaceChildren(...parts);
    guidelinesFor(form?.task.kind ?? kind);
    document.getElementById("guidelines-version").textContent = `version ${found.version}`;
    guidelines.dataset.version = String(found.version);
    announce.textContent = `The guidelines are now version ${found.version}.`;
  } catch {
    // The old ones stay beside the task; the next task asks again.
  }
}

// --- keys ----------------------------------------------------------------------------------------
const DO = {
  skip, undo, help: showKeys,
  flags: () => form?.open(".response.current .flags, .flags"),
  note: () => form?.open(".note"),
  guidelines: () => toggle.click(),
  written: () => form && (announce.textContent = form.toggleWritten() ? "Text as it is written." : "Text as it is rendered."),
};
document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && isWriting(event.target)) form?.element.focus({ preventScroll: true });
  if (event.key === "Enter" && form && !event.repeat) {
    const writing = isWriting(event.target);
    const chord = event.ctrlKey || event.metaKey || (event.shiftKey && writing);
    // A plain Enter belongs to buttons, links and text fields where one of them has the focus.
    if (chord || (!writing && !event.target.closest("button, a, summary"))) {
      event.preventDefault();
      send();
    }
    return;
  }
  if (isWriting(event.target) || event.repeat) return;
  const action = actionOf(event, ACTIONS);
  if (!form?.press(event) && !action) return;
  event.preventDefault();
  if (action) DO[action]();
});
for (const button of page.querySelectorAll("[data-do]")) button.addEventListener("click", () => DO[button.dataset.do]());
document.getElementById("send").addEventListener("click", send);
for (const mark of actions.querySelectorAll("kbd[data-key]")) mark.textContent = shownKey(mark.dataset.key) ?? "";

setInterval(async () => {
  if (!form || !active) return;
  active = false;
  try {
    await call("POST", `/leases/${form.task.lease}/renew`, {});
  } catch {
    // An answer that comes after the lease ran out is kept all the same.
  }
}, RENEW_EVERY);

for (const draft of outbox.refused) refused(draft);
leaving = new Set(outbox.waiting.map(({ lease }) => lease));
outbox.send();
advance();
