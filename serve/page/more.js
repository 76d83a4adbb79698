// The rest of a model's card, fetched when somebody wants to see it.

import { call } from "./api.js";
import { count, fill, percent } from "./words.js";

const CONFUSED = 5; // pairs that are shown

/** Fills a card's <details> the first time it is opened. */
export function addMore(details, model) {
  details.addEventListener("toggle", async () => {
    if (!details.open || details.dataset.filled) return;
    details.dataset.filled = true;
    try {
      const card = await (await call(model.links.card)).json();
      show(details, card);
    } catch (error) {
      delete details.dataset.filled;
      details.querySelector(".use").textContent = error.message;
    }
  });
}

function show(details, card) {
  const $ = (selector) => details.querySelector(selector);
  $(".use").textContent = card.intended_use && `For: ${card.intended_use}`;
  $(".limits").textContent = card.limits && `Limits: ${card.limits}`;
  for (const [term, text] of Object.entries(facts(card))) if (text) $(".facts").append(fill("#fact", { term, text }));
  hideUnless(card.confusion_matrix.length, $(".bars"));
  hideUnless(card.confusion_matrix.length, $(".confused"));
  card.confusion_matrix.forEach((row, i) => $(".bars").append(bar(card.classes[i], row[i] / Math.max(1, sum(row)))));
  for (const [is, taken, times] of confusions(card)) {
    const item = document.createElement("li");
    item.textContent = `${is} taken for ${taken}: ${times} ${times === 1 ? "time" : "times"}`;
    $(".confused").append(item);
  }
  hideUnless(card.robustness, $(".worse"));
  for (const [name, shares] of Object.entries(card.robustness?.accuracy ?? {})) {
    const row = $(".worse tbody").insertRow();
    row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: name }));
    for (const share of shares) {
      const cell = row.insertCell();
      cell.textContent = Math.floor(100 * share); // 100 means all of them
      cell.style.setProperty("--share", share);
    }
  }
  $(".worse caption").textContent = card.robustness ? `Percent right of ${count(card.robustness.images)} test images` : "";
}

function facts({ metrics, temperature, training, command, seed, dataset, multiply_adds: work }) {
  const { accuracy_low: low, accuracy_high: high, calibration_error: error, calibration_error_before: before } = metrics;
  const seconds = training.seconds ? `, ${(training.seconds / 60).toFixed(1)} minutes` : "";
  return {
    "95% interval": low === undefined ? "" : `${percent(low, 2)} to ${percent(high, 2)}`,
    Calibration: before === undefined ? "" : `error ${percent(error, 2)}; ${percent(before, 2)} before temperature ${temperature.toFixed(2)}`,
    "Multiply-adds": work ? count(work) : "",
    "Made by": training.command ?? command,
    Training: training.epochs ? `${training.epochs} epochs${seconds}, ${seed === null ? "" : `seed ${seed}, `}${training.hardware}` : "",
    "Data's source": dataset.source,
    "Data's licence": dataset.licence,
  };
}

function confusions({ classes, confusion_matrix: counts }) {
  const pairs = counts.flatMap((row, i) => row.map((n, j) => [classes[i], classes[j], i === j ? 0 : n]));
  return pairs.filter(([, , n]) => n).sort((a, b) => b[2] - a[2]).slice(0, CONFUSED);
}

function bar(label, share) {
  const item = fill("#bar", { label, value: percent(share) });
  item.querySelector(".length").style.setProperty("--share", share);
  return item;
}

function hideUnless(there, element) {
  element.hidden = !there;
  if (element.previousElementSibling?.tagName === "H4") element.previousElementSibling.hidden = !there;
}

const sum = (numbers) => numbers.reduce((total, n) => total + n, 0);
