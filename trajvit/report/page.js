// Sorts tables by their heads, tells what a mark is, and lets pictures be saved.
"use strict";

// Rows without a value stay below, whichever way the others go.
function sortBy(head) {
  const table = head.closest("table");
  const heads = [...head.parentNode.children];
  const at = heads.indexOf(head);
  const number = head.classList.contains("number");
  const first = head.dataset.better === "more" ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const way = head.getAttribute("aria-sort") === first ? other : first;
  heads.forEach((one) => one.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", way);

  const sign = way === "ascending" ? 1 : -1;
  const key = (row) => {
    const cell = row.children[at];
    return number ? parseFloat(cell.dataset.value) : cell.textContent;
  };
  const compare = (one, two) => {
    const [a, b] = [key(one), key(two)];
    if (!number) return sign * a.localeCompare(b, "en", { numeric: true });
    if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
    return sign * (a - b);
  };
  const body = table.tBodies[0];
  [...body.rows].sort(compare).forEach((row) => body.append(row));
}

for (const button of document.querySelectorAll(".sortable th button")) {
  button.addEventListener("click", () => sortBy(button.parentNode));
}

// A picture's link has the address of the picture itself, which is held once.
for (const link of document.querySelectorAll("a.save.shown")) {
  link.href = link.closest("figure").querySelector("img").src;
}

const tip = document.getElementById("tip");

function show(mark, x, y) {
  tip.textContent = mark.dataset.tip;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(x + 12, innerWidth - width - 8);
  const above = y - height - 12;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above < 8 ? y + 16 : above}px`;
}

for (const mark of document.querySelectorAll("[data-tip]")) {
  mark.addEventListener("pointermove", (event) => {
    show(mark, event.clientX, event.clientY);
  });
  mark.addEventListener("pointerleave", () => { tip.hidden = true; });
  mark.addEventListener("focus", () => {
    const box = mark.getBoundingClientRect();
    show(mark, box.left + box.width / 2, box.top);
  });
  mark.addEventListener("blur", () => { tip.hidden = true; });
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") tip.hidden = true;
});
