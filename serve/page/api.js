// The service, and the API key where it wants one. Every failure becomes an Error that people can read.

const KEY = "cnnzoo-key";
let asking = null; // the answer to come, while the dialog is open

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export async function listModels() {
  return (await call("/models")).json();
}

/** What a model says of a picture (a Blob): its classes, what it saw, and how long that took. */
export async function predict(model, picture) {
  const start = performance.now();
  const response = await call(`${model.links.predict}?top_k=10&show_input=true`, {
    method: "POST",
    body: picture,
    headers: { "Content-Type": picture.type },
  });
  const answer = await response.json();
  const { classes, input } = answer.predictions[0];
  return { classes, input, roundTrip: performance.now() - start, server: answer.milliseconds };
}

/** A response that went well; asks for the key, and once more, where the service wants one. */
export async function call(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const response = await send(path, options, key);
    if (response.ok) return response;
    if (response.status !== 401) throw new Error(await explain(response));
    // Another request may have got a new key in the meantime.
    if (key === sessionStorage.getItem(KEY)) await askKey(key !== null);
  }
}

async function send(path, options, key) {
  const headers = key === null ? options.headers : { ...options.headers, Authorization: `Bearer ${key}` };
  try {
    return await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The service does not answer. Is it still running?");
  }
}

async function explain(response) {
  const body = await response.json().catch(() => ({}));
  const said = body.error?.replace(/^body: /, "") ?? `it answered ${response.status} ${response.statusText}`;
  const wait = response.headers.get("Retry-After");
  return `The service says: ${said}${wait ? ` (try again in ${wait} s)` : ""}.`;
}

/** Resolves once a key was given; one dialog for all requests that wait for it. */
function askKey(refused) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = document.querySelector("#key");
    const form = dialog.querySelector("form");
    dialog.querySelector(".error").textContent = refused ? "The service did not accept that key." : "";
    form.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, form.elements.key.value);
      resolve();
      dialog.close();
    };
    dialog.onclose = () => {
      form.reset();
      asking = null;
      reject(new Error("The service wants an API key. Reload the page to give one.")); // no effect once resolved
    };
    dialog.showModal();
  });
  return asking;
}
