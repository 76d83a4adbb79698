// The panel of the models of photos: a photo that is dropped, pasted, chosen or clicked, and the prediction of each model.

import { asBlob, call } from "./api.js";
import { createCommand } from "./command.js";
import { createInside } from "./inside.js";
import { createPrediction } from "./prediction.js";
import { toAccepted } from "./upload.js";

const EXAMPLES = ["frog", "airplane", "cat", "automobile", "horse", "ship", "dog", "bird"];

export function createPhotoPanel(section, models, announceLater, announce) {
  const find = (selector) => section.querySelector(selector);
  const inside = createInside(find(".opened"));
  const predictions = models.map((model) => createPrediction(model, find(".predictions"), settled, inside.open));
  const command = createCommand(find(".command"), models, announce);
  const preview = find(".preview");
  let choice = new AbortController(); // aborted by the next choice

  function settled() {
    announceLater(predictions);
    inside.showInput();
  }

  /** Shows and classifies a photo. `load` returns the promise of a Blob. `pressed` is the button of an example. */
  async function choose(name, load, pressed = null) {
    choice.abort();
    choice = new AbortController();
    const { signal } = choice;
    press(pressed);
    const loaded = load(signal).then(toAccepted);
    for (const prediction of predictions) prediction.askAnew(() => loaded);
    const photo = await loaded.catch(() => null); // the predictions show the error
    if (signal.aborted) return;
    URL.revokeObjectURL(preview.src);
    if (photo === null) return clear();
    preview.src = URL.createObjectURL(photo);
    preview.alt = name;
    inside.follow(() => photo);
    command.show({ name: photo.name ?? name, type: photo.type, toBlob: () => photo });
  }

  function clear() {
    press(null);
    preview.hidden = true;
    preview.removeAttribute("src"); // else an older photo that is still loading would appear
    inside.forget();
    command.hide();
  }

  function press(pressed) {
    for (const button of find(".examples").children) button.setAttribute("aria-pressed", button === pressed);
  }

  const chooseFirst = ([file]) => file && choose(file.name, async () => file);

  preview.addEventListener("load", () => (preview.hidden = false));
  preview.addEventListener("error", () => (preview.hidden = true));
  find("input").addEventListener("change", ({ target }) => {
    chooseFirst(target.files);
    target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => chooseFirst(event.clipboardData.files));
  // On the whole page, since page.js accepts a file there.
  document.addEventListener("dragover", () => find(".drop").classList.add("over"));
  for (const end of ["dragleave", "drop"]) document.addEventListener(end, () => find(".drop").classList.remove("over"));
  document.addEventListener("drop", (event) => chooseFirst(event.dataTransfer.files));

  const known = EXAMPLES.filter((name) => models.some((model) => model.classes.includes(name)));
  for (const name of known) {
    const url = `/page/examples/${name}.jpg`;
    const button = Object.assign(document.createElement("button"), { type: "button", title: name });
    button.append(Object.assign(new Image(32, 32), { src: url, alt: name }));
    const load = (signal) => call(url, asBlob, { signal });
    button.addEventListener("click", () => choose(`${name}.jpg`, load, button));
    find(".examples").append(button);
  }

  for (const part of [".examples", ".hint"]) find(part).hidden = !known.length;
  section.hidden = false;
  find(".examples button")?.click();
}
