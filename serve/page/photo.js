// The panel of the RGB models: a photo dropped, pasted, chosen or clicked, and what each of them sees in it.

import { call } from "./api.js";
import { createCommand } from "./command.js";
import { createReading } from "./reading.js";

const EXAMPLES = ["frog", "airplane", "cat", "automobile", "horse", "ship", "dog", "bird"];
const TAKEN = ["image/png", "image/jpeg"]; // by the service

export function createPhotoPanel(section, models, announce, say) {
  const find = (selector) => section.querySelector(selector);
  const readings = models.map((model) => createReading(model, find(".readings"), () => announce(readings)));
  const command = createCommand(find(".command"), models, say);
  const preview = find(".preview");
  let turn = 0; // of the choices, so that a photo that took long to load does not replace a later one

  /** `loading` is the photo, or its promise. */
  async function choose(name, loading) {
    const mine = ++turn;
    const loaded = Promise.resolve(loading).then(toTaken);
    for (const reading of readings) reading.askAnew(() => loaded);
    const photo = await loaded.catch(() => null); // the readings say why there is none
    if (mine !== turn) return;
    if (photo === null) {
      preview.hidden = true;
      return command.hide();
    }
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(photo);
    preview.alt = name;
    for (const button of find(".examples").children) button.setAttribute("aria-pressed", `${button.title}.png` === name);
    command.show({ name: fileName(name, photo), type: photo.type, toPicture: () => photo });
  }

  const chooseFirst = (files) => files.length && choose(files[0].name, files[0]);

  preview.addEventListener("load", () => (preview.hidden = false));
  preview.addEventListener("error", () => (preview.hidden = true));
  find("input").addEventListener("change", ({ target }) => {
    chooseFirst([...target.files]);
    target.value = ""; // the same file may be chosen again
  });
  document.addEventListener("paste", (event) => chooseFirst(event.clipboardData.files));
  // Anywhere on the page: a browser would leave the page for a photo that falls beside its place.
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

  const load = async (address) => (await call(address)).blob();
  for (const name of EXAMPLES) {
    const address = `/page/examples/${name}.png`;
    const button = Object.assign(document.createElement("button"), { type: "button", title: name });
    button.append(Object.assign(new Image(32, 32), { src: address, alt: name }));
    button.addEventListener("click", () => choose(`${name}.png`, load(address)));
    find(".examples").append(button);
  }

  section.hidden = false;
  find(".examples button").click();
}

/** The photo in a form that the service takes, where the browser can read it; as it is otherwise. */
async function toTaken(file) {
  if (TAKEN.includes(file.type)) return file;
  try {
    const bitmap = await createImageBitmap(file);
    const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  } catch {
    throw new Error(`${file.name ?? "That"} is not a picture that this browser can read. Try a PNG or a JPEG.`);
  }
}

/** `name`, with the ending that the photo's type has by now. */
function fileName(name, { type }) {
  return !TAKEN.includes(type) || /\.(png|jpe?g)$/i.test(name) ? name : `${name}.${type.split("/")[1]}`;
}
