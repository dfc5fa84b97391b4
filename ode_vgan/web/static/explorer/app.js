// The page: it reads its state from the address, asks the server, and shows what comes back.

import { Beside } from "./beside.js";
import { captionOf, card, clipSource, element, motion, number, release } from "./clip.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { ask, cancel, empty, filterOf, filtered, queryOf, read, write } from "./state.js";
import { hideViewer, setUpExport, showViewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const PAGE = 40;
let info, filters, beside, state = read();
let results = [], kept = 0, more = false, asked = "", counted = "";
const selected = new Set();
const dropped = new Map(); // digest of a dropped clip -> its address in this page
const on = { selected: (uid) => selected.has(uid), select, like, open };
const grid = new Grid($("grid"), on);

const searchKey = (one) => JSON.stringify([queryOf(one), filterOf(one), one.order, one.collapse, one.view]);

function go(change, push = true) {
  state = { ...state, ...change };
  const address = write(state);
  if (push && address !== (location.search || location.pathname)) history.pushState(null, "", address);
  else if (!push) history.replaceState(null, "", address);
  render();
}

function render() {
  const query = queryOf(state);
  document.title = `${state.q || (state.like && "More like this") || (state.clip && "Like a dropped clip") || "All clips"} · ${info.name}`;
  $("words").value = state.q;
  $("where").value = state.where;
  $("collapse").checked = state.collapse;
  $("order").value = state.order;
  $("collapse-label").hidden = !query;
  $("order-label").hidden = Boolean(query);
  $("clear").disabled = !filtered(state);
  document.body.classList.toggle("beside", state.view === "beside");
  filters.show(state);
  showOpen();
  if (searchKey(state) === asked) return;
  asked = searchKey(state);
  showError("");
  $("beside").hidden = state.view !== "beside";
  $("grid").hidden = $("bar").hidden = state.view === "beside";
  if (state.view === "beside") {
    $("query").hidden = true;
    cancel("search");
    results = [];
    more = false;
    grid.clear();
    $("grid").removeAttribute("aria-busy");
    beside.show().catch(failed);
  } else {
    search();
    count();
  }
}

async function search() {
  more = false;
  const wait = setTimeout(() => grid.loading(), results.length ? 250 : 0);
  $("grid").setAttribute("aria-busy", "true");
  try {
    const found = await page(0);
    clearTimeout(wait);
    results = [];
    grid.clear();
    showQuery(found.query);
    take(found);
    if (!results.length) grid.nothing(filtered(state), () => clearFilters());
  } catch (error) {
    clearTimeout(wait);
    if (error.name === "AbortError") return;
    results = [];
    grid.clear();
    showQuery(null);
    $("count").textContent = "\u00a0";
    failed(error);
  }
  $("grid").removeAttribute("aria-busy");
}

const page = (offset) => ask("search", "/v1/search", { query: queryOf(state), filter: filterOf(state), order: state.order, collapse: state.collapse, offset, limit: PAGE });

function take(found) {
  const known = new Set(results.map((record) => record.uid + record.key));
  const fresh = found.results.filter((record) => !known.has(record.uid + record.key));
  results.push(...fresh);
  ({ kept, more } = found);
  grid.add(fresh);
  const speed = found.seconds < 1 ? `${Math.max(1, Math.round(found.seconds * 1000))} ms` : `${found.seconds.toFixed(1)} s`;
  const clips = kept === 1 ? "clip" : "clips";
  $("count").textContent = queryOf(state) && kept ? `Nearest of ${number(kept)} ${clips} · ${speed}` : `${number(kept)} ${clips}`;
}

let loadingMore = false;
new IntersectionObserver(async ([end]) => {
  if (!end.isIntersecting || loadingMore) return;
  loadingMore = true;
  try {
    if (state.view === "beside") await beside.more();
    else if (more) take(await page(results.length));
  } catch (error) {
    if (error.name !== "AbortError") failed(error);
  }
  loadingMore = false;
}, { rootMargin: "900px" }).observe($("end"));

async function count() {
  const wanted = JSON.stringify(filterOf(state));
  if (wanted === counted) return;
  counted = wanted;
  try {
    const facets = await ask("facets", "/v1/facets", { filter: filterOf(state) });
    filters.count(facets);
    $("kept").textContent = `${number(facets.count)} of ${number(info.count)}`;
    $("where").removeAttribute("aria-invalid");
  } catch (error) {
    if (error.name === "AbortError") return;
    counted = "";
    $("kept").textContent = "";
    if (state.where) $("where").setAttribute("aria-invalid", "true"); // the search says why, in its own message
  }
}

function showQuery(record) {
  const box = $("query");
  release(box);
  box.replaceChildren();
  box.hidden = !(state.like || state.clip);
  if (box.hidden) return;
  const source = state.clip ? dropped.get(state.clip) : record && clipSource(record);
  const title = state.clip ? state.clipName || "Dropped clip" : record ? captionOf(record) : "";
  const about = element("div", {}, element("small", { text: state.clip ? "Nearest to your clip" : "More like" }), element("strong", { text: title }), element("p", { class: "note", id: "closeness" }));
  box.append(...[source ? element("div", { class: "frame" }, motion(source, title)) : null, about, element("button", { type: "button", text: "Clear", onclick: () => go({ like: "", clip: "", clipName: "" }) })].filter(Boolean));
  if (state.clip) closeness(about.lastChild);
}

async function closeness(note) {
  try {
    const usual = await ask("closeness", "/v1/closeness");
    if (!usual.count || results[0]?.near == null) return;
    const verdict = results[0].near > usual.high ? "closer than 95 % of the set's clips are to each other" : "no closer than the set's clips are to each other";
    note.textContent = `The nearest is at ${results[0].near.toFixed(2)}: ${verdict} (median ${usual.median.toFixed(2)}, 95 % below ${usual.high.toFixed(2)}).`;
  } catch { /* the clips themselves are shown */ }
}

function failed(error) {
  if (error.name !== "AbortError") showError(error.message);
}

function showError(text) {
  $("message").hidden = !text;
  $("message").replaceChildren(...(text ? [element("p", { text }), element("button", { type: "button", text: "Try again", onclick: () => { asked = counted = ""; render(); } })] : []));
}

function like(record) {
  go({ like: record.uid, q: "", clip: "", clipName: "", open: "", view: "" });
  scrollTo({ top: 0 });
}

function open(record) {
  go({ open: record.uid });
}

function clearFilters() {
  go({ ranges: {}, values: {}, where: "" });
}

function select(uid) {
  selected.delete(uid) || selected.add(uid);
  grid.mark(uid, selected.has(uid));
  $("export").textContent = selected.size ? `Export ${number(selected.size)} selected` : "Export subset";
  if (state.open === uid) showOpen();
}

let shown = null;
async function showOpen() {
  if (!state.open) {
    shown = null;
    hideViewer();
    return;
  }
  const uid = state.open;
  shown = results.find((record) => record.uid === uid) ?? (shown?.uid === uid ? shown : null);
  try {
    shown ??= (await ask("open", "/v1/search", { query: { uid }, limit: 1 })).query;
    if (state.open === uid && shown) showViewer(shown, info, selected.has(uid));
  } catch (error) {
    failed(error);
  }
}

function step(by) {
  const i = results.findIndex((record) => record.uid === state.open);
  const next = results[i + by];
  if (i >= 0 && next) { go({ open: next.uid }, false); grid.focus(next.uid, false); }
}

async function useFile(file) {
  if (!file) return;
  if (file.size > info.upload_bytes) return showError(`${file.name} has ${number(file.size, "B")}, at most ${number(info.upload_bytes, "B")}. Cut it shorter.`);
  $("count").textContent = `Reading ${file.name}…`;
  try {
    const { upload } = await ask("upload", "/v1/upload", file, true);
    dropped.set(upload, URL.createObjectURL(file));
    go({ clip: upload, clipName: file.name.slice(0, 80), q: "", like: "", open: "", view: "" });
  } catch (error) {
    $("count").textContent = "\u00a0";
    failed(error);
  }
}

function setUpControls() {
  let typing;
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); go({ q: $("words").value.trim(), like: "", clip: "", clipName: "", view: "" }); });
  $("words").addEventListener("search", () => { if (!$("words").value && state.q) go({ q: "" }); });
  $("where-form").addEventListener("submit", (event) => { event.preventDefault(); go({ where: $("where").value.trim() }); });
  $("where").addEventListener("change", () => go({ where: $("where").value.trim() }));
  $("clear").addEventListener("click", clearFilters);
  $("collapse").addEventListener("change", () => go({ collapse: $("collapse").checked }));
  $("order").addEventListener("change", () => go({ order: $("order").value }));
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => { useFile($("file").files[0]); $("file").value = ""; });
  $("brand").addEventListener("click", (event) => { event.preventDefault(); go(empty()); });
  $("to-beside").addEventListener("click", (event) => { event.preventDefault(); go({ ...empty(), view: state.view ? "" : "beside" }); });
  $("viewer").addEventListener("close", () => { if (state.open) go({ open: "" }); });
  $("viewer").addEventListener("click", (event) => { if (event.target === $("viewer")) $("viewer").close(); });
  $("viewer-close").addEventListener("click", () => $("viewer").close());
  $("viewer-like").addEventListener("click", () => like(shown));
  $("viewer-select").addEventListener("click", () => select(state.open));
  $("keys-help").addEventListener("click", () => $("keys").showModal());
  $("keys-close").addEventListener("click", () => $("keys").close());
  filters = new Filters($("columns"), info.columns, info.bins, (ranges, values, settled) => {
    clearTimeout(typing);
    const change = { ranges: { ...ranges }, values: { ...values } };
    if (settled) go(change);
    else typing = setTimeout(() => { state = { ...state, ...change }; asked = searchKey(state); search(); count(); }, 120);
  });
  setUpExport(() => ({ state, results, kept, selected }));
}

