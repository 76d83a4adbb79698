// The zoo: a card for each model, with its file to take along.

import { call, hasKey } from "./api.js";
import { save } from "./command.js";
import { addMore } from "./more.js";
import { bytes, count, datasetOf, fill, percent } from "./words.js";

/** A model's card; `versions` are those of one name, newest first. */
export function createCard([newest, ...older]) {
  const { metrics, input } = newest;
  const card = fill("#card", {
    name: newest.name,
    version: `version ${newest.version}`,
    accuracy: accuracyOf(newest),
    tested: metrics.n ? `of ${count(metrics.n)} test images` : "not tested",
  });
  const facts = {
    Dataset: datasetOf(newest),
    Input: `${input.shape[2]} × ${input.shape[1]} ${input.mode === "L" ? "grey" : "RGB"}`,
    Parameters: newest.parameters ? count(newest.parameters) : "",
    Size: `${bytes(newest.size)}${newest.weights === "fp32" ? "" : `, ${newest.weights}`}`,
    Licence: newest.licence,
    Exported: newest.date.slice(0, 10),
    Classes: newest.classes.join(", "),
    "SHA-256": newest.sha256,
  };
  list(card.querySelector("dl"), facts);
  addMore(card.querySelector(".more"), newest);
  setDownload(card.querySelector(".download"), newest, "Download");
  for (const model of older) {
    const item = fill("#older", { text: `${model.version}: ${accuracyOf(model)}` });
    setDownload(item.querySelector("a"), model, bytes(model.size));
    card.querySelector(".older ul").append(item);
  }
  card.querySelector(".older").hidden = older.length === 0;
  return card;
}

function list(dl, facts) {
  for (const [term, text] of Object.entries(facts)) {
    if (!text) continue;
    const fact = fill("#fact", { term, text });
    fact.classList.toggle("hash", term === "SHA-256");
    dl.append(fact);
  }
}

const accuracyOf = ({ metrics }) => (metrics.accuracy === undefined ? "–" : percent(metrics.accuracy, 2));

function setDownload(link, { name, version, links }, text) {
  const file = `${name}-${version}.onnx`;
  Object.assign(link, { href: links.download, download: file, textContent: text });
  link.setAttribute("aria-label", `${text} ${file}`);
  link.addEventListener("click", async (event) => {
    if (!hasKey()) return;
    event.preventDefault(); // a link sends no key: fetched with it, then saved
    try {
      save(await (await call(links.download)).blob(), file);
    } catch (error) {
      link.textContent = error.message;
    }
  });
}
