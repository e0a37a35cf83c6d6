// Writing check items.

import { act, call } from "./site.js";

const form = document.getElementById("check-form");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  act(form.querySelector("button"), async () => {
    const data = new FormData(form);
    await call("POST", "/checks", { prompt: data.get("prompt"), better: data.get("better"), worse: data.get("worse"), why: data.get("why") });
    location.reload();
  });
});
