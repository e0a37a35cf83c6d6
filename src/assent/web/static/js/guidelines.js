// Saving a new version of the guidelines; what is typed survives a reload until then.

import { act, call } from "./site.js";

const form = document.getElementById("guidelines-form");
const version = Number(form.dataset.version);
const area = form.elements.namedItem("text");
const draft = `assent.guidelines.draft.${version}`;
area.value = localStorage.getItem(draft) ?? area.value;
area.addEventListener("input", () => localStorage.setItem(draft, area.value));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  act(form.querySelector("button"), async () => {
    await call("PUT", "/guidelines", { text: area.value, based_on: version });
    localStorage.removeItem(draft);
    location.assign("/guidelines");
  });
});
