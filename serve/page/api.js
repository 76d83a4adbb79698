// Requests to the service, with the API key if it needs one. Every failure is an Error with a message for people.

const KEY = "cnnzoo-key";
let asking = null; // the promise of a key, while the dialog is open

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export async function listModels() {
  return (await call("/models")).json();
}

/** Classifies an image (a Blob). Returns the classes, the network's input, whether it is unfamiliar, and the
 * times in milliseconds. */
export async function predict(model, image) {
  const start = performance.now();
  const response = await call(`${model.links.predict}?top_k=10&show_input=true`, post(image));
  const answer = await response.json();
  const { classes, input, unfamiliar } = answer.predictions[0];
  return { classes, input, unfamiliar, roundTrip: performance.now() - start, server: answer.milliseconds };
}

/** Returns the layers of a model's file. */
export async function listLayers(model) {
  return (await (await call(model.links.layers)).json()).layers;
}

/** Returns the values of all layers for an image (a Blob), as a Float32Array by the layer's name. */
export async function inspect(model, image) {
  const response = await call(`${model.links.inspect}?format=binary`, post(image));
  const content = await response.arrayBuffer();
  const length = Number(response.headers.get("Inference-Header-Content-Length"));
  const { layers } = JSON.parse(new TextDecoder().decode(content.slice(0, length)));
  const numbers = new Float32Array(content.slice(length));
  let start = 0;
  return new Map(
    layers.map(({ name, volume: [depth, height, width] }) => {
      const values = numbers.subarray(start, start + depth * height * width);
      start += values.length;
      return [name, values];
    }),
  );
}

/** Returns the arithmetic of one value of a layer. `position` is its map, row and column. */
export async function inspectPixel(model, image, layer, position) {
  return (await call(`${model.links.inspect}?layers=${layer}&pixel=${position.join(",")}`, post(image))).json();
}

/** Returns how much the probability of a class drops where a square covers the image. `label` is that of the class, since
 * its number might be another one's label; "" stands for the most probable one. */
export async function explainClass(model, image, label) {
  const chosen = label ? `?class=${encodeURIComponent(label)}` : "";
  return (await call(`${model.links.explain}${chosen}`, post(image))).json();
}

function post(image) {
  return { method: "POST", body: image, headers: { "Content-Type": image.type } };
}

/** Returns a successful response. Asks for the API key, until the service accepts it. */
export async function call(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const response = await send(path, options, key);
    if (response.ok) return response;
    if (response.status !== 401) throw new Error(await explain(response));
    // Another request may have asked for a new key already.
    if (key === sessionStorage.getItem(KEY)) await askKey(key !== null);
  }
}

async function send(path, options, key) {
  const headers = key === null ? options.headers : { ...options.headers, Authorization: `Bearer ${key}` };
  try {
    return await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The service does not answer. Check whether it is running, and try again.");
  }
}

async function explain(response) {
  const body = await response.json().catch(() => ({}));
  const message = body.error?.replace(/^body: /, "") ?? `status ${response.status} ${response.statusText}`;
  const wait = response.headers.get("Retry-After");
  return `The service answered: ${message}${wait ? ` (try again in ${wait} s)` : ""}.`;
}

/** Resolves when a key was entered. All waiting requests share one dialog. */
function askKey(refused) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = document.querySelector("#key");
    const form = dialog.querySelector("form");
    dialog.querySelector(".error").textContent = refused ? "The service did not accept this key." : "";
    form.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, form.elements.key.value);
      resolve();
      dialog.close();
    };
    dialog.onclose = () => {
      form.reset();
      asking = null;
      reject(new Error("The service needs an API key. Reload the page to enter it.")); // no effect after resolve
    };
    dialog.showModal();
  });
  return asking;
}