function setUpKeys() {
  document.addEventListener("keydown", (event) => {
    const writing = event.target.matches("input:not([type=checkbox]):not([type=radio]):not([type=range]), select, textarea");
    if (event.key === "Escape" && writing && !event.target.closest("dialog")) {
      event.preventDefault(); // a search box would empty itself
      return event.target.blur();
    }
    if (writing || event.ctrlKey || event.metaKey || event.altKey || $("exporter").open || $("keys").open) return;
    if ($("viewer").open) {
      if (event.key === "ArrowRight" || event.key === "ArrowLeft") { event.preventDefault(); step(event.key === "ArrowRight" ? 1 : -1); }
      else if (event.key === "m") like(shown);
      else if (event.key === "x") select(state.open);
    } else if (event.key === "/") { event.preventDefault(); $("words").focus(); $("words").select(); }
    else if (event.key === "?") $("keys").showModal();
    else grid.key(event);
  });
}

function setUpDrop() {
  let depth = 0;
  const show = (by) => { depth = Math.max(0, depth + by); $("drop").hidden = !depth; };
  addEventListener("dragenter", (event) => { if (event.dataTransfer?.types.includes("Files")) show(1); });
  addEventListener("dragleave", (event) => { if (event.dataTransfer?.types.includes("Files")) show(-1); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); depth = 0; $("drop").hidden = true; useFile(event.dataTransfer?.files[0]); });
  addEventListener("paste", (event) => { if (event.clipboardData?.files.length) useFile(event.clipboardData.files[0]); });
}

async function start() {
  grid.loading();
  try {
    info = await ask("info", "/v1/info");
  } catch (error) {
    grid.clear();
    showError(error.message);
    $("message").querySelector("button").onclick = () => location.reload();
    return;
  }
  $("name").textContent = info.name;
  $("size").textContent = `${number(info.count)} clips · ${info.index.nprobe ? `recall@10 ${info.index["recall@10"]}` : "exact search"}`;
  $("to-beside").hidden = !info.generated;
  $("words").disabled = !info.text;
  if (!info.text) $("words").placeholder = "No embedder: start from a clip";
  for (const column of info.columns.filter((one) => one.kind === "number")) {
    $("order").append(element("option", { value: `-${column.name}`, text: `${column.label}, highest first` }), element("option", { value: column.name, text: `${column.label}, lowest first` }));
  }
  beside = new Beside($("beside"), info, on);
  if (matchMedia("(max-width: 60rem)").matches) $("filters-fold").open = false;
  setUpControls();
  setUpKeys();
  setUpDrop();
  addEventListener("popstate", () => { state = read(); render(); });
  render();
}

start();
