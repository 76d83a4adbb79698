// What mattered: the map of how much a class's probability drops where a square covers the image.

import { explainClass } from "./api.js";
import { percent } from "./format.js";
import { latest, rested } from "./latest.js";

/** Fills `element`. `show` explains an image, which is a function that returns a Blob. */
export function createMattered(element, model, failed) {
  const find = (selector) => element.querySelector(selector);
  const select = find("select");
  let image = null;

  select.append(
    new Option("the most probable", ""),
    ...model.classes.map((label, number) => new Option(label, number)),
  );
  select.addEventListener("change", () => image && ask());

  const ask = latest(async () => {
    const answer = await explainClass(model, await image(), select.value === "" ? null : select.value);
    const { label, probability } = answer.class;
    const most = Math.max(...answer.drops.flat());
    Object.assign(find(".heat"), {
      src: answer.png,
      alt: `Where covering the image changes the probability of ${label}`,
    });
    find(".strongest").textContent =
      `${label}: ${percent(probability)}. The strongest drop is ${percent(Math.max(0, most))}, under a square of ${answer.square} × ${answer.square} pixels.`;
  }, failed);
  const explain = rested(ask);

  function show(next) {
    image = next;
    explain();
  }

  return { show };
}
