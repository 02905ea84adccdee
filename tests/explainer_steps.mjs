// Run the page's model outside of a page: JSON in, JSON out.
//   node explainer_steps.mjs SCRIPT < {model, runs: [{picture, changes, want}], fits: [{picture, size}], reach}
import fs from "node:fs";
import { pathToFileURL } from "node:url";

const page = await import(pathToFileURL(process.argv[2]));
const { model, runs = [], fits = [] } = JSON.parse(fs.readFileSync(0, "utf8"));

const unpack = ({ shape, bytes }) => {
  const raw = Buffer.from(bytes, "base64");
  return page.tensor(shape, Float32Array.from({ length: raw.length / 4 }, (_, i) => raw.readFloatLE(4 * i)));
};
const state = Object.fromEntries(Object.entries(model?.state ?? {}).map(([name, packed]) => [name, unpack(packed)]));
const ready = model && { ...model, weights: page.arrange(state, model.config) };
const find = (from, path) => path.split(".").reduce((value, name) => value[name], from);
const plain = (value) => (value?.data ? { shape: value.shape, data: Array.from(value.data) } : value);

const answers = runs.map(({ picture, changes, want, reach }) => {
  const start = process.cpuUsage();
  const steps = page.swinTransformer(unpack(picture), ready, changes);
  const milliseconds = process.cpuUsage(start).user / 1000;
  const found = Object.fromEntries(want.map((path) => [path, plain(find(steps, path))]));
  if (reach) found.reach = page.reachBackwards(steps.stages, reach.block, reach.token).map(({ set, shape }) => ({ shape, data: Array.from(set) }));
  return { ...found, milliseconds };
});
const fitted = fits.map(({ width, height, data, size }) => plain(page.fitPicture({ width, height, data }, size)));
console.log(JSON.stringify({ answers, fitted }));
