// The state of the page is its address: what is asked, what is filtered, what is open.

export const empty = () => ({
  q: "", like: "", clip: "", clipName: "", order: "", collapse: false, where: "", ranges: {}, values: {}, open: "", view: "",
});

export function read(address = location.search) {
  const state = empty();
  for (const [name, value] of new URLSearchParams(address)) {
    if (name.startsWith("r.")) {
      const [low, high] = value.split("~").map((one) => (one === "" || !Number.isFinite(Number(one)) ? null : Number(one)));
      state.ranges[name.slice(2)] = [low ?? null, high ?? null];
    } else if (name.startsWith("v.")) (state.values[name.slice(2)] ??= []).push(value);
    else if (name === "dup") state.collapse = value === "hide";
    else if (name in state && typeof state[name] === "string") state[name] = value;
  }
  return state;
}

export function write(state) {
  const address = new URLSearchParams();
  for (const name of ["view", "q", "like", "clip", "clipName", "order", "where", "open"]) {
    if (state[name]) address.set(name, state[name]);
  }
  if (state.collapse) address.set("dup", "hide");
  for (const [name, [low, high]] of Object.entries(state.ranges)) address.set(`r.${name}`, `${low ?? ""}~${high ?? ""}`);
  for (const [name, kept] of Object.entries(state.values)) for (const value of kept) address.append(`v.${name}`, value);
  const text = address.toString();
  return text ? `?${text}` : location.pathname;
}

export const filterOf = (state) => ({ ranges: state.ranges, values: state.values, where: state.where });
export const filtered = (state) => Boolean(Object.keys(state.ranges).length || Object.keys(state.values).length || state.where);

export function queryOf(state) {
  if (state.like) return { uid: state.like };
  if (state.clip) return { upload: state.clip };
  return state.q ? { text: state.q } : null;
}

// One request of a kind at a time: a new one cancels the one before it.
const running = {};
export async function ask(kind, path, body, raw = false) {
  running[kind]?.abort();
  const control = (running[kind] = new AbortController());
  const options = { signal: control.signal };
  if (body !== undefined) {
    options.method = "POST";
    options.body = raw ? body : JSON.stringify(body);
    options.headers = { "content-type": raw ? "application/octet-stream" : "application/json" };
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  const found = await answer.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return { error: `The server answered ${answer.status}.` };
  });
  if (!answer.ok) throw new Error(found.error || `The server answered ${answer.status}.`);
  return found;
}

export function cancel(kind) {
  running[kind]?.abort();
}
