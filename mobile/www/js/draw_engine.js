/** The part of the drawing page that computes, in a worker of its own; messages as `ask.js` has them. */

import { answerQuestions } from "./ask.js";
import { openBundle } from "./bundle.js";
import { Classifier } from "./classifier.js";
import { Generator } from "./draw_generator.js";
import { kernelDistance, LEAST } from "./draw_kid.js";
import { OnnxNetwork, openSession } from "./onnx_network.js";
import { squeeze } from "./preprocess.js";
import { selfTest } from "./self_test.js";

const APP = new URL("../", import.meta.url).href;

let generator = null;
let checked = null;
let settings = null;
let classifier = null;

/** Why a distance cannot be measured, by a word of the page. */
const refused = (code, message = "") => Object.assign(new Error(message), { code });

const actions = {
  async start() {
    settings = await (await fetch(`${APP}app.json`)).json();
    generator = await Generator.load(`${APP}generator/`, openSession);
    return { manifest: generator.manifest };
  },

  async selfTest() {
    checked = await generator.selfTest();
    return checked;
  },

  async draw({ wish }) {
    if (!checked?.passed) throw new Error("nothing is drawn before the self-test has passed");
    return { raster: await generator.raster(wish) };
  },

  /** KID of drawn pictures against the training images of their class. */
  async distance({ rasters, label }, report) {
    const { reference } = generator.manifest;
    if (!reference) throw refused("no reference");
    if (rasters.length < LEAST) throw refused("too few");
    const network = await featureNetwork(reference);
    const recipe = network.bundle.manifest.preprocessing;
    const { embeddings, labels } = await generator.reference();
    const size = reference.dimension;
    const rows = [...labels.data.keys()].filter((row) => Number(labels.data[row]) === label);
    if (rows.length < LEAST) throw refused("no reference");
    const real = new Float32Array(rows.length * size);
    rows.forEach((row, k) => real.set(embeddings.data.subarray(row * size, (row + 1) * size), k * size));
    const drawn = new Float32Array(rasters.length * size);
    for (const [i, raster] of rasters.entries()) {
      const pixels = squeeze(raster, recipe.size, recipe.resample);
      drawn.set((await network.predict(pixels)).outputs.embedding, i * size);
      report({ done: i + 1, total: rasters.length });
    }
    return { ...kernelDistance(drawn, real, size), drawn: rasters.length, real: rows.length, model: reference.model };
  },
};

/** The classifier in whose features the reference was recorded: that one, self-tested, and no other. */
async function featureNetwork({ model }) {
  if (classifier) return classifier;
  const bundle = await openBundle(APP, settings);
  const found = bundle.manifest.files[bundle.file].sha256;
  if (found !== model.sha256) {
    throw refused("other network", `${model.name} ${model.version}, SHA-256 ${model.sha256.slice(0, 16)}`);
  }
  const loaded = await Classifier.load(bundle, new OnnxNetwork(), settings);
  const { passed } = await selfTest(loaded);
  if (!passed) throw refused("features differ");
  classifier = loaded;
  return classifier;
}

answerQuestions(actions);
