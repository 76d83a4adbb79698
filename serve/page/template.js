// The <template> elements of index.html.

/** Returns a copy of a template's element. `texts` holds the text of each child by the child's class. */
export function fill(template, texts) {
  const element = document.querySelector(template).content.firstElementChild.cloneNode(true);
  for (const [name, text] of Object.entries(texts)) element.querySelector(`.${name}`).textContent = text;
  return element;
}
