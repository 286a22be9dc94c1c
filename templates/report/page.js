"use strict";
(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  const words = document.getElementById("words");
  const host = document.getElementById("host");
  const shown = document.getElementById("shown");
  const rows = [...document.querySelectorAll(".results tbody")].map(
    (body) => ({ body, text: body.textContent.toLowerCase() }));
  const apply = () => {
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const statuses = new Set([...form.querySelectorAll("[name=status]:checked")].map((box) => box.value));
    let count = 0;
    for (const { body, text } of rows) {
      const fits = statuses.has(body.dataset.status) && (!host.value || host.value === body.dataset.host)
        && asked.every((word) => text.includes(word));
      body.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} shown`;
  };
  const folded = document.querySelector("details.fine");
  form.addEventListener("input", () => {
    // What is looked for may be among the rows that are folded.
    if (folded) folded.open = true;
    apply();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
})();
