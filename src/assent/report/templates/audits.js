"use strict";
(() => {
  const data = document.getElementById("checkpoints");
  const slider = document.getElementById("checkpoint");
  if (data && slider) {
    const points = JSON.parse(data.textContent);
    const place = document.getElementById("place");
    const readings = document.getElementById("readings");
    const names = {
      kl_nats: "KL (nats)", proxy_mean: "learned reward", gold_mean: "gold",
      accuracy_easy: "right on easy facts", accuracy_hard: "right on hard facts",
      idk_unknowable: "“I do not know”", bluff: "confident bluff", sycophancy: "sycophancy",
      length: "length (tokens)", entropy_nats: "entropy (nats)", grammar_mass: "on the grammar",
    };
    const show = () => {
      const point = points[Number(slider.value)];
      const words = `round ${point.round}, step ${point.step}`;
      place.textContent = words;
      slider.setAttribute("aria-valuetext", words);
      readings.replaceChildren();
      for (const [key, name] of Object.entries(names)) {
        if (!(key in point)) continue;
        const item = document.createElement("li");
        const value = document.createElement("b");
        value.textContent = point[key].toFixed(3);
        item.append(value, name);
        readings.append(item);
      }
    };
    slider.max = String(points.length - 1);
    slider.addEventListener("input", show);
    document.getElementById("slider-part").hidden = false;
    show();
  }
  for (const filter of document.querySelectorAll("fieldset[data-filter]")) {
    filter.hidden = false;
    const cards = document.querySelectorAll(`[data-of="${filter.dataset.filter}"]`);
    const count = filter.querySelector("output");
    const apply = () => {
      const wanted = filter.querySelector("input:checked").value;
      let shown = 0;
      for (const card of cards) {
        card.hidden = wanted !== "all" && card.dataset.standing !== wanted;
        shown += card.hidden ? 0 : 1;
      }
      count.textContent = `${shown} of ${cards.length}`;
    };
    filter.addEventListener("change", apply);
    apply();
  }
})();
