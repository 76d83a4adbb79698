// The panel of the RGB models: a photo that is dropped, pasted, chosen or clicked, and the prediction of each model.

import { asBlob, call } from "./api.js";
import { createCommand } from "./command.js";
import { createInside } from "./inside.js";
import { createPrediction } from "./prediction.js";

const EXAMPLES = ["frog", "airplane", "cat", "automobile", "horse", "ship", "dog", "bird"];
const ACCEPTED = ["image/png", "image/jpeg"]; // by the service

export function createPhotoPanel(section, models, announceLater, announce) {
  const find = (selector) => section.querySelector(selector);
  const inside = createInside(find(".opened"));
  const predictions = models.map((model) => createPrediction(model, find(".predictions"), settled, inside.open));
  const command = createCommand(find(".command"), models, announce);
  const preview = find(".preview");
  let choices = 0; // so that a photo that loads slowly does not replace a later one

  function settled() {
    announceLater(predictions);
    inside.showInput();
  }

  /** Shows and classifies a photo. `loading` is a Blob, or the promise of one. */
  async function choose(name, loading) {
    const mine = ++choices;
    const loaded = Promise.resolve(loading).then(toAccepted);
    for (const prediction of predictions) prediction.askAnew(() => loaded);
    const photo = await loaded.catch(() => null); // the predictions show the error
    if (mine !== choices) return;
    if (photo === null) {
      preview.hidden = true;
      inside.forget();
      return command.hide();
    }
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(photo);
    preview.alt = name;
    for (const button of find(".examples").children)
      button.setAttribute("aria-pressed", `${button.title}.png` === name);
    inside.follow(() => photo);
    command.show({ name: fileName(name, photo), type: photo.type, toBlob: () => photo });
  }

  const chooseFirst = (files) => files.length && choose(files[0].name, files[0]);

  preview.addEventListener("load", () => (preview.hidden = false));
  preview.addEventListener("error", () => (preview.hidden = true));
  find("input").addEventListener("change", ({ target }) => {
    chooseFirst([...target.files]);
    target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => chooseFirst(event.clipboardData.files));
  // On the whole page: a browser opens a photo that is dropped elsewhere, and leaves the page.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    find(".drop").classList.add("over");
  });
  for (const end of ["dragleave", "drop"])
    document.addEventListener(end, (event) => {
      event.preventDefault();
      find(".drop").classList.remove("over");
      if (end === "drop") chooseFirst(event.dataTransfer.files);
    });

  const load = (url) => call(url, asBlob);
  const known = EXAMPLES.filter((name) => models.some((model) => model.classes.includes(name)));
  for (const name of known) {
    const url = `/page/examples/${name}.png`;
    const button = Object.assign(document.createElement("button"), { type: "button", title: name });
    button.append(Object.assign(new Image(32, 32), { src: url, alt: name }));
    button.addEventListener("click", () => choose(`${name}.png`, load(url)));
    find(".examples").append(button);
  }

  for (const part of [".examples", ".hint"]) find(part).hidden = !known.length;
  section.hidden = false;
  find(".examples button")?.click();
}

/** Returns a photo as PNG or JPEG. The browser converts other formats to PNG. */
async function toAccepted(file) {
  if (ACCEPTED.includes(file.type)) return file;
  try {
    const bitmap = await createImageBitmap(file);
    const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  } catch {
    throw new Error(`${file.name ?? "This file"} is not an image that this browser can read. Try a PNG or a JPEG.`);
  }
}

/** Returns `name` with the extension of the photo's type. */
function fileName(name, { type }) {
  return !ACCEPTED.includes(type) || /\.(png|jpe?g)$/i.test(name) ? name : `${name}.${type.split("/")[1]}`;
}
