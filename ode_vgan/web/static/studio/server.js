// Questions to the server. A newer question about the same subject aborts the one before, here and there.

const page = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2);
const waiting = new Map();
let turn = 0;

export class Replaced extends Error {}

// The page is busy from a change until what it changes is shown.
let pending = 0;
export async function busy(work) {
  pending += 1;
  document.body.setAttribute("aria-busy", "true");
  try { return await work(); } finally {
    pending -= 1;
    document.body.setAttribute("aria-busy", String(pending > 0));
  }
}

async function answer(response) {
  if (response.ok) return response;
  if (response.status === 409) throw new Replaced();
  let said = `the server answered ${response.status}`;
  try { said = (await response.json()).error || said; } catch { /* not JSON: the status says it */ }
  throw new Error(said);
}

async function ask(subject, address, body) {
  waiting.get(subject)?.abort();
  const mine = new AbortController();
  waiting.set(subject, mine);
  turn += 1;
  try {
    const response = await fetch(address, {
      method: "POST", signal: mine.signal, headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...body, page: `${page} ${subject}`, turn }),
    });
    return await answer(response);
  } catch (error) {
    if (error.name === "AbortError") throw new Replaced();
    if (error instanceof TypeError) throw new Error("the studio does not answer. Is it still running?");
    throw error;
  } finally {
    if (waiting.get(subject) === mine) waiting.delete(subject);
  }
}

export async function info() {
  return (await answer(await fetch("/v1/info"))).json();
}

export async function clip(body, subject = "clip") {
  const begin = performance.now();
  const response = await ask(`${subject} ${body.run}`, "/v1/clip", body);
  const told = JSON.parse(response.headers.get("x-clip"));
  const frames = new Uint8Array(await response.arrayBuffer());
  return { frames, shape: told.shape, times: body.times, evaluations: told.evaluations, seconds: told.seconds, waited: (performance.now() - begin) / 1000 };
}

export async function path(body) {
  return (await ask(`path ${body.run}`, "/v1/path", body)).json();
}

export async function film(clips) {
  const response = await answer(await fetch("/v1/film", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ clips }),
  }));
  return response.blob();
}
