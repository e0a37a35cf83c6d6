// The form of each kind of task: it shows the task, takes the answer, and gives it as the API wants.

import { h, hidden, key, putSafe, written } from "./dom.js";
import { actionOf, shownKey } from "./keys.js";

const STEPS = { 4: "much", 3: "clearly", 2: "slightly", 1: "barely" };
const COMPARISON = ["left:4", "left:3", "left:2", "left:1", "right:1", "right:2", "right:3", "right:4", "tie", "both_bad", "cannot_judge"];
const letter = (name) => name.toUpperCase();
const list = (names) => names.map(letter).join(", ").replace(/, ([^,]*)$/, " and $1");

/** A radio button that looks like a button. */
function choice(name, value, face, { shortcut = null, checked = false } = {}) {
  const input = h("input", { type: "radio", name, value, checked, "aria-keyshortcuts": shortcut });
  return h("label", { class: "choice" }, input, h("span", { class: "face" }, ...face, key(shortcut)));
}

/** One task on the page; subclasses add what is asked. */
class Form {
  constructor(task, body) {
    this.task = task;
    this.element = h("form", { class: "task", tabindex: "-1", "aria-label": this.title, novalidate: true, "data-kind": task.kind });
    this.texts = [];
    // The question of a comparison stays in view at the foot of the page, so it comes last.
    const last = [this.asked(body), this.#note(body)];
    this.element.append(this.#prompt(), this.responses(body), ...(task.kind === "comparison" ? last.reverse() : last));
  }

  #prompt() {
    const { prompt, look_up: found } = this.task;
    const section = h("section", { class: "prompt card", "aria-labelledby": "prompt-label" }, h("h2", { class: "label", id: "prompt-label" }, "Prompt"), this.#text(prompt));
    if (!found) {
      if (this.task.looks_up) section.append(h("p", { class: "look-up-none" }, "This one without looking it up: judge by what you know and what the responses say."));
      return section;
    }
    const page = h("details", { class: "look-up card", open: true }, h("summary", {}, "You may look this up"), this.#text(found));
    return h("div", {}, section, page);
  }

  #text({ text, html }) {
    const rendered = putSafe(h("div", {}), html);
    const exact = h("div", { class: "text as-written", dir: "auto", hidden: true }, written(text));
    this.texts.push([rendered, exact]);
    return h("div", {}, rendered, exact);
  }

  /** Switch between rendered text and text as it is written; returns whether it is as written. */
  toggleWritten() {
    let exact = false;
    for (const [rendered, raw] of this.texts) {
      rendered.hidden = !rendered.hidden;
      raw.hidden = !raw.hidden;
      exact = !raw.hidden;
    }
    return exact;
  }

  responses(body) {
    const { responses } = this.task;
    if (!responses.length) return "";
    const grid = h("div", { class: "responses", "data-count": String(responses.length) });
    for (const response of responses) {
      const id = `response-${response.key}`;
      const name = responses.length === 1 ? "Response" : `Response ${letter(response.key)}`;
      const mark = responses.length === 1 ? null : h("span", { class: "letter", "aria-hidden": "true" }, letter(response.key));
      const heading = h("h3", { class: "label", id }, mark, responses.length === 1 ? name : hidden(name));
      grid.append(h("section", { class: "response card", "aria-labelledby": id, "data-key": response.key }, heading, this.#text(response), this.underResponse(response, body), this.#flags(response, body)));
    }
    return grid;
  }

  underResponse() {
    return "";
  }

  #flags(response, body) {
    const { flags } = this.task;
    if (!flags.length) return "";
    const chosen = body?.flags?.[response.key] ?? [];
    const summary = h("summary", {}, "Something wrong with it", this.task.responses.length > 1 ? hidden(` (response ${letter(response.key)})`) : null);
    const box = h("details", { class: "flags", open: chosen.length > 0 }, summary);
    for (const { name, label } of flags) {
      box.append(h("label", { class: "check" }, h("input", { type: "checkbox", name: `flag-${response.key}`, value: name, checked: chosen.includes(name) }), label));
    }
    const mark = () => box.classList.toggle("some", Boolean(box.querySelector("input:checked")));
    box.addEventListener("change", mark);
    mark();
    return box;
  }

  #note(body) {
    const note = body?.note ?? "";
    const area = h("textarea", { name: "note", maxlength: "4000", rows: "3", "aria-label": "Note" });
    area.value = note;
    return h("details", { class: "note", open: note !== "" }, h("summary", {}, "Add a note", key(shownKey("note"))), area);
  }

  /** What every answer has. */
  common() {
    const data = new FormData(this.element);
    const flags = Object.fromEntries(this.task.responses.map(({ key: name }) => [name, data.getAll(`flag-${name}`)]));
    const note = data.get("note")?.trim() || null;
    return { kind: this.task.kind, ...(this.task.responses.length ? { flags } : {}), note };
  }

  /** A key press outside text fields; returns whether it meant something here. */
  press() {
    return false;
  }

  choose(name, value) {
    const input = [...this.element.elements].find((element) => element.name === name && element.value === value);
    if (!input) return;
    input.checked = true;
    input.focus({ preventScroll: true });
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  picked(name) {
    return new FormData(this.element).get(name);
  }

  open(selector) {
    const box = this.element.querySelector(selector);
    if (!box) return;
    box.open = true;
    const inside = box.querySelector("input, textarea");
    inside?.focus();
    box.scrollIntoView({ block: "nearest" });
  }
}

class Comparison extends Form {
  get title() {
    return "Compare two responses";
  }


  asked(body) {
    const chosen = body ? (body.strength ? `${body.verdict}:${body.strength}` : body.verdict) : null;
    const one = (value, ...face) => choice("verdict", value, face, { shortcut: shownKey(value), checked: value === chosen });
    const side = (name, who, steps) =>
      h("div", { class: `side ${name}` }, h("p", { class: "side-name", "aria-hidden": "true" }, h("span", { class: "letter" }, who), "is better"),
        ...steps.map((step) => one(`${name}:${step}`, h("span", {}, hidden(`${who} is `), STEPS[step], hidden(" better")))));
    const tie = one("tie", "About equal");
    tie.classList.add("tie");
    return h("fieldset", { class: "question" }, h("legend", {}, "Which response is better?"),
      h("div", { class: "scale" }, side("left", "A", [4, 3, 2, 1]), tie, side("right", "B", [1, 2, 3, 4])),
      h("div", { class: "rest" }, one("both_bad", "Both bad"), one("cannot_judge", "Cannot judge")));
  }

  press(event) {
    const action = actionOf(event, COMPARISON);
    if (action) this.choose("verdict", action);
    return action !== null;
  }

  read() {
    const [verdict = null, strength] = (this.picked("verdict") ?? "").split(":").filter(Boolean);
    const body = { ...this.common(), verdict, strength: strength ? Number(strength) : null };
    return { body, missing: verdict ? null : "Choose which response is better, or that you cannot judge." };
  }
}

class Ranking extends Form {
  get title() {
    return "Rank the responses";
  }

  #current = 0;

  underResponse(response, body) {
    const place = body?.levels?.findIndex((level) => level.includes(response.key)) ?? -1;
    const saved = body?.places?.[response.key] ?? (place < 0 ? null : String(place + 1));
    const box = h("fieldset", { class: "places" }, h("legend", { class: "side-name" }, "Place", hidden(` of response ${letter(response.key)}; 1 is best, the same place is a tie`)));
    this.task.responses.forEach((_, index) => {
      const value = String(index + 1);
      box.append(choice(`place-${response.key}`, value, [value], { checked: value === saved }));
    });
    return box;
  }

  asked() {
    const order = h("p", { class: "order", "aria-live": "polite" });
    const show = () => {
      const { levels } = this.#levels();
      order.textContent = levels.length ? levels.map((level) => level.map(letter).join(" = ")).join("  ›  ") : "Give each response a place; 1 is best. The same place is a tie.";
    };
    queueMicrotask(() => {
      show();
      this.#mark(0);
      this.element.addEventListener("change", show);
      this.element.addEventListener("focusin", (event) => {
        const index = this.task.responses.findIndex(({ key: name }) => event.target.closest(`[data-key="${name}"]`));
        if (index >= 0) this.#mark(index);
      });
    });
    return h("section", { class: "question", "aria-label": "Your order" }, h("p", { class: "label" }, "Your order, best first"), order);
  }

  #mark(index, { focus = false } = {}) {
    this.#current = index;
    const cards = [...this.element.querySelectorAll(".response")];
    cards.forEach((card, at) => card.classList.toggle("current", at === index));
    if (!focus) return;
    const inputs = [...cards[index].querySelectorAll(".places input")];
    (inputs.find((input) => input.checked) ?? inputs[0]).focus({ preventScroll: true });
    cards[index].scrollIntoView({ block: "nearest" });
  }

  #levels() {
    const places = this.task.responses.map(({ key: name }) => [name, Number(this.picked(`place-${name}`) ?? 0)]);
    const used = [...new Set(places.map(([, place]) => place).filter(Boolean))].sort((one, other) => one - other);
    return {
      levels: used.map((place) => places.filter(([, at]) => at === place).map(([name]) => name)),
      without: places.filter(([, place]) => !place).map(([name]) => name),
      places: Object.fromEntries(places.filter(([, place]) => place).map(([name, place]) => [name, String(place)])),
    };
  }

  press(event) {
    const { responses } = this.task;
    const move = { next: 1, previous: -1 }[actionOf(event, ["next", "previous"])];
    if (move) {
      this.#mark((this.#current + move + responses.length) % responses.length, { focus: true });
      return true;
    }
    if (!/^[1-9]$/.test(event.key) || Number(event.key) > responses.length) return false;
    this.choose(`place-${responses[this.#current].key}`, event.key);
    const { without } = this.#levels();
    if (without.length) {
      const after = responses.findIndex(({ key: name }, index) => index > this.#current && without.includes(name));
      this.#mark(after >= 0 ? after : responses.findIndex(({ key: name }) => without.includes(name)), { focus: true });
    }
    return true;
  }

  read() {
    const { levels, without, places } = this.#levels();
    const missing = without.length ? `Give ${list(without)} a place too; the same place is a tie.` : null;
    return { body: { ...this.common(), levels }, draft: { places }, missing };
  }
}

class Rating extends Form {
  get title() {
    return "Rate the response";
  }


  asked(body) {
    const box = h("div", { class: "question" });
    for (const axis of this.task.axes) {
      const points = h("div", { class: "points" });
      for (let value = axis.from; value <= axis.to; value += 1) {
        points.append(choice(`axis-${axis.name}`, String(value), [String(value)], { checked: body?.ratings?.[axis.name] === value }));
      }
      box.append(h("fieldset", { class: "axis", "data-axis": axis.name }, h("legend", {}, axis.label), points, h("p", { class: "ends" }, h("span", {}, `${axis.from}: ${axis.low}`), h("span", {}, `${axis.to}: ${axis.high}`))));
    }
    queueMicrotask(() => {
      this.#mark();
      this.element.addEventListener("change", () => this.#mark());
    });
    return box;
  }

  get #next() {
    return this.task.axes.find(({ name }) => this.picked(`axis-${name}`) === null);
  }

  #mark() {
    const next = this.#next?.name;
    for (const box of this.element.querySelectorAll(".axis")) box.classList.toggle("current", box.dataset.axis === next);
  }

  press(event) {
    if (!/^[0-9]$/.test(event.key)) return false;
    const inside = document.activeElement?.closest?.(".axis")?.dataset.axis;
    const axis = this.#next ?? this.task.axes.find(({ name }) => name === inside);
    const value = Number(event.key);
    if (!axis || value < axis.from || value > axis.to) return false;
    this.choose(`axis-${axis.name}`, event.key);
    return true;
  }

  read() {
    const found = this.task.axes.map(({ name }) => [name, this.picked(`axis-${name}`)]);
    const without = this.task.axes.filter((_, index) => found[index][1] === null).map(({ label }) => label);
    const ratings = Object.fromEntries(found.filter(([, value]) => value !== null).map(([name, value]) => [name, Number(value)]));
    return { body: { ...this.common(), ratings }, missing: without.length ? `Still to rate: ${without.join(", ")}.` : null };
  }
}

class Demonstration extends Form {
  get title() {
    return "Write a response";
  }


  asked(body) {
    const area = h("textarea", { name: "text", id: "demonstration", maxlength: "100000", dir: "auto", spellcheck: "true" });
    area.value = body?.text ?? "";
    return h("div", { class: "question writing field" }, h("label", { for: "demonstration" }, "Your response, as you wish the model would answer"), area);
  }

  read() {
    const text = this.element.elements.namedItem("text").value;
    return { body: { ...this.common(), text }, missing: text.trim() ? null : "Write a response first, or skip the task." };
  }
}

const FORMS = { comparison: Comparison, ranking: Ranking, rating: Rating, demonstration: Demonstration };

/** The form of a task, filled with `body` where there is one; null for a kind this page is too old for. */
export function formOf(task, body = null) {
  const Kind = FORMS[task.kind];
  return Kind ? new Kind(task, body) : null;
}
