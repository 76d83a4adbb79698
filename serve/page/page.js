// The page. The models in the zoo decide which panels it has.

import { listModels } from "./api.js";
import { createCard } from "./cards.js";
import { createDrawPanel } from "./draw.js";
import { createPhotoPanel } from "./photo.js";
import { fill } from "./template.js";

const HANDWRITING = new Set(["digits", "mnist"]); // ways of preparing an image
const QUIET = 800; // milliseconds without a new answer before a screen reader announces the last one
const $ = (selector) => document.querySelector(selector);
const pending = new Set(); // predictions to announce
let timer = 0;

// A browser opens a file that is dropped, and leaves the page.
for (const kind of ["dragover", "drop"])
  document.addEventListener(kind, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());

try {
  showZoo(await listModels());
} catch (error) {
  Object.assign($("#notice"), { textContent: error.message, hidden: false });
}

function showZoo({ models, refused }) {
  const zoo = [...Map.groupBy(models, (model) => model.name).values()]; // versions, newest first
  const shown = choosePrecision(models);
  const drawn = shown.filter((model) => HANDWRITING.has(model.input.prepare));
  const photos = shown.filter((model) => !drawn.includes(model));

  if (drawn.length) createDrawPanel($("#draw"), drawn, announceLater, announce);
  if (photos.length) createPhotoPanel($("#photo"), photos, announceLater, announce);
  $(".cards").append(...zoo.map(createCard));
  for (const [path, reason] of Object.entries(refused)) $("#refused ul").append(fill("#refusal", { path, reason }));
  $("#models").hidden = zoo.length === 0;
  $("#empty").hidden = zoo.length > 0;
  $("#refused").hidden = Object.keys(refused).length === 0;
}

/** Returns one model of each network, since all its precisions answer alike: the newest in fp32, else the newest. */
function choosePrecision(models) {
  const networks = Map.groupBy(models, (model) => model.name.replace(/_(int8|fp16)$/, ""));
  return [...networks.values()].map((all) => all.find((model) => model.precision === "fp32") ?? all[0]);
}

/** Announces these predictions to a screen reader when none has changed for a while. */
function announceLater(predictions) {
  for (const prediction of predictions) pending.add(prediction);
  clearTimeout(timer);
  timer = setTimeout(() => {
    announce(
      [...pending]
        .map((prediction) => prediction.summary())
        .filter(Boolean)
        .join("; "),
    );
    pending.clear();
  }, QUIET);
}

function announce(text) {
  $("#status").textContent = text;
}
