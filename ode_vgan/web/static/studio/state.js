// What the page shows, in its address: a reload or a copied link shows the same.

const TEXTS = ["text", "text_to"];
const NUMBERS = ["text_mix", "seed", "seed_to", "seed_mix", "noise", "low", "high", "fps", "speed", "t"];
const FLAGS = ["backwards", "smooth"];

export const fresh = {
  text: "", text_to: "", text_mix: 0, seed: 0, seed_to: null, seed_mix: 0, noise: null,
  low: 0, high: 1, fps: 0, speed: 0, t: 0, backwards: false, smooth: false, hidden: [],
};

export function read(search, start) {
  const asked = new URLSearchParams(search);
  const state = { ...start };
  for (const name of TEXTS) if (asked.has(name)) state[name] = asked.get(name).slice(0, 500);
  for (const name of NUMBERS) {
    const number = asked.has(name) ? Number(asked.get(name)) : NaN;
    if (asked.get(name) !== "" && Number.isFinite(number)) state[name] = number;
  }
  for (const name of FLAGS) if (asked.has(name)) state[name] = asked.get(name) === "1";
  if (asked.has("hidden")) state.hidden = asked.getAll("hidden");
  return state;
}

export function write(state, start) {
  const said = new URLSearchParams();
  for (const name of [...TEXTS, ...NUMBERS]) {
    if (state[name] !== null && state[name] !== start[name]) {
      said.set(name, typeof state[name] === "number" ? String(Math.round(state[name] * 1e4) / 1e4) : state[name]);
    }
  }
  for (const name of FLAGS) if (state[name] !== start[name]) said.set(name, state[name] ? "1" : "0");
  for (const name of state.hidden) said.append("hidden", name);
  const search = said.toString();
  history.replaceState(null, "", search ? `?${search}` : location.pathname);
}
