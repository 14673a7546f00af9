/**
 * Talk to a worker in questions and answers.
 *
 * Messages out: `{id, action, ...given}`.  Messages in: `{id, ok: true, value}` or `{id, ok: false, code, message}`; of
 * a question that takes long also `{id, progress}`.  A Float32Array that is given is handed over, not copied.
 *
 * @param {string} script - Name of the worker's module in this folder.
 * @returns {(action: string, given?: object, onProgress?: (value: any) => void) => Promise<any>}
 */
export function connect(script) {
  const worker = new Worker(new URL(script, import.meta.url), { type: "module" });
  const waiting = new Map();
  let lastId = 0;
  worker.onmessage = ({ data: { id, ok, value, code, message, progress } }) => {
    const { resolve, reject, onProgress } = waiting.get(id);
    if (progress !== undefined) {
      onProgress?.(progress);
      return;
    }
    waiting.delete(id);
    if (ok) resolve(value);
    else reject(Object.assign(new Error(message), { code }));
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message || "the worker stopped"));
    waiting.clear();
  };
  return (action, given = {}, onProgress = undefined) =>
    new Promise((resolve, reject) => {
      waiting.set(++lastId, { resolve, reject, onProgress });
      const handedOver = Object.values(given).filter((value) => value instanceof Float32Array);
      worker.postMessage({ id: lastId, action, ...given }, handedOver.map(({ buffer }) => buffer));
    });
}

/**
 * The other side, in the worker: answer each question with the function of that name.
 *
 * @param {Record<string, (given: any, report: (progress: any) => void) => any>} actions - What they return may hold a
 *   `bitmap`, which is handed over.
 */
export function answerQuestions(actions) {
  self.onmessage = async ({ data: { id, action, ...given } }) => {
    try {
      const value = await actions[action](given, (progress) => self.postMessage({ id, progress }));
      self.postMessage({ id, ok: true, value }, value?.bitmap ? [value.bitmap] : []);
    } catch (error) {
      self.postMessage({ id, ok: false, code: error.code ?? error.name, message: error.message });
    }
  };
}
