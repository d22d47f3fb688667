// Runs ONNX models in onnxruntime-web's WebAssembly. Standard input: {"library": folder of the package onnxruntime-web,
// "jobs": [{"model": path, "runs": [{"type", "shape", "data"}]}]}; standard output, for each job: {"runs": [{"shape",
// "data"}]} or {"error"}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { library, jobs } = JSON.parse(readFileSync(0, "utf8"));
const ort = createRequire(import.meta.url)(library);
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const array = {
  float32: (d) => Float32Array.from(d),
  float64: (d) => Float64Array.from(d),
  int64: (d) => BigInt64Array.from(d.map(BigInt)),
};

const results = [];
for (const { model, runs } of jobs) {
  try {
    const session = await ort.InferenceSession.create(readFileSync(model), { executionProviders: ["wasm"] });
    const outputs = [];
    for (const { type, shape, data } of runs) {
      const { output } = await session.run({ input: new ort.Tensor(type, array[type](data), shape) });
      outputs.push({ shape: output.dims, data: Array.from(output.data, (v) => (Number.isFinite(Number(v)) ? Number(v) : String(v))) });
    }
    await session.release();
    results.push({ runs: outputs });
  } catch (e) {
    results.push({ error: e.message });
  }
}
process.stdout.write(JSON.stringify(results));
