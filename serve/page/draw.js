// The panel of the models of handwriting: a drawing pad, and the prediction of each model.

import { createCommand } from "./command.js";
import { createInside } from "./inside.js";
import { rested } from "./latest.js";
import { createPad } from "./pad.js";
import { createPrediction } from "./prediction.js";

export function createDrawPanel(section, models, announceLater, announce) {
  const find = (selector) => section.querySelector(selector);
  const inside = createInside(find(".opened"));
  const predictions = models.map((model) => createPrediction(model, find(".predictions"), settled, inside.open));
  const command = createCommand(find(".command"), models, announce);
  const pad = createPad(find(".pad"), changed, announce);
  const predictLater = rested(predictNow); // while the maps of a network follow the pen: both at once would be slow

  function settled() {
    announceLater(predictions);
    inside.showInput();
  }

  function changed() {
    pad.isEmpty() ? command.hide() : command.show({ name: "drawing.png", type: "image/png", toBlob: pad.toBlob });
    find(".paper").classList.toggle("blank", pad.isEmpty());
    pad.isEmpty() ? inside.forget() : inside.follow(pad.toBlob);
    inside.isOpen() ? predictLater() : predictNow();
  }

  function predictNow() {
    for (const prediction of predictions) pad.isEmpty() ? prediction.reset() : prediction.ask(pad.toBlob);
  }

  /** Returns whether a key is for the pad: the focus is in its panel, or nowhere while the pad is on the screen. */
  function isForPad({ target }) {
    const { top, bottom } = find(".pad").getBoundingClientRect();
    return find(".panel").contains(target) || (target === document.body && top < innerHeight && bottom > 0);
  }

  find(".undo").addEventListener("click", pad.undo);
  find(".clear").addEventListener("click", pad.clear);
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || !isForPad(event)) return;
    if (event.key === "Escape") pad.clear();
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) pad.undo();
  });
  for (let digit = 0; digit < 10; digit++) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: digit });
    button.addEventListener("click", () => pad.replay(digit));
    find(".examples").append(button);
  }

  section.hidden = false;
  pad.replay(3);
}
