// Which key does what: the defaults, what a person made of them, and the list that ? shows.

import { ask, h } from "./dom.js";

const STORED = "assent.keys";
const SINGLE = "assent.keys.off";

/** Actions by group: name, what it does, the key it has unless a person chose another. */
export const ACTIONS = [
  ["Comparison", [
    ["left:4", "A is much better", "1"], ["left:3", "A is clearly better", "2"],
    ["left:2", "A is slightly better", "3"], ["left:1", "A is barely better", "4"],
    ["right:1", "B is barely better", "7"], ["right:2", "B is slightly better", "8"],
    ["right:3", "B is clearly better", "9"], ["right:4", "B is much better", "0"],
    ["tie", "About equal", "t"], ["both_bad", "Both bad", "b"], ["cannot_judge", "Cannot judge", "x"],
  ]],
  ["Ranking", [["next", "Next response", "j"], ["previous", "Previous response", "k"]]],
  ["Every task", [
    ["skip", "Skip, with a reason", "s"], ["undo", "Undo the last answer", "u"], ["flags", "Say what is wrong with a response", "f"],
    ["note", "Write a note", "n"], ["guidelines", "Show or hide the guidelines", "g"],
    ["written", "Show the text as it is written", "w"], ["help", "List the keys", "?"],
  ]],
];
const FIXED = [
  ["1 – 9", "Ranking: the place of the marked response. Rating: the value on the marked axis"],
  ["Enter", "Send the answer"],
  ["Ctrl Enter", "Send while writing"],
  ["Esc", "Leave a text field, close a dialog"],
];

function stored() {
  try {
    const found = JSON.parse(localStorage.getItem(STORED) ?? "{}");
    return found && typeof found === "object" ? found : {};
  } catch {
    return {};
  }
}

/** The key of each action now. */
export function keyOf(action) {
  const own = stored()[action];
  if (typeof own === "string" && own.length === 1) return own;
  for (const [, actions] of ACTIONS) for (const [name, , key] of actions) if (name === action) return key;
  return null;
}

/** Give an action another key; returns the action that has it already, or null. */
export function remap(action, key) {
  for (const [, actions] of ACTIONS) {
    for (const [name] of actions) if (name !== action && keyOf(name) === key) return name;
  }
  localStorage.setItem(STORED, JSON.stringify({ ...stored(), [action]: key }));
  return null;
}

export const resetKeys = () => localStorage.removeItem(STORED);
export const singleKeys = () => localStorage.getItem(SINGLE) !== "yes";
export const setSingleKeys = (on) => (on ? localStorage.removeItem(SINGLE) : localStorage.setItem(SINGLE, "yes"));

/** The key to print beside an action; none where single keys are switched off. */
export const shownKey = (action) => (singleKeys() ? keyOf(action) : null);

const WRITES = 'textarea, select, [contenteditable], input:not([type="radio"]):not([type="checkbox"])';
export const isWriting = (target) => Boolean(target.closest?.(WRITES));

/** The action of a key press, or null: none while someone writes, and none with a modifier. */
export function actionOf(event, among) {
  if (!singleKeys() || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isWriting(event.target)) return null;
  const pressed = event.key.length === 1 ? event.key.toLowerCase() : null;
  return pressed === null ? null : (among.find((action) => keyOf(action) === pressed) ?? null);
}

/** The dialog that lists every key. */
export function showKeys() {
  const body = h("div", {});
  if (!singleKeys()) body.append(h("p", { class: "notice" }, "Single keys are switched off in the settings."));
  for (const [title, actions] of ACTIONS) {
    const list = h("ul", { class: "keys" });
    for (const [name, label] of actions) list.append(h("li", {}, label, h("kbd", {}, keyOf(name))));
    body.append(h("h3", {}, title), list);
  }
  const list = h("ul", { class: "keys" });
  for (const [key, label] of FIXED) list.append(h("li", {}, label, h("kbd", {}, key)));
  body.append(h("h3", {}, "Always"), list, h("p", { class: "quiet small" }, "Other keys can be chosen in ", h("a", { href: "/settings" }, "the settings"), "."));
  return ask("Keys", body, [{ label: "Close", value: "", kind: "primary" }]);
}
