// Filters: a histogram with two handles for each number, a list of boxes for each word; all with live counts.

import { element, number } from "./clip.js";

const STEPS = 200;
const SVG = "http://www.w3.org/2000/svg";

export class Filters {
  // changed(ranges, values, settled): settled is false while a handle moves
  constructor(root, columns, bins, changed) {
    this.columns = columns;
    this.bins = bins;
    this.changed = changed;
    this.ranges = {};
    this.values = {};
    this.parts = new Map(columns.map((column) => [column.name, column.kind === "number" ? this.#slider(column) : this.#boxes(column)]));
    root.replaceChildren(...[...this.parts.values()].map((part) => part.root));
  }

  show(state) {
    this.ranges = { ...state.ranges };
    this.values = { ...state.values };
    for (const part of this.parts.values()) part.show();
  }

  count(facets) {
    for (const [name, part] of this.parts) part.count(facets.histograms[name] ?? facets.words[name]);
  }

  #slider(column) {
    const whole = Number.isInteger(column.low) && Number.isInteger(column.high) && column.high - column.low > 2;
    const valueAt = (step) => {
      const value = column.low + (step / STEPS) * (column.high - column.low);
      return whole ? Math.round(value) : Number(value.toPrecision(4));
    };
    const stepAt = (value, otherwise) => (value == null ? otherwise : Math.max(0, Math.min(STEPS, Math.round(((value - column.low) / (column.high - column.low)) * STEPS))));
    const bars = document.createElementNS(SVG, "svg");
    bars.setAttribute("viewBox", `0 0 ${this.bins} 100`);
    bars.setAttribute("preserveAspectRatio", "none");
    bars.setAttribute("aria-hidden", "true");
    for (let i = 0; i < this.bins; i++) {
      const bar = document.createElementNS(SVG, "rect");
      for (const [name, value] of [["x", i + 0.08], ["width", 0.84], ["y", 100], ["height", 0]]) bar.setAttribute(name, value);
      bars.append(bar);
    }
    const handle = (side, first) => element("input", { type: "range", min: 0, max: STEPS, value: first, class: side, "aria-label": `${column.label}, ${side === "low" ? "at least" : "at most"}` });
    const low = handle("low", 0);
    const high = handle("high", STEPS);
    const told = element("output", { class: "told" });
    const reset = element("button", { type: "button", class: "reset", "aria-label": `Any ${column.label.toLowerCase()}`, title: "Any", text: "×" });
    const root = element("section", { class: "column", "data-column": column.name },
      element("h3", { title: column.about || null }, element("span", { text: column.label }), told, reset),
      element("div", { class: "slider" }, bars, low, high));

    const mark = () => {
      const [from, to] = [Number(low.value), Number(high.value)];
      const active = column.name in this.ranges;
      root.classList.toggle("active", active);
      told.textContent = active ? `${number(valueAt(from), column.unit)} – ${number(valueAt(to), column.unit)}` : `${number(column.low, column.unit)} – ${number(column.high, column.unit)}`;
      low.setAttribute("aria-valuetext", number(valueAt(from), column.unit));
      high.setAttribute("aria-valuetext", number(valueAt(to), column.unit));
      [...bars.children].forEach((bar, i) => bar.classList.toggle("in", ((i + 1) * STEPS) / this.bins > from && (i * STEPS) / this.bins < to));
      low.style.zIndex = from > STEPS / 2 ? 3 : 2; // both handles at one end stay within reach
    };
    const move = (settled) => (event) => {
      if (Number(low.value) > Number(high.value)) event.target === low ? (low.value = high.value) : (high.value = low.value);
      const bounds = [Number(low.value) === 0 ? null : valueAt(Number(low.value)), Number(high.value) === STEPS ? null : valueAt(Number(high.value))];
      if (bounds[0] == null && bounds[1] == null) delete this.ranges[column.name];
      else this.ranges[column.name] = bounds;
      mark();
      this.changed(this.ranges, this.values, settled);
    };
    for (const one of [low, high]) {
      one.addEventListener("input", move(false));
      one.addEventListener("change", move(true));
    }
    reset.addEventListener("click", () => {
      delete this.ranges[column.name];
      this.changed(this.ranges, this.values, true);
    });
    const show = () => {
      const [from, to] = this.ranges[column.name] ?? [null, null];
      low.value = stepAt(from, 0);
      high.value = stepAt(to, STEPS);
      mark();
    };
    const count = (counts) => {
      const most = Math.max(1, ...counts);
      counts.forEach((one, i) => {
        const height = one ? Math.max(4, (one / most) * 100) : 0;
        bars.children[i].setAttribute("y", 100 - height);
        bars.children[i].setAttribute("height", height);
      });
    };
    show();
    return { root, show, count };
  }

  #boxes(column) {
    const rows = column.values.map((value) => {
      const box = element("input", { type: "checkbox", value });
      const count = element("span", { class: "number", text: "" });
      box.addEventListener("change", () => {
        const kept = rows.filter((row) => row.box.checked).map((row) => row.value);
        if (kept.length) this.values[column.name] = kept;
        else delete this.values[column.name];
        this.changed(this.ranges, this.values, true);
      });
      return { value, box, count, root: element("label", {}, box, element("span", { class: "word", text: wordOf(column, value) }), count) };
    });
    const root = element("section", { class: "column words", "data-column": column.name }, element("h3", {}, element("span", { text: column.label })), ...rows.map((row) => row.root));
    return {
      root,
      show: () => {
        const kept = this.values[column.name] ?? [];
        for (const row of rows) row.box.checked = kept.includes(row.value);
        root.classList.toggle("active", kept.length > 0);
      },
      count: (counts) => {
        for (const row of rows) {
          row.count.textContent = number(counts[row.value] ?? 0);
          row.root.classList.toggle("none", !counts[row.value]);
        }
      },
    };
  }
}

function wordOf(column, value) {
  if (value === "true") return "yes";
  return value === "false" ? "no" : value;
}
