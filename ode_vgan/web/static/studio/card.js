// One run: its clip on a canvas, what it can do, how long it took, its latent path.

import { draw as drawPath } from "./plane.js";

const CAN = [
  ["continuous", "any time", "the frame at one time does not depend on which others are asked"],
  ["any_gap", "any frame rate", "it may be asked at frame rates that it was not trained on"],
  ["backward", "before the start", "it may be asked at times before the clip begins"],
  ["extrapolates", "beyond the window", "it may be asked at times later than it was trained on"],
  ["step_noise", "noise on the way", "it draws fresh noise along its path"],
];

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export class Card {
  constructor(run, save) {
    this.run = run;
    this.clip = this.path = this.exact = null;
    this.screen = element("canvas", { className: "screen", width: run.size, height: run.size });
    this.screen.setAttribute("role", "img");
    this.plane = element("canvas", { className: "plane" });
    this.plane.setAttribute("role", "img");
    this.plane.setAttribute("aria-label", `Latent path of ${run.name}`);
    this.asked = element("p", { className: "asked" });
    this.cost = element("p", { className: "cost" });
    this.fault = element("p", { className: "fault", hidden: true });
    const can = CAN.filter(([name]) => run.can[name]).map(([, said, title]) => element("li", { textContent: said, title }));
    const saved = element("button", { type: "button", textContent: "Save MP4" });
    saved.addEventListener("click", () => save(this));
    this.root = element("li", { className: "card" },
      element("div", { className: "head" }, element("h2", { textContent: run.name }), element("small", { textContent: `${run.model}, ${run.clips_seen.toLocaleString("en")} clips seen, ${run.size} px` })),
      element("div", { className: "stage" }, this.screen, this.fault),
      this.asked, this.cost,
      element("figure", {}, this.plane, element("figcaption", { textContent: "latent path, where it moves most" })),
      element("ul", { className: "can" }, ...can), element("div", { className: "actions" }, saved));
    this.root.dataset.run = run.name;
  }

  show(clip) {
    this.clip = clip;
    this.exact = null;
    this.fault.hidden = true;
    this.screen.classList.remove("old");
    const ms = (seconds) => `${Math.round(seconds * 1000)} ms`;
    this.cost.textContent = `${clip.shape[0]} frame${clip.shape[0] === 1 ? "" : "s"} in ${ms(clip.seconds)}, here after ${ms(clip.waited)}; ${clip.evaluations} evaluation${clip.evaluations === 1 ? "" : "s"}`;
  }

  refuse(reason) {
    this.clip = this.path = this.exact = null;
    this.fault.textContent = reason;
    this.fault.hidden = false;
    this.asked.textContent = this.cost.textContent = "";
    this.screen.getContext("2d").clearRect(0, 0, this.screen.width, this.screen.height);
  }

  nearest(t) {
    const { times } = this.clip;
    let best = 0;
    for (let i = 1; i < times.length; i += 1) if (Math.abs(times[i] - t) < Math.abs(times[best] - t)) best = i;
    return best;
  }

  paint(t, playing) {
    drawPath(this.plane, this.path, t, this.run.window_seconds);
    if (!this.clip) return;
    const { times } = this.clip, low = times[0], high = times.at(-1), gap = times.length > 1 ? (high - low) / (times.length - 1) : 0;
    const outside = t < low - gap / 2 - 1e-6 || t > high + gap + 1e-6;
    this.fault.hidden = !outside;
    this.screen.classList.toggle("outside", outside);
    if (outside) this.fault.textContent = `no frame here: it makes ${low.toFixed(2)} to ${high.toFixed(2)} s`;
    const exact = !playing && this.exact && Math.abs(this.exact.times[0] - t) < 1e-9;
    const source = exact ? this.exact : this.clip, row = exact ? 0 : this.nearest(t);
    const [, height, width] = source.shape, from = row * height * width * 3;
    const pen = this.screen.getContext("2d"), image = pen.createImageData(width, height);
    for (let i = 0, k = from; i < image.data.length; i += 4, k += 3) {
      image.data[i] = source.frames[k]; image.data[i + 1] = source.frames[k + 1]; image.data[i + 2] = source.frames[k + 2]; image.data[i + 3] = 255;
    }
    pen.putImageData(image, 0, 0);
    const at = source.times[row];
    this.asked.textContent = outside ? "" : exact ? `asked at this very time, ${at.toFixed(3)} s` : `frame at ${at.toFixed(3)} s`;
    this.screen.setAttribute("aria-label", `${this.run.name} at ${at.toFixed(2)} seconds`);
  }
}
