/**
 * Ask a worker, or the other end of a port.
 *
 * Messages out: `{id, action, ...given}`.  Messages in: `{id, ok: true, value}` or `{id, ok: false, code, message}`.
 */

/** Connect to a worker's module in this folder. */
export const connect = (script) => asking(new Worker(new URL(script, import.meta.url), { type: "module" }));

/** Return a function `(action, given)` that resolves to the answer; arrays and ports in `given` are transferred. */
export function asking(other) {
  const waiting = new Map();
  let lastId = 0;
  other.onmessage = ({ data: { id, ok, value, code, message } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (ok) resolve(value);
    else reject(Object.assign(new Error(message), { code }));
  };
  other.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message || "the worker stopped"));
    waiting.clear();
  };
  return (action, given = {}) =>
    new Promise((resolve, reject) => {
      waiting.set(++lastId, { resolve, reject });
      const arrays = Object.values(given).filter((value) => value instanceof Float32Array);
      const ports = Object.values(given).filter((value) => value instanceof MessagePort);
      other.postMessage({ id: lastId, action, ...given }, [...arrays.map(({ buffer }) => buffer), ...ports]);
    });
}

/** Answer each question of a page or port with the function of that name; a `bitmap` in an answer is transferred. */
export function answerQuestions(actions, asker = self) {
  asker.onmessage = async ({ data: { id, action, ...given } }) => {
    try {
      const value = await actions[action](given);
      asker.postMessage({ id, ok: true, value }, value?.bitmap ? [value.bitmap] : []);
    } catch (error) {
      asker.postMessage({ id, ok: false, code: error.code ?? error.name, message: error.message });
    }
  };
}

/** Start a network's worker from the page, as not every web view lets workers start workers; return a port for the engine. */
export function startNetwork() {
  const worker = new Worker(new URL("network_worker.js", import.meta.url), { type: "module" });
  const { port1, port2 } = new MessageChannel();
  worker.postMessage({ port: port1 }, [port1]);
  return port2;
}
