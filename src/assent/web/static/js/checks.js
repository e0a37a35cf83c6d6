// Writing check items, taking them from a file, and asking one no more.

import { h } from "./dom.js";
import { act, call, say } from "./site.js";

const LARGEST = 900_000;

const form = document.getElementById("check-form");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  act(form.querySelector("button"), async () => {
    const data = new FormData(form);
    await call("POST", "/checks", { prompt: data.get("prompt"), better: data.get("better"), worse: data.get("worse"), why: data.get("why") });
    location.assign("/checks");
  });
});

const fileForm = document.getElementById("check-file-form");
const refused = document.getElementById("refused-rows");
fileForm.addEventListener("submit", (event) => {
  event.preventDefault();
  act(fileForm.querySelector("button"), async () => {
    refused.replaceChildren();
    const [file] = fileForm.elements.namedItem("file").files;
    const text = await file.text();
    const body = { name: file.name || "file", text };
    if (new Blob([JSON.stringify(body)]).size > LARGEST) {
      say("This file is too large to send from a page. On the server: assent data import-checks DIR FILE", "bad");
      return;
    }
    if (!text) {
      say("This file is empty.", "bad");
      return;
    }
    try {
      const { added, known } = await call("POST", "/checks/import", body);
      location.assign(`/checks?added=${added}&known=${known}`);
    } catch (problem) {
      if (!problem.errors?.some(({ where }) => where.startsWith("row "))) throw problem;
      say("Nothing was added: some rows cannot be check items. They are listed below the file.", "bad");
      refused.replaceChildren(
        h("p", {}, h("strong", {}, "Rows that do not fit")),
        h("ul", { class: "small" }, ...problem.errors.map((error) => h("li", {}, `${error.where}: ${error.problem}`))),
      );
    }
  });
});
const told = new URLSearchParams(location.search);
if (told.has("added")) say(`${Number(told.get("added"))} added${Number(told.get("known")) ? `, ${Number(told.get("known"))} were there already` : ""}. People meet them among the others from now on.`, "good");

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-task]");
  if (!button) return;
  act(button, async () => {
    await call("POST", `/tasks/${button.dataset.task}/${button.dataset.act}`, {});
    location.assign("/checks");
  });
});
