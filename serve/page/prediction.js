// The prediction of one model for the current image.

import { predict } from "./api.js";
import { milliseconds, percent } from "./format.js";
import { latest, unlessAborted } from "./latest.js";
import { fill } from "./template.js";

const BARS = 10;
const UNFAMILIAR = "This looks like nothing the network was trained on.";
const PAUSE = 40; // milliseconds between two requests to one model: faster than the eye

/** Shows a model's prediction in `parent`. Calls `settled` after each answer or error, and `look` when somebody wants
 * to look inside. */
export function createPrediction(model, parent, settled, look) {
  const dataset = model.dataset_title || "dataset not stated";
  const element = fill("#prediction", { name: model.name, dataset });
  const part = (name) => element.querySelector(`.${name}`);
  const bars = Array.from({ length: Math.min(BARS, model.classes.length) }, () => fill("#bar", {}));
  part("dataset").title = dataset;
  part("bars").append(...bars);
  const button = part("look");
  button.ariaLabel = `Look inside ${model.name}`;
  button.addEventListener("click", () => look(model, { button, input: () => part("input").src }));
  parent.append(element);

  let subject = new AbortController(); // of the drawing or photo: aborted when another one comes
  let summary = "";

  // One request is in flight at a time. Of the images that arrive meanwhile only the newest is sent, so that a slow
  // service gets no backlog.
  const send = latest(async ({ toBlob, signal }) => {
    if (signal.aborted) return;
    try {
      const answer = await predict(model, await unlessAborted(toBlob(), signal), signal);
      if (!signal.aborted) show(answer);
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  });

  /** Classifies the image that `toBlob` returns. */
  function ask(toBlob) {
    send({ toBlob, signal: subject.signal });
  }

  function abort() {
    subject.abort();
    subject = new AbortController();
  }

  /** Classifies another image: fades the old answer, and aborts a request in flight. */
  function askAnew(toBlob) {
    abort();
    element.classList.add("stale");
    for (const name of ["error", "note"]) part(name).textContent = "";
    summary = "";
    ask(toBlob);
  }

  /** Clears the prediction. */
  function reset() {
    abort();
    blank();
    element.className = "prediction";
  }

  function blank() {
    part("input").removeAttribute("src");
    part("input").alt = "";
    for (const name of ["answer", "sure", "time", "error", "note"]) part(name).textContent = "";
    for (const [i, bar] of bars.entries()) setBar(bar, model.classes[i]);
    summary = "";
  }

  function show({ classes, input, unfamiliar, roundTrip, server }) {
    const [best] = classes;
    const [, height, width] = model.input.shape;
    // Up to ten classes stay in order, so that the eye can follow. Of more classes, the ten most probable are ranked.
    const ranked = model.classes.length > BARS;
    const rows = ranked ? classes : classes.toSorted((a, b) => a.class - b.class);
    for (const [i, row] of rows.entries()) setBar(bars[i], row.label, row.probability, row === best);
    Object.assign(part("input"), { src: input, alt: `Input of ${model.name}: ${width} by ${height} pixels` });
    part("answer").textContent = best.label;
    part("answer").classList.toggle("word", best.label.length > 2);
    part("sure").textContent = percent(best.probability);
    part("time").textContent = timing(roundTrip, server);
    part("error").textContent = "";
    part("note").textContent = unfamiliar ? UNFAMILIAR : "";
    element.className = unfamiliar ? "prediction answered unfamiliar" : "prediction answered";
    summary = `${model.name}: ${best.label}, ${percent(best.probability)}${unfamiliar ? `. ${UNFAMILIAR}` : ""}`;
    settled();
  }

  function fail(error) {
    blank();
    part("error").textContent = error.message;
    element.className = "prediction failed";
    summary = `${model.name}: ${error.message}`;
    settled();
  }

  reset();
  return { ask, askAnew, reset, summary: () => summary };
}

function setBar(bar, label, probability, best = false) {
  bar.classList.toggle("best", best);
  const text = bar.querySelector(".label");
  text.textContent = text.title = label; // a long one is cut off
  bar.querySelector(".value").textContent = probability === undefined ? "" : percent(probability);
  bar.querySelector(".length").style.setProperty("--share", probability ?? 0);
}

/** Returns the round trip as measured here, and the times that the service states. */
function timing(roundTrip, { decode, inference } = {}) {
  const inside =
    inference === undefined ? "" : `: decode ${milliseconds(decode)}, inference ${milliseconds(inference)}`;
  return `${milliseconds(roundTrip)} round trip${inside}`;
}
