// What a person sets for themselves: theme and keys live in this browser, the password on the server.

import { h } from "./dom.js";
import { ACTIONS, keyOf, remap, resetKeys, setSingleKeys, singleKeys } from "./keys.js";
import { act, call, say } from "./site.js";

for (const input of document.querySelectorAll('input[name="theme"]')) {
  input.checked = input.value === (localStorage.getItem("assent.theme") ?? "system");
  input.addEventListener("change", () => {
    if (input.value === "system") {
      localStorage.removeItem("assent.theme");
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem("assent.theme", input.value);
      document.documentElement.dataset.theme = input.value;
    }
  });
}

const single = document.getElementById("single-keys");
single.checked = singleKeys();
single.addEventListener("change", () => setSingleKeys(single.checked));

const table = document.getElementById("keys");
function showTable() {
  table.replaceChildren(...ACTIONS.flatMap(([title, actions]) => [h("h3", {}, title), h("ul", { class: "keys" }, ...actions.map(([name, label]) => {
    const button = h("button", { class: "button small", type: "button", "aria-label": `${label}: key ${keyOf(name)}, change` }, keyOf(name));
    button.addEventListener("click", () => {
      button.textContent = "press a key";
      const listen = (event) => {
        event.preventDefault();
        event.stopPropagation();
        if (["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
        document.removeEventListener("keydown", listen, true);
        const pressed = event.key.length === 1 && event.key !== " " ? event.key.toLowerCase() : null;
        const taken = pressed === null ? null : remap(name, pressed);
        showTable();
        const labels = new Map(ACTIONS.flatMap(([, list]) => list).map(([action, words]) => [action, words]));
        if (taken) say(`${pressed} is the key of “${labels.get(taken)}”. Give that another one first.`, "bad");
        else say(pressed === null ? "Nothing was changed: that is no letter, digit or sign." : `${label}: ${pressed}`, pressed === null ? "" : "good");
        table.querySelector(`[aria-label^="${label}"]`)?.focus();
      };
      document.addEventListener("keydown", listen, true);
    });
    return h("li", {}, label, button);
  }))]));
}
showTable();
document.getElementById("reset-keys").addEventListener("click", () => {
  resetKeys();
  showTable();
  say("Every action has its first key again.", "good");
});

const form = document.getElementById("password-form");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  act(form.querySelector("button"), async () => {
    const data = new FormData(form);
    await call("PUT", "/me/password", { old: data.get("old") || null, new: data.get("new") });
    form.reset();
    say("The password is set. Your other sessions have ended.", "good");
  });
});
