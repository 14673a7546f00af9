/** The network in its own worker, started by the page: while it computes, the engine measures quality and searches for marks. */

import { answerQuestions } from "./ask.js";
import { OnnxNetwork } from "./onnx_network.js";

const network = new OnnxNetwork();

self.onmessage = ({ data: { port } }) =>
  answerQuestions(
    {
      load: ({ model, provider }) => network.load(model, provider),
      run: ({ values, shape }) => network.run(values, shape),
      close: () => self.close(),
    },
    port,
  );
