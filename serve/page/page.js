// The page: what the zoo holds decides what is on it.

import { listModels } from "./api.js";
import { createCard } from "./cards.js";
import { createDrawPanel } from "./draw.js";
import { createPhotoPanel } from "./photo.js";
import { fill } from "./words.js";

const QUIET = 800; // milliseconds without a new answer before a screen reader is told
const $ = (selector) => document.querySelector(selector);
const untold = new Set(); // readings with something new
let timer = 0;

try {
  showZoo(await listModels());
} catch (error) {
  Object.assign($("#notice"), { textContent: error.message, hidden: false });
}

function showZoo({ models, refused }) {
  const names = [...new Set(models.map((model) => model.name))];
  const zoo = names.map((name) => models.filter((model) => model.name === name)); // versions, newest first
  const newest = zoo.map(([model]) => model).filter((model) => model.weights === "fp32"); // the others answer as these
  const grey = newest.filter((model) => model.input.mode === "L");
  const colour = newest.filter((model) => model.input.mode === "RGB");

  if (grey.length) createDrawPanel($("#draw"), grey, announce, say);
  if (colour.length) createPhotoPanel($("#photo"), colour, announce, say);
  $(".cards").append(...zoo.map(createCard));
  for (const [path, reason] of Object.entries(refused)) $("#refused ul").append(fill("#refusal", { path, reason }));
  $("#models").hidden = zoo.length === 0;
  $("#empty").hidden = zoo.length > 0;
  $("#refused").hidden = Object.keys(refused).length === 0;
}

/** Tells a screen reader what these read, once nothing has moved for a while. */
function announce(readings) {
  for (const reading of readings) untold.add(reading);
  clearTimeout(timer);
  timer = setTimeout(() => {
    say([...untold].map((reading) => reading.summary()).filter(Boolean).join("; "));
    untold.clear();
  }, QUIET);
}

function say(text) {
  $("#status").textContent = text;
}
