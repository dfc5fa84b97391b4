// Generated clips, each beside its nearest training clips: does the generator repeat what it has seen?

import { captionOf, clipSource, element, motion, number, release } from "./clip.js";
import { ask } from "./state.js";

const PAGE = 20;

export class Beside {
  constructor(root, info, on) {
    Object.assign(this, { root, info, on, loaded: 0, compared: 0 });
  }

  async show() {
    release(this.root);
    this.loaded = this.compared = 0;
    this.root.setAttribute("aria-busy", "true");
    this.root.replaceChildren(element("p", { class: "lead", text: "Comparing the generated clips with the training clips…" }), ...Array.from({ length: 3 }, () => element("div", { class: "pair skeleton" })));
    await this.more();
  }

  async more() {
    if (this.busy || (this.compared && this.loaded >= this.compared)) return;
    this.busy = true;
    try {
      const page = await ask("beside", `/v1/beside?offset=${this.loaded}&limit=${PAGE}`);
      if (!this.loaded) this.root.replaceChildren(this.#lead(page));
      for (const item of page.items) this.root.append(this.#pair(item, page.baseline));
      this.loaded += page.items.length;
      this.compared = page.compared;
    } finally {
      this.busy = false;
      this.root.removeAttribute("aria-busy");
    }
  }

  #lead({ compared, total, baseline }) {
    const some = compared < total ? ` the first ${number(compared)} of ${number(total)}` : ` ${number(compared)}`;
    const usual = baseline.count ? ` Among the training clips, the nearest other one has a similarity of ${baseline.median.toFixed(2)} (median of ${baseline.count}; 95 % have at most ${baseline.high.toFixed(2)}).` : "";
    return element("div", { class: "lead" },
      element("h2", { text: "Generated clips beside their nearest training clips" }),
      element("p", { text: `The closest of${some} come first.${usual} A generated clip nearer than that may be a copy.` }));
  }

  #pair(item, baseline) {
    const nearest = item.nearest[0]?.near;
    const beyond = baseline.high != null && nearest > baseline.high;
    const close = beyond || nearest >= this.info.near_duplicate;
    const verdict = beyond ? "nearer than 95 % of training clips are to each other" : close ? `near duplicate: ${this.info.near_duplicate} or more` : "no nearer than training clips are to each other";
    const made = element("figure", { class: "made" }, element("div", { class: "frame" }, motion(`/generated/${item.number}.mp4`, item.caption || item.key)),
      element("figcaption", {}, element("b", { text: item.key }), item.caption ? element("span", { text: item.caption }) : null));
    if (item.error) return element("article", { class: "pair broken" }, element("figure", { class: "made" }, element("div", { class: "frame" }, element("p", { class: "unplayable", text: "Not a clip" })), element("figcaption", {}, element("b", { text: item.key }))), element("p", { class: "note bad", text: item.error }));
    const meter = element("div", { class: "meter" }, element("span", { class: "value", text: nearest.toFixed(2) }), this.#scale(nearest, baseline), element("span", { class: "verdict", text: verdict }));
    const found = element("ul", { class: "nearest", "aria-label": `Nearest training clips of ${item.key}` }, ...item.nearest.map((record) => element("li", {},
      element("div", { class: "frame" }, motion(clipSource(record), captionOf(record)), element("button", { type: "button", class: "open", "aria-label": `${captionOf(record)}. Look closer.`, onclick: () => this.on.open(record) }), element("span", { class: "marks" }, element("span", { class: "near", text: record.near.toFixed(2) }))),
      element("p", { class: "caption", text: captionOf(record), title: captionOf(record) }))));
    return element("article", { class: `pair${close ? " close" : ""}` }, made, meter, found);
  }

  #scale(value, baseline) {
    const at = (one) => `${Math.max(0, Math.min(1, one)) * 100}%`;
    const fill = element("i", { class: "fill" });
    fill.style.width = at(value);
    const scale = element("span", { class: "scale", role: "img", "aria-label": `similarity ${value.toFixed(2)}` }, fill);
    for (const [name, one] of [["median", baseline.median], ["high", baseline.high]]) {
      if (one == null) continue;
      const tick = element("i", { class: `tick ${name}`, title: name === "median" ? "median of training clips" : "95 % of training clips" });
      tick.style.left = at(one);
      scale.append(tick);
    }
    return scale;
  }
}
