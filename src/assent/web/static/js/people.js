// Inviting people, and changing what they may do.

import { ask, h } from "./dom.js";
import { act, call } from "./site.js";

const box = document.getElementById("invitation");

function showLink(name, link) {
  document.getElementById("invited").textContent = name;
  document.getElementById("link").value = new URL(link, location.origin).href;
  box.hidden = false;
  document.getElementById("link").focus();
  document.getElementById("link").select();
}

const form = document.getElementById("invite-form");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  act(form.querySelector("button"), async () => {
    const data = new FormData(form);
    const { link } = await call("POST", "/annotators", { name: data.get("name").trim(), role: data.get("role") });
    showLink(data.get("name"), link);
    form.reset();
  });
});

const QUESTIONS = {
  erase: (name) => [`Erase ${name}?`, "Their name, password and notes go for good. What they judged stays, under a number, so that the figures stay true. This cannot be undone.", "Erase"],
  disable: (name) => [`Disable ${name}?`, "They are logged out at once. What they judged stays, and you can enable them again.", "Disable"],
};

document.querySelector("table").addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  const { person, name } = button.closest("[data-person]").dataset;
  act(button, async () => {
    const question = QUESTIONS[button.dataset.act]?.(name);
    if (question) {
      const [title, words, label] = question;
      const answer = await ask(title, h("p", {}, words), [{ label: "Back", value: "" }, { label, value: "yes", kind: "danger" }]);
      if (answer !== "yes") return;
    }
    const { link } = await call("POST", `/annotators/${person}/${button.dataset.act}`, {});
    if (link) showLink(name, link);
    else location.reload();
  });
});
