// Wiring: which control does what. Calls are in ask.js, the answer's side in answer.js, scenes in scenes.js.

import { answered, counting, failed, finished, mapped, working } from "./answer.js";
import { Refusal, ask, hasKey, useKey } from "./ask.js";
import * as scenes from "./scenes.js";

const at = (id) => document.getElementById(id);
const POLL_MS = 2000;
let latest = 0; // only the last question's answer is shown
let again = null; // what to ask once there is a key
let scenesLoaded = false;

async function attempt(work) {
  latest += 1;
  const mine = latest;
  again = work;
  try {
    await work(() => mine === latest);
  } catch (error) {
    if (mine !== latest) return;
    if (!(error instanceof Refusal)) {
      failed("This page met a bug of its own. Reload it, and tell whoever runs the service.");
      throw error;
    }
    failed(error.status === 401 && !hasKey() ? "This service wants a key. Paste it above; your question is asked again." : error.message);
    if (error.status === 401) openKey(true);
  }
}

function askImage(file) {
  return attempt(async (current) => {
    working(`Asking about ${file.name}…`);
    const started = performance.now();
    await readable(file);
    const headers = { "Content-Type": "application/octet-stream" }; // a browser's own claim comes from the file's name
    const { body, requestId } = await ask("/predict", { method: "POST", headers, body: file });
    if (current()) answered(body, file, performance.now() - started, requestId);
  });
}

/** Throws a Refusal: to send what cannot be read would look as if the service were away. */
async function readable(file) {
  await file.slice(0, 1).arrayBuffer().catch(() => {
    throw new Refusal(0, `${file.name} cannot be read. If it is a folder, drop one of its images.`);
  });
}

function askWindow() {
  const scene = scenes.chosen;
  const question = { scene_id: scene.id, bbox: scenes.box(), model: at("model").value };
  return attempt(async (current) => {
    working(`Asking about ${scene.title}…`);
    const started = performance.now();
    const headers = { "Content-Type": "application/json" };
    const { body, status, requestId } = await ask("/infer", { method: "POST", headers, body: JSON.stringify(question) });
    if (!current()) return;
    if (status === 202) await follow(body.run_id, current);
    else mapped(body, scene, performance.now() - started, requestId);
  });
}

/** A window too large to be answered at once became a run: say how far it is. */
async function follow(runId, current) {
  while (current()) {
    const { body: run } = await ask(`/runs/${runId}`);
    if (!current()) return;
    const { tiles_planned: all, tiles_computed, tiles_reused, tiles_masked } = run.progress;
    const done = tiles_computed + tiles_reused + tiles_masked;
    if (run.state === "published") return finished(`Run ${runId} has mapped the window: ${all} tiles, ${tiles_masked} masked.`);
    if (run.state === "failed") return failed(`Run ${runId} gave up: ${run.error}`);
    counting(`A window of that size takes a run, ${runId}: ${done} of ${all} tiles.`, done, all);
    await new Promise((resolve) => { setTimeout(resolve, POLL_MS); });
  }
}

async function loadScenes() {
  try {
    await scenes.load();
    scenesLoaded = true;
  } catch (error) {
    at("scenes-note").textContent = error.message;
    at("scenes-note").hidden = false;
    if (error.status === 401) openKey(true);
  }
}

function openKey(open) {
  at("key-form").hidden = !open;
  at("key-open").setAttribute("aria-expanded", String(open));
  if (open) at("key").focus();
}

function pickTab(picked) {
  for (const name of ["image", "scene"]) {
    const here = name === picked;
    at(`tab-${name}`).setAttribute("aria-selected", String(here));
    at(`tab-${name}`).tabIndex = here ? 0 : -1;
    at(`panel-${name}`).hidden = !here;
  }
  at(`tab-${picked}`).focus();
  if (picked === "scene" && !scenesLoaded) loadScenes();
}

async function greet() {
  const answer = await fetch("/health/ready").catch(() => null);
  const body = await answer?.json().catch(() => null);
  const ill = Object.entries(body?.parts ?? {}).filter(([, said]) => said !== "ok").map(([part]) => part);
  const said = answer?.ok ? "Ready" : `Not ready${ill.length ? `: ${ill.join(", ")}` : ""}`;
  at("service").textContent = answer === null ? "Not reachable" : said;
}

at("file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  target.value = ""; // the same file may be chosen again
  if (file) askImage(file);
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  // On the whole page: a file that misses the frame must not replace the page.
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    const file = kind === "drop" ? event.dataTransfer.files[0] : null;
    if (file) askImage(file);
  });
}
for (const name of ["image", "scene"]) {
  at(`tab-${name}`).addEventListener("click", () => pickTab(name));
  at(`tab-${name}`).addEventListener("keydown", ({ key }) => {
    if (key === "ArrowLeft" || key === "ArrowRight") pickTab(name === "image" ? "scene" : "image");
  });
}
at("window").addEventListener("submit", (event) => { event.preventDefault(); askWindow(); });
at("centre").addEventListener("click", scenes.middle);
at("whole").addEventListener("click", scenes.whole);
at("scenes-more").addEventListener("click", () => scenes.more().catch((error) => failed(error.message)));
at("key-open").addEventListener("click", () => openKey(at("key-form").hidden));
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(at("key").value);
  openKey(false);
  if (!at("panel-scene").hidden && !scenesLoaded) loadScenes();
  if (again) attempt(again);
});
greet();
