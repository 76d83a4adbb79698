// Requests to the service, with the API key if it needs one. Every failure is an Error with a message for people, but an
// aborted request stays an AbortError.

const KEY = "cnnzoo-key";
const TIMEOUT = 30; // seconds, with the bodies of the request and of the response
const RETRIES = 2; // of a request that a busy service refused
const LONGEST_WAIT = 5; // seconds before a retry
let key = storedKey(); // null: none was entered
let asking = null; // the promise of a key, while the dialog is open

export const hasKey = () => key !== null;

export const asJson = (response) => response.json();
export const asBlob = (response) => response.blob();

export function listModels() {
  return call("/models", asJson);
}

/** Classifies an image (a Blob). Returns the classes, the network's input, whether it is unfamiliar, and the
 * times in milliseconds. */
export function predict(model, image, signal) {
  const read = async (response, start) => {
    const answer = await response.json();
    const { classes, input, unfamiliar } = answer.predictions[0];
    return { classes, input, unfamiliar, roundTrip: performance.now() - start, server: answer.milliseconds };
  };
  return call(`${model.links.predict}?top_k=10&show_input=true`, read, post(image, signal));
}

/** Returns the layers of a model's file. */
export function listLayers(model) {
  return call(model.links.layers, async (response) => (await response.json()).layers);
}

/** Returns the values of all layers for an image (a Blob), as a Float32Array by the layer's name. */
export function inspect(model, image, signal) {
  return call(`${model.links.inspect}?format=binary`, readLayers, post(image, signal));
}

async function readLayers(response) {
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
export function inspectPixel(model, image, layer, position, signal) {
  return call(`${model.links.inspect}?layers=${layer}&pixel=${position.join(",")}`, asJson, post(image, signal));
}

/** Returns how much the probability of a class drops where a square covers the image. `label` is that of the class, since
 * its number might be another one's label; "" stands for the most probable one. */
export function explainClass(model, image, label, signal) {
  const chosen = label ? `?class=${encodeURIComponent(label)}` : "";
  return call(`${model.links.explain}${chosen}`, asJson, post(image, signal));
}

function post(image, signal) {
  return { method: "POST", body: image, headers: { "Content-Type": image.type }, signal };
}

/** Returns what `read` makes of a successful response. Asks for the API key, until the service accepts it. `options` are
 * those of `fetch`, and `timeout` in seconds. */
export async function call(path, read, options = {}) {
  for (let retries = 0; ; ) {
    const sent = key;
    const { response, content } = await send(path, read, options);
    if (response.ok) return content;
    const wait = Number(response.headers.get("Retry-After") ?? 1);
    if (response.status === 401) {
      // Another request may have asked for a new key already.
      if (key === sent) await askKey(sent !== null);
    } else if ([429, 503].includes(response.status) && retries < RETRIES && wait <= LONGEST_WAIT) {
      retries += 1;
      await sleep(wait, options.signal);
    } else {
      const message = await explain(response);
      options.signal?.throwIfAborted();
      throw new Error(message);
    }
  }
}

async function send(path, read, { signal, timeout = TIMEOUT, ...options }) {
  const headers = key === null ? options.headers : { ...options.headers, Authorization: `Bearer ${key}` };
  const late = AbortSignal.timeout(1000 * timeout);
  const start = performance.now();
  let response = null;
  try {
    response = await fetch(path, { ...options, headers, signal: AbortSignal.any([late, signal].filter(Boolean)) });
    return { response, content: response.ok ? await read(response, start) : null };
  } catch {
    signal?.throwIfAborted();
    if (late.aborted) throw new Error(`The service did not answer within ${timeout} seconds. Try again.`);
    if (response) throw new Error("The answer broke off, or is not what this page expects. Reload the page.");
    throw new Error("The service does not answer. Check whether it is running, and try again.");
  }
}

/** Waits some seconds, or until `signal` aborts. */
function sleep(seconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", resolve);
  });
}

async function explain(response) {
  const { error } = (await response.json().catch(() => null)) ?? {};
  const known = typeof error === "string"; // a proxy has other forms
  const message = known ? error.replace(/^body: /, "") : `status ${response.status} ${response.statusText}`;
  const wait = response.headers.get("Retry-After");
  return `The service answered: ${message}${wait && !message.includes("try again") ? ` (try again in ${wait} s)` : ""}.`;
}

/** Resolves when a key was entered. All waiting requests share one dialog. */
function askKey(refused) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = document.querySelector("#key");
    const form = dialog.querySelector("form");
    dialog.querySelector(".error").textContent = refused ? "The service did not accept this key." : "";
    form.onsubmit = (event) => {
      event.preventDefault();
      keepKey(form.elements.key.value);
      resolve();
      dialog.close();
    };
    dialog.onclose = () => {
      form.reset();
      asking = null;
      // This has no effect after resolve.
      reject(new Error("The service needs an API key. To enter it, try again or reload the page."));
    };
    dialog.showModal();
  });
  return asking;
}

function storedKey() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null; // the browser blocks storage
  }
}

function keepKey(entered) {
  key = entered;
  try {
    sessionStorage.setItem(KEY, entered);
  } catch {
    // The browser blocks storage: the variable keeps the key until a reload.
  }
}
