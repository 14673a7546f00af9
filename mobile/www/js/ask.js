/**
 * Talk to a worker, or over a port, in questions and answers.
 *
 * Messages out: `{id, action, ...given}`.  Messages in: `{id, ok: true, value}` or `{id, ok: false, code, message}`; of
 * a question that takes long also `{id, progress}`.
 */

/** @param {string} script - Name of the worker's module in this folder. */
export const connect = (script) => asking(new Worker(new URL(script, import.meta.url), { type: "module" }));

/**
 * @returns {(action: string, given?: object, onProgress?: (value: any) => void) => Promise<any>} A Float32Array or a
 *   port that is given is handed over, not copied.
 */
export function asking(other) {
  const waiting = new Map();
  let lastId = 0;
  other.onmessage = ({ data: { id, ok, value, code, message, progress } }) => {
    const { resolve, reject, onProgress } = waiting.get(id);
    if (progress !== undefined) {
      onProgress?.(progress);
      return;
    }
    waiting.delete(id);
    if (ok) resolve(value);
    else reject(Object.assign(new Error(message), { code }));
  };
  other.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message || "the worker stopped"));
    waiting.clear();
  };
  return (action, given = {}, onProgress = undefined) =>
    new Promise((resolve, reject) => {
      waiting.set(++lastId, { resolve, reject, onProgress });
      const arrays = Object.values(given).filter((value) => value instanceof Float32Array);
      const ports = Object.values(given).filter((value) => value instanceof MessagePort);
      other.postMessage({ id: lastId, action, ...given }, [...arrays.map(({ buffer }) => buffer), ...ports]);
    });
}

/**
 * The other side: answer each question with the function of that name.
 *
 * @param {Record<string, (given: any, report: (progress: any) => void) => any>} actions - What they return may hold a
 *   `bitmap`, which is handed over.
 * @param {MessagePort | typeof globalThis} asker - A worker's own page, or a port.
 */
export function answerQuestions(actions, asker = self) {
  asker.onmessage = async ({ data: { id, action, ...given } }) => {
    try {
      const value = await actions[action](given, (progress) => asker.postMessage({ id, progress }));
      asker.postMessage({ id, ok: true, value }, value?.bitmap ? [value.bitmap] : []);
    } catch (error) {
      asker.postMessage({ id, ok: false, code: error.code ?? error.name, message: error.message });
    }
  };
}

/**
 * Start the worker of a network, from the page.  Workers that start workers are left out: not every web view shows
 * these
 * the app's files.
 *
 * @returns {MessagePort} For the engine.
 */
export function startNetwork() {
  const worker = new Worker(new URL("network_worker.js", import.meta.url), { type: "module" });
  const { port1, port2 } = new MessageChannel();
  worker.postMessage({ port: port1 }, [port1]);
  return port2;
}

/**
 * @param {MessagePort} port - Of `startNetwork`.
 * @returns {{load: Function, run: Function, close: Function}} As an `OnnxNetwork`; nothing can be asked of it once
 *   closed.
 */
export function remoteNetwork(port) {
  const ask = asking(port);
  return {
    load: (model, provider) => ask("load", { model, provider }),
    run: (values, shape) => ask("run", { values, shape }),
    close: () => ask("close"),
  };
}
