// The network's probabilities from `model.uint8.onnx`, without trust: in a page (onnxruntime-web) or in Node
// (onnxruntime-web or onnxruntime-node).

import * as ort from "onnxruntime-web";

// rgba: `data` of a canvas's getImageData, four values a pixel.
export async function classify(session, rgba, width, height) {
  const pixels = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) {
    pixels.set(rgba.subarray(4 * i, 4 * i + 3), 3 * i);
  }
  const input = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
  const { probabilities } = await session.run({ pixels: input });
  return Array.from(probabilities.data);
}

// For the class shares that answers assume by default; the second argument is manifest.json.
export function forDefaultShares(probabilities, { classes, decision }) {
  const weights = classes.map((name, i) => (probabilities[i] * decision.default[name]) / decision.reference[name]);
  const total = weights.reduce((sum, weight) => sum + weight);
  return weights.map((weight) => weight / total);
}

export function load(model) {
  return ort.InferenceSession.create(model); // in a page: its address; in Node: its bytes
}
