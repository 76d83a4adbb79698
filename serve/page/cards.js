// A card for each model, with links to its files.

import { asBlob, call, hasKey } from "./api.js";
import { save } from "./command.js";
import { addDetails } from "./details.js";
import { count, megabytes, percent } from "./format.js";
import { fill } from "./template.js";

const PATIENCE = 600; // seconds for a download

// Facts that a closed card shows. The opened card shows all others.
const BRIEF = ["Dataset", "Input", "Parameters", "File", "Licenses", "Exported", "Classes"];

/** Returns a model's card. `versions` are its versions, the newest first. */
export function createCard(versions) {
  const [newest, ...older] = versions;
  const { metrics, facts } = newest;
  const card = fill("#card", {
    name: newest.name,
    version: `version ${newest.version}`,
    accuracy: accuracyOf(newest),
    tested: metrics.n ? `of ${count(metrics.n)} test images` : "not tested",
  });
  addFacts(
    card.querySelector("dl"),
    facts.filter(([label]) => BRIEF.includes(label)),
  );
  addFacts(card.querySelector("dl"), [["SHA-256", newest.sha256]]);
  addFacts(
    card.querySelector(".details dl"),
    facts.filter(([label]) => !BRIEF.includes(label)),
  );
  addDetails(card.querySelector(".details"), newest);
  const failure = card.querySelector(".download + .error");
  setDownload(card.querySelector(".download"), newest, "Download", failure);
  for (const model of older) {
    const item = fill("#older", { text: `${model.version}: ${accuracyOf(model)}` });
    setDownload(item.querySelector("a"), model, megabytes(model.size), failure);
    card.querySelector(".older ul").append(item);
  }
  card.querySelector(".older").hidden = older.length === 0;
  return card;
}

function addFacts(list, facts) {
  for (const [label, text] of facts) {
    const fact = fill("#fact", { label, text });
    fact.classList.toggle("hash", label === "SHA-256");
    list.append(fact);
  }
}

const accuracyOf = ({ metrics }) => (metrics.accuracy === undefined ? "–" : percent(metrics.accuracy, 2));

function setDownload(link, { name, version, links }, text, failure) {
  const file = `${name}-${version}.onnx`;
  Object.assign(link, { href: links.download, download: file, textContent: text });
  link.setAttribute("aria-label", `${text} ${file}`);
  link.addEventListener("click", async (event) => {
    if (!hasKey()) return;
    event.preventDefault(); // a link cannot send the key
    if (link.ariaDisabled) return;
    failure.textContent = "";
    link.ariaDisabled = "true";
    link.textContent = "Downloading…";
    try {
      save(await call(links.download, asBlob, { timeout: PATIENCE }), file);
    } catch (error) {
      failure.textContent = error.message;
    }
    link.ariaDisabled = null;
    link.textContent = text;
  });
}
