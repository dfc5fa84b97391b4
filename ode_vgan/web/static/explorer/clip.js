// One clip on the page: a card, or large in the viewer. Whatever a dataset says is set as text, never as HTML.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

const still = matchMedia("(prefers-reduced-motion: reduce)");

// Clips load when they come near the window, play while they are seen, and are let go far from it.
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting && !target.src) target.src = target.dataset.src;
    else if (!isIntersecting && target.src && target.tagName === "VIDEO") {
      target.removeAttribute("src");
      target.load();
    }
  }
}, { rootMargin: "700px 0px" });
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (target.tagName !== "VIDEO") continue;
    if (isIntersecting && !still.matches) target.play().catch(() => {});
    else target.pause();
  }
}, { threshold: 0.15 });

export function motion(source, label, controls = false) {
  const video = element("video", { "data-src": source, muted: true, loop: true, playsinline: true, preload: "auto", "aria-label": label, controls });
  video.muted = true; // the attribute alone does not count for a made element
  video.addEventListener("loadeddata", () => {
    video.classList.add("ready");
    if (!still.matches && isSeen(video)) video.play().catch(() => {});
  });
  video.addEventListener("error", () => {
    if (!video.src) return;
    const image = element("img", { src: source, alt: label, class: "ready" }); // a GIF or WebP plays as an image
    image.addEventListener("error", () => image.replaceWith(element("p", { class: "unplayable", text: "This browser cannot play the clip" })));
    release(video);
    video.replaceWith(image);
  });
  if (still.matches) {
    video.addEventListener("mouseenter", () => video.play().catch(() => {}));
    video.addEventListener("mouseleave", () => video.pause());
  }
  near.observe(video);
  seen.observe(video);
  return video;
}

export function release(root) {
  for (const video of root.matches?.("video") ? [root] : root.querySelectorAll("video")) {
    near.unobserve(video);
    seen.unobserve(video);
  }
}

function isSeen(video) {
  const box = video.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}

export const clipSource = (record) => `/clips/${encodeURIComponent(record.uid)}.mp4`;
export const captionOf = (record) => (typeof record.caption === "string" && record.caption.trim()) || "No caption";

export function card(record, on) {
  const caption = captionOf(record);
  const select = element("button", { type: "button", class: "pick", tabindex: -1, "aria-pressed": String(on.selected(record.uid)), "aria-label": "Select", title: "Select (x)", onclick: (event) => { event.stopPropagation(); on.select(record.uid); } },
    element("span", { "aria-hidden": "true" }));
  const like = element("button", { type: "button", class: "like", tabindex: -1, text: "More like this", title: "More like this (m)", onclick: (event) => { event.stopPropagation(); on.like(record); } });
  const open = element("button", { type: "button", class: "open", tabindex: -1, "aria-label": `${caption}. Look closer.`, onclick: () => on.open(record) });
  const marks = element("span", { class: "marks" });
  if (record.near != null) marks.append(element("span", { class: "near", title: "Similarity to the query", text: record.near.toFixed(2) }));
  if (record.alike) marks.append(element("span", { class: "alike", title: "Near duplicates hidden behind this clip", text: `+${record.alike}` }));
  const made = element("li", { class: "card", "data-uid": record.uid },
    element("div", { class: "frame" }, motion(clipSource(record), caption), open, marks, select, like),
    element("p", { class: "caption", text: caption, title: caption }));
  made.record = record;
  return made;
}

export function number(value, unit = "") {
  if (unit === "B" && value >= 1024) return value >= 2 ** 20 ? `${(value / 2 ** 20).toFixed(1)} MB` : `${(value / 1024).toFixed(1)} kB`;
  const size = Math.abs(value);
  const text = Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
  return unit ? `${text} ${unit}` : text;
}
