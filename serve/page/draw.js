// The panel of the grey-image models: a pad, and what each of them reads on it.

import { createCommand } from "./command.js";
import { createPad } from "./pad.js";
import { createReading } from "./reading.js";

export function createDrawPanel(section, models, announce, say) {
  const find = (selector) => section.querySelector(selector);
  const readings = models.map((model) => createReading(model, find(".readings"), () => announce(readings)));
  const command = createCommand(find(".command"), models, say);
  const pad = createPad(find(".pad"), changed);

  function changed() {
    pad.isEmpty() ? command.hide() : command.show({ name: "drawing.png", type: "image/png", toPicture: pad.toPicture });
    find(".paper").classList.toggle("blank", pad.isEmpty());
    for (const reading of readings) pad.isEmpty() ? reading.reset() : reading.ask(pad.toPicture);
  }

  find(".undo").addEventListener("click", pad.undo);
  find(".clear").addEventListener("click", pad.clear);
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
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
