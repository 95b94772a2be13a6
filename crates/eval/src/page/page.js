"use strict";
(() => {
  const value = (row, column) => {
    const cell = row.children[column];
    const text = cell.dataset.v ?? cell.textContent;
    const number = Number(text);
    return text === "" ? null : Number.isNaN(number) ? text.toLowerCase() : number;
  };
  // What has no value stays at the end in both directions.
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a < b ? -sign : a > b ? sign : 0;
  };
  for (const table of document.querySelectorAll("table.classes")) {
    const heads = [...table.querySelectorAll("thead th")];
    heads.forEach((head, column) => {
      head.classList.add("sorts");
      head.tabIndex = 0;
      const sort = () => {
        const descends = head.getAttribute("aria-sort") !== "descending" && column > 0
          || head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", descends ? "descending" : "ascending");
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [value(row, column), row]);
        rows.sort((a, b) => compare(a[0], b[0], descends ? -1 : 1));
        body.append(...rows.map((row) => row[1]));
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
      });
    });
  }
  const form = document.querySelector("form.filter");
  if (!form) return;
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  const search = form.querySelector("input[type=search]");
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const named = [...document.querySelectorAll("[data-name]")];
  const apply = () => {
    const wanted = search.value.trim().toLowerCase();
    const off = new Set(boxes.filter((box) => !box.checked).map((box) => box.dataset.group));
    let shown = 0, rows = 0;
    for (const element of named) {
      const is = element.dataset.name.toLowerCase().includes(wanted) && !off.has(element.dataset.group);
      element.hidden = !is;
      if (element.tagName === "TR") { rows += 1; shown += is; }
    }
    form.querySelector("output").textContent = `${shown} of ${rows} classes`;
  };
  form.addEventListener("input", apply);
  apply();
})();
