// On every page: links that lead away ask first, menus close, forms that call the API, copying.

import { ask, h } from "./dom.js";
import { call } from "./http.js";

document.addEventListener("click", async (event) => {
  const link = event.target.closest?.("a.away");
  if (!link) return;
  event.preventDefault();
  const body = h(
    "div",
    {},
    h("p", {}, "This link is part of a text that a model or a person wrote. It leads to"),
    h("p", { class: "address" }, link.href),
  );
  const answer = await ask("Open another site?", body, [
    { label: "Stay here", value: "" },
    { label: "Open it in a new tab", value: "open", kind: "primary" },
  ]);
  if (answer === "open") window.open(link.href, "_blank", "noopener,noreferrer");
});

// On a phone a row is a small card in which each cell says what it is; the roles stay what they were.
const ROLES = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };
for (const table of document.querySelectorAll(".scroll > table[aria-labelledby]")) {
  const names = [...table.tHead.rows[0].cells].map((cell) => (cell.querySelector(".visually-hidden") ? "" : cell.textContent.trim()));
  for (const part of [table, ...table.querySelectorAll("*")]) {
    const role = part.tagName === "TH" ? (part.scope === "row" ? "rowheader" : "columnheader") : ROLES[part.tagName];
    if (role && part.closest("table") === table) part.setAttribute("role", role);
  }
  for (const row of table.tBodies[0].rows) {
    [...row.cells].forEach((cell, at) => {
      if (names[at] && !cell.matches(".excerpt:first-child, th:not(.number)")) cell.dataset.label = names[at];
    });
  }
  table.classList.add("stacks");
}

const menus = [...document.querySelectorAll("details.menu")];
document.addEventListener("click", (event) => {
  for (const menu of menus) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of menus) {
    if (!menu.open) continue;
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copy);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Press Ctrl+C";
  }
});

/** Say something where it is read aloud; `kind` is "", "good" or "bad". */
export function say(words, kind = "") {
  const place = document.getElementById("said");
  place.replaceChildren(words ? h("p", { class: `notice ${kind}` }, words) : "");
}

/** Do something to the server at a click, once at a time, and tell what went wrong. */
export async function act(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    say("");
    await work();
  } catch (problem) {
    const where = (problem.errors ?? []).map((error) => `${error.where}: ${error.problem}`).join("; ");
    say(where || problem.message, "bad");
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

// Answers that the server has not acknowledged stay in this browser; say so before going.
document.querySelector('form[action="/logout"]')?.addEventListener("submit", async (event) => {
  const drafts = Object.keys(localStorage).filter((name) => name.startsWith("assent.draft."));
  const waiting = drafts.filter((name) => localStorage.getItem(name).includes('"ready":true')).length;
  if (!waiting) return;
  event.preventDefault();
  const form = event.target;
  const words = `${waiting === 1 ? "1 answer has" : `${waiting} answers have`} not been sent yet. They stay in this browser and are sent when you judge here again.`;
  const answer = await ask("Log out now?", h("p", {}, words), [
    { label: "Stay", value: "" },
    { label: "Log out", value: "yes", kind: "primary" },
  ]);
  if (answer === "yes") form.submit();
});

export { call };
