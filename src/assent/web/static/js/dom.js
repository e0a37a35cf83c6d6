// Making elements without markup, and the one door through which the server's safe HTML comes in.

const policy = window.trustedTypes?.createPolicy("assent", { createHTML: (html) => html });

/** Put HTML that the server made safe (`html` of a prompt or response) into an element. */
export function putSafe(element, html) {
  element.innerHTML = policy ? policy.createHTML(html) : html;
  return element;
}

/** An element: `h("p", { class: "quiet", onclick: f }, "words", child)`. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const hidden = (words) => h("span", { class: "visually-hidden" }, words);
export const key = (name) => (name ? h("kbd", { "aria-hidden": "true" }, name) : null);

const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff0-\uffff]/gu;

/** Text as it was written, unseen characters by number. */
export const written = (text) =>
  text.replace(UNSEEN, (character) => `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

/** A modal dialog with a heading; resolves to the button's value, or null when it was closed. */
export function ask(title, body, buttons) {
  const heading = h("h2", { id: "dialog-title" }, title);
  const row = h("div", { class: "buttons" });
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, heading, body, row);
  for (const { label, value, kind = "" } of buttons) {
    row.append(h("button", { class: `button ${kind}`, type: "button", onclick: () => dialog.close(value) }, label));
  }
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue || null);
    });
    dialog.showModal();
  });
}
