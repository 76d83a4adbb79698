// Work that is done for the newest question alone.

const REST = 300; // milliseconds without a new question

/** Returns a function that does `work` with its argument. One call is in progress at a time; of the arguments that
 * arrive meanwhile, only the last is worked on. `failed`, if given, gets the error of a call, unless it was aborted. */
export function latest(work, failed) {
  let waiting = null;
  let busy = false;
  return async (argument) => {
    waiting = { argument };
    if (busy) return;
    busy = true;
    try {
      while (waiting) {
        const next = waiting;
        waiting = null;
        try {
          await work(next.argument);
        } catch (error) {
          if (error.name !== "AbortError") failed?.(error);
        }
      }
    } finally {
      busy = false;
    }
  };
}

/** Returns a promise that settles as `promise`, or rejects once `signal` is aborted. */
export function unlessAborted(promise, signal) {
  const aborted = new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  return Promise.race([promise, aborted]);
}

/** Returns a function that does `work` with its argument once no further call has come for a while. */
export function rested(work) {
  let timer = 0;
  return (argument) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(argument), REST);
  };
}
