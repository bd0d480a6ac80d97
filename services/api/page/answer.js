// The right-hand side: nothing yet, working, an answer, or one sentence about what went wrong.

const at = (id) => document.getElementById(id);
let pictured = null; // address of the image shown, to be given back

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** A name that may be broken between its words, `RiverBank` too, and nowhere else while there is room. */
function breakable(name) {
  const span = make("span");
  name.replace(/([a-z_])(?=[A-Z])/g, "$1\n").split("\n").forEach((word, at) => span.append(at ? make("wbr") : "", word));
  return span;
}

function show({ say = "", problem = "", busy = false, result = false }) {
  at("say").textContent = say;
  at("say").classList.toggle("unseen", result); // the headline says it to those who see
  at("problem").textContent = problem;
  at("problem").hidden = !problem;
  at("busy").hidden = !busy;
  at("busy").removeAttribute("value");
  at("result").hidden = !result;
  if (result || problem) at("answer").scrollIntoView({ block: "nearest" }); // below the fold of a phone
}

export const working = (say) => show({ say, busy: true });
export const failed = (problem) => show({ problem });

export function counting(say, done, all) {
  show({ say, busy: true });
  at("busy").max = all || 1;
  at("busy").value = done;
}

export const finished = (say) => show({ say });

/** Bars, most first. `entries`: {name, share in 0..1, color?, note?} */
function bars(entries) {
  const rows = [...entries]
    .sort((a, b) => b.share - a.share)
    .map(({ name, share, color, note }) => {
      const row = make("li");
      const label = make("span", "name");
      if (color) {
        const dot = make("span", "dot");
        dot.style.background = color;
        label.append(dot);
      }
      label.append(breakable(name));
      const track = make("span", "track");
      const fill = make("span", "fill");
      fill.style.display = "block";
      fill.style.width = `${share * 100}%`;
      track.append(fill);
      track.setAttribute("aria-hidden", "true"); // the number says it
      row.append(label, make("span", "value", note ?? percent(share)), track);
      return row;
    });
  at("bars").replaceChildren(...rows);
}

function facts(pairs) {
  const parts = pairs.filter(([, text]) => text).flatMap(([name, text]) => [make("dt", "", name), make("dd", "", text)]);
  at("facts").replaceChildren(...parts);
}

function picture(address, description, caption) {
  if (pictured?.startsWith("blob:") && pictured !== address) URL.revokeObjectURL(pictured);
  pictured = address;
  const image = at("preview");
  image.hidden = !address;
  if (address) image.src = address;
  image.alt = description;
  image.onerror = () => { image.hidden = true; }; // browsers show no TIFF; its name is enough
  at("caption").textContent = caption;
}

export const percent = (share) => `${(share * 100).toFixed(share > 0 && share < 0.001 ? 3 : 1)}\u202f%`; // no line break

/** Of POST /predict. */
export function answered(body, file, milliseconds, requestId) {
  const best = body.probabilities[body.class];
  picture(URL.createObjectURL(file), "The image you chose", file.name);
  at("top").replaceChildren(breakable(body.class), " ", make("span", "sure", percent(best)));
  bars(Object.entries(body.probabilities).map(([name, share]) => ({ name, share })));
  facts([
    ["Model", `${body.model.name}, ${body.model.digest.slice(0, 12)}`],
    ["Took", `${Math.round(milliseconds)} ms, there and back`],
    ["Request", body.request_id ?? requestId],
  ]);
  show({ result: true, say: `The model says ${body.class}.` });
}

/** Of POST /infer, answered at once. */
export function mapped(body, scene, milliseconds, requestId) {
  const [height, width] = body.shape;
  picture(body.picture, `Map of classes, ${width} by ${height} cells`, scene.title);
  at("top").textContent = body.top ? `Mostly ${body.top}` : "No usable pixel in this window";
  const first = (each) => (each.name === body.top ? 0 : 1); // of two with as many cells, the one in the headline
  bars([...body.classes].sort((a, b) => first(a) - first(b)).filter((each) => each.fraction > 0 || each.probability > 0.0005).map((each) => ({
    name: each.name,
    color: each.color,
    share: each.fraction,
    note: each.probability === null ? undefined : `${percent(each.fraction)} of the area, mean p ${each.probability.toFixed(2)}`,
  })));
  facts([
    ["Window", `${body.window.width} × ${body.window.height} pixels, ${percent(body.valid_fraction)} usable`],
    ["Score", body.score === null ? "" : body.score.toPrecision(4)],
    ["Model", `${body.model.name}, ${body.model.digest.slice(0, 12)}, ${body.model.backend}`],
    ["Scene", `${body.scene.id}, ${body.scene.digest.slice(0, 12)}`],
    ["Took", `${Math.round(milliseconds)} ms, there and back`],
    ["Request", requestId],
  ]);
  show({ result: true, say: body.top ? `The model says mostly ${body.top}.` : "The scene has nothing usable there." });
}
