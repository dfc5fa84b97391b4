// The studio: what is asked of the models, when, and what is shown of it.

import { Card } from "./card.js";
import * as server from "./server.js";
import { fresh, read, write } from "./state.js";

const $ = (id) => document.getElementById(id);
const RATES = [3, 6, 12, 24, 30, 48, 60, 120];
const { runs, limits } = await server.info();
const window_seconds = Math.max(...runs.map((run) => run.window_seconds)) || 1;
const trained_fps = 1 / runs[0].gap_seconds;
const captions = [...new Set(runs.flatMap((run) => run.captions))];
const start = { ...fresh, text: captions[0] ?? "a face", high: Math.round(window_seconds * 1000) / 1000 };
const state = read(location.search, start), asked_time = new URLSearchParams(location.search).has("t");
const cards = new Map(runs.map((run) => [run.name, new Card(run, save)]));
let playing = false, then = 0, queued = false;

const whole = (number) => Math.min(2 ** 31 - 1, Math.max(0, Math.round(number) || 0));
const clamp = (number, low, high) => Math.min(high, Math.max(low, number));
const shown = () => [...cards.values()].filter((card) => !state.hidden.includes(card.run.name));
const stretch = () => 2 ** state.speed;
const step = () => stretch() / (state.fps || trained_fps);

// ---- what is asked

function latent() {
  const text_to = state.text_to.trim();
  return {
    text: state.text, text_to: text_to || state.text, text_mix: text_to ? state.text_mix : 0, seed: state.seed,
    seed_to: state.seed_to ?? state.seed, seed_mix: state.seed_to === null ? 0 : state.seed_mix, noise: state.noise,
  };
}

function grid(run) {
  if (!run.can.any_gap) return Array.from({ length: run.frames }, (_, i) => i * run.gap_seconds);
  const low = run.can.backward ? state.low : Math.max(0, state.low), high = run.can.extrapolates ? state.high : Math.min(state.high, run.window_seconds);
  const count = Math.floor((high - low) / step() + 1e-6) + 1, kept = clamp(count, 1, limits.frames);
  const gap = count > kept ? (high - low) / (kept - 1) : step();
  return Array.from({ length: kept }, (_, i) => low + i * gap);
}

function question(run, times = grid(run)) { return { run: run.name, times, ...latent() }; }

async function refresh() {
  write(state, start);
  await Promise.all(shown().map(async (card) => {
    const body = question(card.run);
    card.screen.classList.add("old");
    try {
      card.show(await server.clip(body));
      card.paint(state.t, playing);
      say("");
      card.path = null;
      card.path = await server.path(body).catch((error) => { if (error instanceof server.Replaced) throw error; return null; });
    } catch (error) {
      if (error instanceof server.Replaced) return;
      if (card.clip === null || !error.message.includes("answer")) card.refuse(error.message);
      if (error.message.includes("does not answer")) say(error.message);
    }
  }));
  paint();
  if (!playing) await exactly();
}

// Once a frame of the screen, however many changes come.
function ask() {
  if (queued) return;
  queued = true;
  server.busy(() => new Promise((done) => requestAnimationFrame(() => { queued = false; refresh().then(done, done); })));
}

// A paused continuous model is asked at the very time of the slider; others would make another path of it.
function exactly() {
  const t = state.t;
  return server.busy(() => Promise.all(shown().map(async (card) => {
    const { can } = card.run;
    if (!card.clip || !can.continuous || can.step_noise) return;
    if (card.clip.times.some((one) => Math.abs(one - t) < 1e-9)) return;
    try { card.exact = await server.clip(question(card.run, [t]), "exact"); } catch (error) { if (!(error instanceof server.Replaced)) card.exact = null; }
    if (!playing) card.paint(state.t, false);
  })));
}

// ---- what is shown

function say(text) { $("message").textContent = text; $("message").hidden = !text; }

function paint() {
  $("now").textContent = `${state.t.toFixed(3)} s`;
  $("time").value = state.t;
  $("time").setAttribute("aria-valuetext", `${state.t.toFixed(2)} seconds`);
  for (const card of shown()) card.paint(state.t, playing);
}

function tick(now) {
  if (!playing) return;
  const passed = Math.min(0.25, (now - then) / 1000) * stretch() * (state.backwards ? -1 : 1);
  then = now;
  const span = state.high - state.low + step();  // the last frame lasts as long as the others
  head = state.low + ((((head - state.low + passed) % span) + span) % span);
  state.t = Math.min(head, state.high);
  paint();
  requestAnimationFrame(tick);
}

