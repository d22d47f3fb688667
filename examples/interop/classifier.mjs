// Runs an ONNX model in onnxruntime-web. Standard input: {"library": folder of the package, "model", "shape", "data"};
// standard output: the result's numbers.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { library, model, shape, data } = JSON.parse(readFileSync(0, "utf8"));
const ort = createRequire(library + "/package.json")(library);
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(model), { executionProviders: ["wasm"] });
const { output } = await session.run({ input: new ort.Tensor("float32", Float32Array.from(data), shape) });
process.stdout.write(JSON.stringify(Array.from(output.data)));
