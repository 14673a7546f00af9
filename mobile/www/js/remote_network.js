/** A network in another worker.  Workers that start workers are left out: not every web view shows these the app's files. */

import { asking } from "./ask.js";

/**
 * Start the worker of a network, from the page.
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
 * @returns {{load: Function, run: Function, close: Function}} As an `OnnxNetwork`; nothing can be asked of it once closed.
 */
export function remoteNetwork(port) {
  const ask = asking(port);
  return {
    load: (model, provider) => ask("load", { model, provider }),
    run: (values, shape) => ask("run", { values, shape }),
    close: () => ask("close"),
  };
}
