import { BundleError } from "./errors.js";
import { readNpz } from "./npz.js";

/**
 * @typedef {object} Bundle
 * @property {any} manifest
 * @property {Record<string, import("./npz.js").Matrix>} reference - `reference.npz`.
 * @property {Record<string, import("./npz.js").Matrix>} golden - `golden.npz`.
 * @property {Uint8Array} model - The model file that answers.
 * @property {string} file - Its name.
 */

/**
 * Fetch a bundle's files and compare each with the manifest.
 *
 * @param {string} folder - Address of the bundle's folder, with a slash at its end.
 * @param {string} file - The model file to answer with.
 * @returns {Promise<Bundle>}
 * @throws {BundleError}
 */
export async function openBundle(folder, file) {
  const manifest = JSON.parse(new TextDecoder().decode(await load(folder + "manifest.json")));
  if (manifest.format_version !== 1 || manifest.task !== "classification") {
    throw new BundleError(`manifest.json: found ${manifest.task} ${manifest.format_version}, expected classification 1`);
  }
  const checked = async (name) => {
    const content = await load(folder + name);
    const entry = manifest.files[name];
    if (!entry || content.length !== entry.bytes || (await sha256(content)) !== entry.sha256) {
      throw new BundleError(`${name}: is not the file that the manifest names; install the app again`);
    }
    return content;
  };
  const [model, reference, golden] = await Promise.all(["reference.npz", "golden.npz"].reduce(
    (all, name) => [...all, checked(name).then((content) => readNpz(content, name))], [checked(file)]));
  return { manifest, model, file, reference, golden };
}

async function load(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new BundleError(`${address}: cannot be read (${answer.status}); install the app again`);
  return new Uint8Array(await answer.arrayBuffer());
}

/**
 * @param {Uint8Array} content
 * @returns {Promise<string>} In hexadecimal digits.
 */
export async function sha256(content) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
