// The curl command for the current image: a button copies it, another saves the image.

import { hasKey } from "./api.js";
import { fill } from "./template.js";

/** Shows the command in `parent`. `announce` tells a screen reader that it was copied. */
export function createCommand(parent, models, announce) {
  const element = fill("#command", {});
  const line = element.querySelector(".line");
  const copy = element.querySelector(".copy");
  let image = null; // {name, type, toBlob}
  parent.append(element);

  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(line.textContent);
      announce("Copied");
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    } catch {
      getSelection().selectAllChildren(line); // without HTTPS a page cannot write to the clipboard
      announce("Selected: press Ctrl+C to copy");
    }
  });
  element.querySelector(".save").addEventListener("click", async () => save(await image.toBlob(), image.name));

  function show(shown) {
    image = shown;
    element.hidden = false;
    line.textContent = curlLine(models, shown);
  }

  const hide = () => (element.hidden = true);

  hide();
  return { show, hide };
}

/** Saves a Blob as a download of the browser. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function curlLine(models, { name, type }) {
  const names = models.map((model) => model.name).join(",");
  const url = `${location.origin}/v1/models/${models.length > 1 ? `{${names}}` : names}/predict?top_k=10`;
  const key = hasKey() ? ' -H "Authorization: Bearer $KEY"' : "";
  // curl expands the names in braces. -w adds a line break after each response.
  return `curl -w '\\n' --data-binary ${quote(`@${name}`)} -H ${quote(`Content-Type: ${type}`)}${key} ${quote(url)}`;
}

/** Quotes a word for a POSIX shell. */
const quote = (word) => (/^[\w./:@-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
