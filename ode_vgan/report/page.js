// Tables sort by a click on a column's head: numbers by value, the rest by name.
document.querySelectorAll("table").forEach((table) => {
  const heads = [...table.querySelectorAll("thead th")];
  const value = (row, i) => row.cells[i].textContent.trim();
  const number = (text) => (/^[-<]?\s*[\d.]/.test(text) ? parseFloat(text.replace(/[<,\s]/g, "")) : NaN);
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [x, y] = [value(a, i), value(b, i)];
        const [m, n] = [number(x), number(y)];
        const order = isNaN(m) || isNaN(n) ? x.localeCompare(y) : m - n;
        return up ? order : -order;
      });
      table.tBodies[0].append(...rows);
    });
  });
});
