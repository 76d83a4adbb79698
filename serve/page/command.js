// The curl line for what was just done on the page, to be copied, and its picture, to be saved.

import { hasKey } from "./api.js";
import { fill } from "./words.js";

/** The line in `parent`, about these models; `say` tells a screen reader that it was copied. */
export function createCommand(parent, models, say) {
  const element = fill("#command", {});
  const line = element.querySelector(".line");
  const copy = element.querySelector(".copy");
  let picture = null; // {name, type, toPicture}
  parent.append(element);

  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(line.textContent);
      say("Copied");
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    } catch {
      getSelection().selectAllChildren(line); // no clipboard without HTTPS: one key press is left to do
      say("Selected, ready to be copied");
    }
  });
  element.querySelector(".save").addEventListener("click", async () => save(await picture.toPicture(), picture.name));

  function show(about) {
    picture = about;
    element.hidden = false;
    line.textContent = curlLine(models, about);
  }

  const hide = () => (element.hidden = true);

  hide();
  return { show, hide };
}

/** Hands a Blob to the browser's downloads. */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function curlLine(models, { name, type }) {
  const names = models.map((model) => model.name).join(",");
  const address = `${location.origin}/v1/models/${models.length > 1 ? `{${names}}` : names}/predict?top_k=10`;
  const key = hasKey() ? ' -H "Authorization: Bearer $KEY"' : "";
  // curl itself takes each name in braces in turn; -w ends each answer with a line break.
  return `curl -w '\\n' --data-binary ${quote(`@${name}`)} -H ${quote(`Content-Type: ${type}`)}${key} ${quote(address)}`;
}

/** A word as a POSIX shell reads it unchanged. */
const quote = (word) => (/^[\w./:@-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
