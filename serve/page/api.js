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
  const response = await call(`${model.links.predict}?top_k=10&show_input=true`, {
    method: "POST",
    body: image,
    headers: { "Content-Type": image.type },
  });
  const answer = await response.json();
  const { classes, input, unfamiliar } = answer.predictions[0];
  return { classes, input, unfamiliar, roundTrip: performance.now() - start, server: answer.milliseconds };
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
