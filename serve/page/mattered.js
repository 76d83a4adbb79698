// What mattered: the map of how much a class's probability drops where a square covers the image.

import { explainClass } from "./api.js";
import { percent } from "./format.js";
import { latest, rested } from "./latest.js";
import { extremes } from "./maps.js";

/** Fills `element`. `show` explains an image, which is a function that returns a Blob. `stop` ends that. */
export function createMattered(element, model) {
  const find = (selector) => element.querySelector(selector);
  const select = find("select");
  let image = null;
  let question = new AbortController(); // aborted by the next question

  select.append(new Option("the most probable", ""), ...model.classes.map((label) => new Option(label, label)));
  select.addEventListener("change", () => image && begin(ask));

  const ask = latest(async () => {
    const { signal } = question;
    const answer = await explainClass(model, await image(), select.value, signal);
    if (signal.aborted) return;
    const { label, probability } = answer.class;
    const [low, high] = extremes(answer.drops.flat());
    Object.assign(find(".heat"), {
      src: answer.png,
      alt: `Where covering the image changes the probability of ${label}`,
    });
    find(".strongest").textContent =
      `${label}: ${percent(probability)}. Under a square of ${answer.square} × ${answer.square} pixels it drops by up to ${points(high)} and rises by up to ${points(-low)}.`;
    settle("");
  }, failed);
  const explain = rested(ask);

  function failed(error) {
    settle(error.message);
  }

  function settle(words) {
    find(".error").textContent = words;
    element.ariaBusy = "false";
  }

  /** Asks by `how`. The old map fades until the answer is there. */
  function begin(how) {
    question.abort();
    question = new AbortController();
    element.ariaBusy = "true";
    how();
  }

  function show(next) {
    image = next;
    begin(explain);
  }

  return { show, stop: () => question.abort() };
}

/** Writes a difference of two probabilities; 0 if it is negative. */
const points = (difference) => `${(100 * Math.max(0, difference)).toFixed(1)} points`;