let written = 0, head = 0;
function play(on = !playing) {
  playing = on;
  $("play").textContent = on ? "Pause" : "Play";
  $("play").setAttribute("aria-label", on ? "Pause" : "Play");
  if (on) { head = state.t; then = performance.now(); requestAnimationFrame(tick); } else { write(state, start); exactly(); paint(); }
}

function scrub(t) {
  if (playing) play(false);
  state.t = clamp(t, state.low, state.high);
  paint();
  exactly();
  clearTimeout(written);
  written = setTimeout(() => write(state, start), 300);
}

function reveal() {
  $("text").value = state.text; $("text_to").value = state.text_to; $("text_mix").value = state.text_mix;
  $("text_mix").disabled = !state.text_to.trim();
  $("seed").value = state.seed; $("seed_to").value = state.seed_to ?? ""; $("seed_mix").value = state.seed_mix;
  $("seed_mix").disabled = state.seed_to === null;
  $("noise-told").textContent = state.noise === null ? "the clip's own" : `seed ${state.noise}`;
  $("denoise").disabled = state.noise === null;
  $("speed").value = state.speed; $("speed-told").textContent = `${Number(stretch().toPrecision(2))}x`;
  $("low").value = Number(state.low.toFixed(3)); $("high").value = Number(state.high.toFixed(3));
  $("fps").value = String(state.fps);
  $("backwards").setAttribute("aria-pressed", String(state.backwards));
  $("smooth").checked = state.smooth; document.body.classList.toggle("smooth", state.smooth);
  Object.assign($("time"), { min: state.low, max: state.high });
  state.t = clamp(state.t, state.low, state.high);
  const span = state.high - state.low, share = (t) => clamp((t - state.low) / span, 0, 1) * 100;
  $("trained").style.left = `${share(0)}%`;
  $("trained").style.width = `${share(window_seconds) - share(0)}%`;
  $("trained").hidden = share(window_seconds) <= share(0);
  for (const [name, card] of cards) {
    const there = !state.hidden.includes(name);
    if (there && !card.root.isConnected) $("cards").append(card.root); else if (!there) card.root.remove();
  }
  for (const card of shown()) $("cards").append(card.root);
  paint();
}

function change(changes) { Object.assign(state, changes); reveal(); ask(); }

function range(low, high) {
  low = clamp(low, -limits.reach_seconds, limits.reach_seconds - 0.01);
  change({ low, high: clamp(Math.max(high, low + 0.01), low + 0.01, limits.reach_seconds) });
}

// ---- films

async function download(button, clips, name) {
  button.disabled = true;
  try {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await server.film(clips)), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say("");
  } catch (error) { say(error.message); }
  button.disabled = false;
}

const slug = () => state.text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 40) || "clip";

function save(card) { return download(card.root.querySelector(".actions button"), [question(card.run)], `${slug()}-${card.run.name.replace(/[^A-Za-z0-9_-]+/g, "-")}.mp4`); }

function saveAll() {
  const able = shown().filter((card) => card.clip), free = able.find((card) => card.run.can.any_gap);
  const times = grid((free ?? able[0] ?? [...cards.values()][0]).run), same = (run) => JSON.stringify(grid(run)) === JSON.stringify(times);
  const kept = able.filter((card) => same(card.run));
  if (!kept.length) return say("no model can make a clip at these times.");
  const left = able.filter((card) => !same(card.run)).map((card) => card.run.name);
  return download($("film"), kept.map((card) => question(card.run, times)), `${slug()}.mp4`).then(() => {
    if (left.length && $("message").hidden) say(`left out of the film, which has other times: ${left.join(", ")}`);
  });
}

// ---- wiring

const random = () => Math.floor(Math.random() * 1e6);
const own = (value) => (value === "" ? null : whole(Number(value)));

