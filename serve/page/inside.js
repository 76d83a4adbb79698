// "Look inside": one network opened below the predictions of a panel. Its parts are loaded when it is first opened.

import { inspect, inspectPixel, listLayers } from "./api.js";
import { latest, rested } from "./latest.js";
import { fill } from "./template.js";

/** Returns an object that opens one model at a time in `parent`, and that follows the image. */
export function createInside(parent) {
  let opened = null; // the model that is open, and its parts
  let current = null; // function that returns the newest image

  /** Opens a model, and closes another one. `prediction` has its button and the network's input. */
  async function open(model, prediction) {
    const again = opened?.model === model;
    close();
    if (again) return;
    const element = fill("#inside", { title: `Inside ${model.name}` });
    const mine = { model, prediction, element, asking: new AbortController() };
    opened = mine;
    prediction.button.ariaExpanded = "true";
    const find = (selector) => element.querySelector(selector);
    const failed = (error) => (find(".error").textContent = error.message);
    find(".close").addEventListener("click", leave);
    parent.append(element);
    find(".close").focus();
    try {
      await build(mine, await listLayers(model), find, failed);
    } catch (error) {
      return failed(error);
    }
    if (opened !== mine) return;
    if (current) follow(current);
    else failed(new Error("There is no image yet: draw a digit, or choose a photo."));
  }

  async function build(mine, layers, find, failed) {
    const { createFilters } = await import("./filters.js");
    const { createJourney } = await import("./journey.js");
    const { createMattered } = await import("./mattered.js");
    const { createPixel } = await import("./pixel.js");
    if (opened !== mine) return; // closed meanwhile
    const { model } = mine;
    const [, height, width] = model.input.shape;
    const pixel = createPixel();
    let chosen = null; // layer and position
    const ask = latest(async () => {
      if (!mine.image) return; // nothing was drawn yet
      const { signal } = mine.asking;
      const question = chosen;
      const { layer, position } = question;
      const answer = await inspectPixel(model, await mine.image(), layer.name, position, signal);
      if (signal.aborted || question !== chosen) return;
      find(".error").textContent = "";
      pixel.show(answer, journey.mark(layer, position), { source: mine.prediction.input(), height, width });
    }, failed);
    const journey = createJourney(find(".journey"), layers, model.classes, (layer, position, hovering) => {
      if (hovering && chosen && chosen.layer !== layer) return; // the page would move under the pointer
      chosen = { layer, position };
      journey.mark(layer, position);
      ask();
    });
    const first = layers.find((layer) => layer.filters);
    const filters = first && createFilters(find(".filters"), first);
    const sortFilters = rested((values) => filters.show(values)); // not while they are watched
    const mattered = createMattered(find(".mattered"), model);
    mine.show = latest(async () => {
      const { signal } = mine.asking;
      const values = await inspect(model, await mine.image(), signal);
      if (signal.aborted) return;
      find(".error").textContent = "";
      journey.show(values);
      if (first) sortFilters(values.get(first.name));
      if (chosen) ask();
    }, failed);
    mine.mattered = mattered;
    mine.showInput = () => pixel.showInput(mine.prediction.input());
    mine.stop = () => {
      journey.stop();
      mattered.stop();
    };
  }

  /** Shows what the opened network makes of another image; `toBlob` returns it. Another function stands for another
   * subject: what is asked about the old one is aborted. */
  function follow(toBlob) {
    const another = toBlob !== current;
    current = toBlob;
    if (!opened?.show) return;
    if (another) {
      opened.asking.abort();
      opened.asking = new AbortController();
    }
    opened.image = toBlob;
    opened.show();
    opened.mattered.show(toBlob);
  }

  function close() {
    if (!opened) return;
    opened.prediction.button.ariaExpanded = "false";
    opened.element.remove();
    opened.asking.abort();
    opened.stop?.();
    opened = null;
  }

  /** Closes the network, and gives the focus back. */
  function leave() {
    const { button } = opened.prediction;
    close();
    button.focus();
  }

  /** Forgets the image: there is none any more. */
  function forget() {
    current = null;
    close();
  }

  // In the capture phase, so that the drawing pad does not get this Escape too.
  document.addEventListener("keydown", closeOnEscape, { capture: true });

  function closeOnEscape(event) {
    if (event.key !== "Escape" || !opened || document.querySelector("dialog[open]")) return;
    if (event.target !== document.body && !opened.element.contains(event.target)) return;
    event.stopImmediatePropagation();
    leave();
  }

  /** Shows the newest input of the opened network. */
  const showInput = () => opened?.showInput?.();

  return { open, follow, forget, showInput, isOpen: () => opened !== null };
}
