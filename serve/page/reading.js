// What one model makes of the picture at hand, shown as it changes.

import { predict } from "./api.js";
import { datasetOf, fill, milliseconds, percent } from "./words.js";

const BARS = 10;
const REST = 40; // milliseconds between two questions to one model: enough for the eye

/** A model's reading, shown in `parent`; `settled` is called after each answer or failure. */
export function createReading(model, parent, settled) {
  const element = fill("#reading", { name: model.name, dataset: datasetOf(model) });
  const part = (name) => element.querySelector(`.${name}`);
  const bars = Array.from({ length: Math.min(BARS, model.classes.length) }, () => fill("#bar", {}));
  part("dataset").title = datasetOf(model);
  part("bars").append(...bars);
  parent.append(element);

  let waiting = null; // makes the newest picture
  let busy = false;
  let subject = 0; // counts the pictures that are not one drawing's next state
  let summary = "";

  /** Asks about a picture, which `toPicture` makes when its turn has come. One question at a time: of those
   * that come in the meantime only the newest is asked, so that a slow service never backs up. */
  async function ask(toPicture) {
    waiting = toPicture;
    if (busy) return;
    busy = true;
    while (waiting) {
      const about = subject;
      const next = waiting;
      waiting = null;
      try {
        const answer = await predict(model, await next());
        if (about === subject) show(answer);
      } catch (error) {
        if (about === subject) fail(error);
      }
      await new Promise((resolve) => setTimeout(resolve, REST));
    }
    busy = false;
  }

  /** Asks about another picture than before: the answer still shown pales, one still to come is dropped. */
  function askAnew(toPicture) {
    subject += 1;
    element.classList.add("stale");
    ask(toPicture);
  }

  /** Forgets the picture. */
  function reset() {
    subject += 1;
    waiting = null;
    blank();
    element.className = "reading";
  }

  function blank() {
    part("seen").removeAttribute("src");
    part("seen").alt = "";
    for (const name of ["answer", "sure", "time", "error"]) part(name).textContent = "";
    bars.forEach((bar, i) => setBar(bar, model.classes[i]));
    summary = "";
  }

  function show({ classes, input, roundTrip, server }) {
    const [best] = classes;
    const [, height, width] = model.input.shape;
    // Up to ten classes keep their places, so that the eye can follow; of more the likeliest ten are ranked.
    const ranked = model.classes.length > BARS;
    const rows = ranked ? classes : classes.toSorted((a, b) => a.class - b.class);
    rows.forEach((row, i) => setBar(bars[i], row.label, row.probability, row === best));
    Object.assign(part("seen"), { src: input, alt: `What ${model.name} sees: ${width} by ${height} pixels` });
    part("answer").textContent = best.label;
    part("answer").classList.toggle("word", best.label.length > 2);
    part("sure").textContent = percent(best.probability);
    part("time").textContent = timing(roundTrip, server);
    part("error").textContent = "";
    element.className = "reading answered";
    summary = `${model.name}: ${best.label}, ${percent(best.probability)}`;
    settled();
  }

  function fail(error) {
    blank();
    part("error").textContent = error.message;
    element.className = "reading failed";
    summary = `${model.name}: ${error.message}`;
    settled();
  }

  reset();
  return { ask, askAnew, reset, summary: () => summary };
}

function setBar(bar, label, probability, best = false) {
  bar.classList.toggle("best", best);
  bar.querySelector(".label").textContent = label;
  bar.querySelector(".value").textContent = probability === undefined ? "" : percent(probability);
  bar.querySelector(".length").style.setProperty("--share", probability ?? 0);
}

/** There and back as measured here, and what the service says that it spent on it. */
function timing(roundTrip, { decode, inference } = {}) {
  const inside = inference === undefined ? "" : `: decode ${milliseconds(decode)}, inference ${milliseconds(inference)}`;
  return `${milliseconds(roundTrip)} round trip${inside}`;
}
