// The scenes of the catalog, and the window to ask about.

import { ask } from "./ask.js";

const at = (id) => document.getElementById(id);
const WINDOW_PX = 256; // a window of this side is answered in a moment
const METRES_PER_DEGREE = 111_320;
let next = null;
export let chosen = null;

/** Load the models and the first page of scenes; throws a Refusal. */
export async function load() {
  at("scenes-note").textContent = "Loading the scenes…";
  at("scenes-note").hidden = false;
  const [{ body: models }] = await Promise.all([ask("/models?limit=200"), page(null)]);
  at("model").replaceChildren(...models.models.map(({ name, kind, digest, source }) => {
    const option = document.createElement("option");
    option.value = digest; // a shipped one's name may mean another by now, one that was promoted
    option.textContent = source === "shipped" ? `${name} (${kind})` : `${name} (${kind}, ${digest.slice(0, 8)})`;
    return option;
  }));
}

export async function more() {
  await page(next);
}

async function page(cursor) {
  const { body } = await ask(`/scenes?limit=50${cursor ? `&cursor=${cursor}` : ""}`);
  if (cursor === null) at("scenes").replaceChildren();
  at("scenes").append(...body.scenes.map(row));
  next = body.next;
  at("scenes-more").hidden = next === null;
  const none = at("scenes").children.length === 0;
  at("scenes-note").textContent = none ? "No scene yet. Register one with: swath ingest scene.tif" : "";
  at("scenes-note").hidden = !none;
}

function row(scene) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const title = document.createElement("strong");
  const about = document.createElement("span");
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  title.textContent = scene.title;
  const day = scene.acquired_at ? `, ${scene.acquired_at.slice(0, 10)}` : "";
  about.textContent = `${scene.shape[1]} × ${scene.shape[0]} px of ${Number(scene.gsd_m.toPrecision(3))} m${day}`;
  button.append(title, about);
  button.addEventListener("click", () => choose(scene, button));
  item.append(button);
  return item;
}

function choose(scene, button) {
  chosen = scene;
  for (const other of at("scenes").querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
  at("window").hidden = scene.bbox === null;
  at("scenes-note").hidden = scene.bbox !== null;
  at("scenes-note").textContent = scene.bbox === null ? "This scene does not say where on the Earth it lies." : "";
  if (scene.bbox) middle();
}

export function middle() {
  const [west, south, east, north] = chosen.bbox;
  const lat = (south + north) / 2;
  const lon = west <= east ? (west + east) / 2 : wrap((west + east + 360) / 2);
  const half = (WINDOW_PX * chosen.gsd_m) / 2 / METRES_PER_DEGREE;
  const wide = half / Math.max(0.01, Math.cos((lat * Math.PI) / 180));
  fill([wrap(lon - wide), Math.max(-90, lat - half), wrap(lon + wide), Math.min(90, lat + half)]);
}

export function whole() {
  fill(chosen.bbox);
}

export function box() {
  return ["west", "south", "east", "north"].map((id) => Number(at(id).value));
}

function fill(values) {
  ["west", "south", "east", "north"].forEach((id, index) => { at(id).value = Number(values[index].toFixed(6)); });
}

const wrap = (lon) => (lon > 180 ? lon - 360 : lon < -180 ? lon + 360 : lon);
