// The viewer: one clip large, with everything that is known of it. And the dialog that exports a subset.

import { captionOf, clipSource, element, motion, number, release } from "./clip.js";
import { ask, filterOf, filtered } from "./state.js";

const $ = (id) => document.getElementById(id);
const HIDDEN = new Set(["row", "caption", "near", "alike", "status", "error_message"]);
const FIRST = ["similarity", "aesthetic", "motion", "static_share", "duration_seconds", "fps", "num_frames", "width", "height"];

export function showViewer(record, info, selected) {
  const units = Object.fromEntries(info.columns.map((column) => [column.name, column]));
  if ($("stage").dataset.uid !== record.uid) {
    release($("stage"));
    $("stage").dataset.uid = record.uid;
    $("stage").replaceChildren(motion(clipSource(record), captionOf(record), true));
  }
  $("viewer-caption").textContent = captionOf(record);
  $("viewer-select").setAttribute("aria-pressed", String(selected));
  $("viewer-select").textContent = selected ? "Selected" : "Select";
  const names = Object.keys(record).filter((name) => !HIDDEN.has(name) && record[name] != null && record[name] !== record.caption);
  names.sort((a, b) => (FIRST.indexOf(a) + 1 || 99) - (FIRST.indexOf(b) + 1 || 99));
  const rows = record.near == null ? [] : [["Similarity to the query", number(record.near)]];
  for (const name of names) rows.push([units[name]?.label ?? name.replaceAll("_", " "), valueOf(record[name], units[name]?.unit ?? "")]);
  $("viewer-fields").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", { text: name }), element("dd", {}, value)]));
  if (!$("viewer").open) $("viewer").showModal();
}

export function hideViewer() {
  if ($("viewer").open) $("viewer").close();
  release($("stage"));
  $("stage").replaceChildren();
  delete $("stage").dataset.uid;
}

function valueOf(value, unit) {
  if (typeof value === "number") return number(value, unit);
  if (typeof value === "boolean") return value ? "yes" : "no";
  const text = Array.isArray(value) ? value.join(", ") : String(value);
  if (/^https?:\/\//i.test(text)) return element("a", { href: text, rel: "noopener noreferrer nofollow", target: "_blank", text });
  return text;
}

export function setUpExport(current) {
  $("export-close").addEventListener("click", () => $("exporter").close());
  $("export").addEventListener("click", () => {
    const { state, results, kept, selected } = current();
    const choices = [];
    if (selected.size) choices.push(["selected", `Selected clips (${number(selected.size)})`]);
    if (state.q || state.like || state.clip) choices.push(["shown", `Results loaded so far (${number(results.length)})`]);
    choices.push(["kept", filtered(state) ? `All clips that pass the filters (${number(kept)})` : `All clips (${number(kept)})`]);
    $("export-what").replaceChildren(element("legend", { text: "Which clips" }), ...choices.map(([value, text], i) => element("label", {}, element("input", { type: "radio", name: "what", value, checked: i === 0 }), element("span", { text }))));
    $("export-note").textContent = "";
    $("export-note").className = "note";
    $("export-go").disabled = false;
    $("exporter").showModal();
    $("export-name").focus();
  });
  $("export-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const { state, results, selected } = current();
    const what = new FormData($("export-form")).get("what");
    const body = { name: $("export-name").value.trim(), filter: filterOf(state) };
    if (what === "selected") body.uids = [...selected];
    if (what === "shown") body.uids = results.map((record) => record.uid);
    $("export-go").disabled = true;
    note("Writing…");
    try {
      const made = await ask("subset", "/v1/subset", body);
      note(`Wrote ${number(made.count)} clips to ${made.path}.`, "good");
    } catch (error) {
      if (error.name !== "AbortError") note(error.message, "bad");
    }
    $("export-go").disabled = false;
  });
}

function note(text, kind = "") {
  $("export-note").textContent = text;
  $("export-note").className = `note ${kind}`;
}
