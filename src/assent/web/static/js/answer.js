// One of one's own answers: read it, change it, take it back.

import { formOf } from "./answering.js";
import { call, newKey } from "./http.js";
import { act, say } from "./site.js";

const page = document.querySelector("main[data-answer]");
const answer = page.dataset.answer;
const place = document.getElementById("task");
const buttons = document.getElementById("buttons");
const found = await call("GET", `/answers/${answer}`);
const form = formOf(found.task, found.body);
place.replaceChildren(form.element);

const editable = found.state === "stands";
buttons.hidden = !editable;
if (!editable) for (const field of form.element.elements) field.disabled = true;
form.element.addEventListener("submit", (event) => event.preventDefault());

document.getElementById("save").addEventListener("click", (event) =>
  act(event.target, async () => {
    const { body, missing } = form.read();
    if (missing) {
      say(missing, "bad");
      return;
    }
    const stored = await call("PUT", `/answers/${answer}`, { ...body, seconds: found.body.seconds ?? null }, newKey());
    location.assign(`/history/${stored.answer}?changed=1`);
  }),
);
document.getElementById("undo").addEventListener("click", (event) =>
  act(event.target, async () => {
    await call("POST", `/answers/${answer}/undo`, {}, newKey());
    location.assign("/judge");
  }),
);
if (new URLSearchParams(location.search).has("changed")) say("Saved. The earlier answer stays in your history as edited.", "good");
