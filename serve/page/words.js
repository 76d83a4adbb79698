// Numbers and names as people read them, and templates filled with them.

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;

export const count = (n) => n.toLocaleString("en");

export const bytes = (n) => (n < 1e6 ? `${Math.max(1, Math.round(n / 1e3))} kB` : `${(n / 1e6).toFixed(1)} MB`);

export const milliseconds = (n) => `${n.toFixed(n < 10 ? 1 : 0)} ms`;

/** A model's dataset by name and variant, such as "CIFAR-10 (JPEG q75)". */
export function datasetOf({ dataset }) {
  const { name = "data not stated", variant } = dataset;
  return variant ? `${name} (${variant})` : name;
}

/** A copy of a template's element, with texts for the elements of those classes. */
export function fill(template, texts) {
  const element = document.querySelector(template).content.firstElementChild.cloneNode(true);
  for (const [name, text] of Object.entries(texts)) element.querySelector(`.${name}`).textContent = text;
  return element;
}
