// The rest of a model's card, fetched when the card is opened.

import { asJson, call } from "./api.js";
import { count, percent } from "./format.js";
import { fill } from "./template.js";

/** Fills a card's <details> when it is first opened. */
export function addDetails(details, model) {
  details.addEventListener("toggle", async () => {
    if (!details.open || details.dataset.filled) return;
    details.dataset.filled = true;
    try {
      show(details, await call(model.links.card, asJson));
    } catch (error) {
      delete details.dataset.filled;
      details.querySelector(".error").textContent = error.message;
    }
  });
}

function show(details, { class_accuracies: accuracies, worst_confusions: confusions, robustness }) {
  const find = (selector) => details.querySelector(selector);
  find(".error").textContent = "";
  hideUnless(accuracies.length, find(".bars"));
  for (const [label, share] of accuracies) find(".bars").append(createBar(label, share));
  hideUnless(confusions.length, find(".confusions"));
  for (const [label, predicted, images] of confusions) {
    const text = `${label} classified as ${predicted}: ${images} ${images === 1 ? "image" : "images"}`;
    find(".confusions").append(Object.assign(document.createElement("li"), { textContent: text }));
  }
  hideUnless(robustness, find(".robustness"));
  if (robustness) fillTable(find(".robustness"), robustness);
}

function fillTable(table, { images, accuracy }) {
  table.querySelector("caption").textContent = `Accuracy in percent, on ${count(images)} test images`;
  for (const [corruption, shares] of Object.entries(accuracy)) {
    const row = table.tBodies[0].insertRow();
    row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: corruption }));
    for (const share of shares) {
      const cell = row.insertCell();
      cell.textContent = Math.floor(100 * share + 1e-9); // 100 means all images; 100 * 0.57 is below 57
      cell.style.setProperty("--share", share);
    }
  }
}

function createBar(label, share) {
  const bar = fill("#bar", { label, value: percent(share) });
  bar.querySelector(".label").title = label; // a long one is cut off
  bar.querySelector(".length").style.setProperty("--share", share);
  return bar;
}

/** Hides an element and its heading. */
function hideUnless(shown, element) {
  element.hidden = !shown;
  element.previousElementSibling.hidden = !shown;
}
