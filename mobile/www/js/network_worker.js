/**
 * The network, in a worker of its own: while it computes, the engine measures quality and looks for marks.
 *
 * The page starts it, and hands the engine the other end of the port on which it is asked.
 */

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