$("about").textContent = `${runs.length} model${runs.length === 1 ? "" : "s"} of time, from the same latent`;
$("captions").append(...captions.map((caption) => Object.assign(document.createElement("option"), { value: caption })));
$("other").disabled = !captions.length;
$("fps").append(new Option(`${Number(trained_fps.toPrecision(2))} (trained)`, "0"), ...RATES.map((rate) => new Option(String(rate), String(rate))));
if (![0, ...RATES].includes(state.fps)) state.fps = 0;
if (!runs.some((run) => run.can.step_noise)) $("noise-knob").hidden = true;
$("before").disabled = !runs.some((run) => run.can.backward);
$("beyond").disabled = !runs.some((run) => run.can.extrapolates);
if (!(state.high > state.low)) Object.assign(state, { low: start.low, high: start.high });
for (const run of runs) {
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !state.hidden.includes(run.name) });
  box.addEventListener("change", () => {
    change({ hidden: box.checked ? state.hidden.filter((name) => name !== run.name) : [...state.hidden, run.name] });
  });
  const label = document.createElement("label");
  label.className = "switch"; label.append(box, run.name);
  $("models").append(label);
}

$("ask").addEventListener("submit", (event) => event.preventDefault());
$("text").addEventListener("input", () => change({ text: $("text").value }));
$("other").addEventListener("click", () => change({ text: captions[random() % captions.length] }));
$("text_to").addEventListener("input", () => change({ text_to: $("text_to").value, text_mix: state.text_mix || 0.5 }));
$("text_mix").addEventListener("input", () => change({ text_mix: Number($("text_mix").value) }));
$("seed").addEventListener("change", () => change({ seed: whole(Number($("seed").value)) }));
$("seed_to").addEventListener("change", () => change({ seed_to: own($("seed_to").value), seed_mix: state.seed_mix || 0.5 }));
$("seed_mix").addEventListener("input", () => change({ seed_mix: Number($("seed_mix").value) }));
$("redraw").addEventListener("click", () => change({ seed: random() }));
$("renoise").addEventListener("click", () => change({ noise: random() }));
$("denoise").addEventListener("click", () => change({ noise: null }));
$("play").addEventListener("click", () => play());
$("backwards").addEventListener("click", () => change({ backwards: !state.backwards }));
$("speed").addEventListener("input", () => change({ speed: Math.abs(Number($("speed").value)) < 0.08 ? 0 : Number($("speed").value) }));
$("fps").addEventListener("change", () => change({ fps: Number($("fps").value) }));
$("low").addEventListener("change", () => range(Number($("low").value), state.high));
$("high").addEventListener("change", () => range(state.low, Number($("high").value)));
$("fit").addEventListener("click", () => range(0, window_seconds));
$("beyond").addEventListener("click", () => range(0, 3 * window_seconds));
$("before").addEventListener("click", () => range(-window_seconds, window_seconds));
$("smooth").addEventListener("change", () => { state.smooth = $("smooth").checked; write(state, start); reveal(); });
$("time").addEventListener("input", () => scrub(Number($("time").value)));
$("film").addEventListener("click", saveAll);
for (const card of cards.values()) {
  const stage = card.root.querySelector(".stage");
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    scrub(state.low + clamp((event.clientX - box.left) / box.width, 0, 1) * (state.high - state.low));
  };
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); follow(event); });
  stage.addEventListener("pointermove", (event) => { if (stage.hasPointerCapture(event.pointerId)) follow(event); });
}
$("keys-help").addEventListener("click", () => $("keys").showModal());
$("keys-close").addEventListener("click", () => $("keys").close());
addEventListener("resize", paint);

const keys = {
  " ": () => play(), ArrowLeft: (event) => scrub(state.t - step() * (event.shiftKey ? 0.1 : 1)),
  ArrowRight: (event) => scrub(state.t + step() * (event.shiftKey ? 0.1 : 1)),
  Home: () => scrub(state.low), End: () => scrub(state.high), "[": () => change({ speed: clamp(state.speed - 0.5, -3, 2) }),
  "]": () => change({ speed: clamp(state.speed + 0.5, -3, 2) }), b: () => change({ backwards: !state.backwards }),
  r: () => change({ seed: random() }), n: () => !$("noise-knob").hidden && change({ noise: random() }),
  "/": () => $("text").focus(), "?": () => $("keys").showModal(),
};
addEventListener("keydown", (event) => {
  const target = event.target, typing = target.matches("input:not([type=range]):not([type=checkbox]), select, dialog, dialog *");
  if (event.key === "Escape" && typing) target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  if (target.matches("button, [type=checkbox]") && event.key === " ") return;
  if (target.matches("[type=range]:not(#time)") && /^(Arrow|Home|End)/.test(event.key)) return;
  event.preventDefault();
  keys[event.key](event);
});

if (matchMedia("(max-width: 46rem)").matches) $("fold").open = false;
reveal();
await refresh();
if (!asked_time && !matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
document.body.classList.add("ready");
