// Making tasks, and halting those that should not be asked any more.

import { act, call, say } from "./site.js";

const form = document.getElementById("task-form");
const kind = form.elements.namedItem("kind");
kind.addEventListener("change", () => { document.getElementById("size-field").hidden = kind.value !== "ranking"; });
form.addEventListener("submit", (event) => {
  event.preventDefault();
  act(form.querySelector("button"), async () => {
    const data = new FormData(form);
    const round = data.get("round");
    const { made, already } = await call("POST", "/tasks", {
      kind: kind.value,
      count: Number(data.get("count")),
      overlap: Number(data.get("overlap")),
      size: Number(data.get("size")),
      round: round === "" ? null : Number(round),
    });
    if (made) location.assign(`/tasks?made=${made}&already=${already}`);
    else say(already ? `All ${already} exist already: nothing new was made.` : "Nothing could be made from what is stored.", "");
  });
});
const everyone = document.getElementById("overlap-form");
everyone?.addEventListener("submit", (event) => {
  event.preventDefault();
  act(everyone.querySelector("button"), async () => {
    const data = new FormData(everyone);
    const { changed } = await call("PUT", "/tasks/overlap", { kind: data.get("kind"), overlap: Number(data.get("overlap")) });
    location.assign(`/tasks?changed=${changed}`);
  });
});
document.addEventListener("change", (event) => {
  const field = event.target.closest?.("[data-overlap]");
  if (!field || !field.reportValidity()) return;
  act(field, async () => {
    const { overlap } = await call("PUT", `/tasks/${field.dataset.overlap}/overlap`, { overlap: Number(field.value) });
    const kept = overlap !== Number(field.value);
    field.value = String(overlap);
    say(kept ? `This task keeps the ${overlap} answers that count already or are being given.` : `${overlap === 1 ? "One answer is" : `${overlap} answers are`} wanted for this task now.`, kept ? "" : "good");
  });
});

const told = new URLSearchParams(location.search);
if (told.has("made")) say(`${Number(told.get("made"))} made${Number(told.get("already")) ? `, ${Number(told.get("already"))} existed already` : ""}. They wait for people now.`, "good");

if (told.has("changed")) say(Number(told.get("changed")) ? `${Number(told.get("changed"))} tasks changed.` : "No task had to change.", "good");

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-task]");
  if (!button) return;
  act(button, async () => {
    await call("POST", `/tasks/${button.dataset.task}/${button.dataset.act}`, {});
    location.reload();
  });
});
