// The grid of results: cards, their keyboard, and what stands there while there are none.

import { card, element, release } from "./clip.js";

export class Grid {
  constructor(root, on) {
    this.root = root;
    this.on = on;
    root.addEventListener("focusin", (event) => this.#current(event.target.closest(".card")));
  }

  get cards() {
    return [...this.root.querySelectorAll(".card:not(.skeleton)")];
  }

  clear() {
    release(this.root);
    this.root.replaceChildren();
  }

  add(records) {
    const first = !this.cards.length;
    this.root.append(...records.map((record) => card(record, this.on)));
    if (first) this.#current(this.cards[0]);
  }

  loading() {
    this.clear();
    this.root.append(...Array.from({ length: 12 }, () => element("li", { class: "card skeleton", "aria-hidden": "true" }, element("div", { class: "frame" }), element("p", { class: "caption", text: "\u00a0" }))));
  }

  nothing(filtered, clear) {
    this.root.append(element("li", { class: "nothing" }, element("h2", { text: "No clip fits" }),
      element("p", { text: filtered ? "The filters leave nothing. Widen a range, or clear them all." : "This dataset has no clip." }),
      filtered ? element("button", { type: "button", class: "strong", text: "Clear filters", onclick: clear }) : null));
  }

  mark(uid, selected) {
    for (const one of this.cards) if (one.record.uid === uid) one.querySelector(".pick").setAttribute("aria-pressed", String(selected));
  }

  focus(uid, take = true) {
    const found = this.cards.find((one) => one.record.uid === uid);
    this.#current(found);
    if (found && take) found.querySelector(".open").focus();
    found?.scrollIntoView({ block: "nearest" });
  }

  key(event) {
    const cards = this.cards;
    const at = cards.indexOf(document.activeElement?.closest?.(".card"));
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.#across(cards), ArrowUp: -this.#across(cards) };
    if (event.key in moves && cards.length && !event.target.matches("input")) {
      if (at < 0 && event.target !== document.body && event.target !== this.root) return;
      event.preventDefault();
      const next = cards[at < 0 ? 0 : Math.max(0, Math.min(cards.length - 1, at + moves[event.key]))];
      this.#current(next);
      next.querySelector(".open").focus();
      next.scrollIntoView({ block: "nearest" });
    } else if (at >= 0 && event.key === "m") this.on.like(cards[at].record);
    else if (at >= 0 && event.key === "x") this.on.select(cards[at].record.uid);
  }

  // one card is in the tab order; arrows reach the others
  #current(chosen) {
    if (!chosen || chosen.classList.contains("skeleton")) return;
    for (const one of this.cards) for (const button of one.querySelectorAll("button")) button.tabIndex = one === chosen ? 0 : -1;
  }

  #across(cards) {
    return Math.max(1, cards.findIndex((one) => one.offsetTop > cards[0]?.offsetTop)) || 1;
  }
}
