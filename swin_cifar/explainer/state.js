// What is shown: the model of the page, the picture, what is chosen, and all that was computed of them.

import { swinTransformer, tensor } from "./model.js";

export const page = { model: null, pictures: {}, words: {}, listeners: [] };

export const DEFAULTS = {
  picture: "",
  size: 0,
  step: "patches",
  block: 0,
  merging: 1,
  token: [0, 0],
  head: 0,
  key: -1,
  channel: 0,
  label: -1,
  roll: 1,
  lang: "en",
  theme: "light",
  lecture: false,
  shift: "on",
  mask: "on",
  bias: "on",
  content: "on",
  windowSize: 0,
  headOff: "",
  replaced: "",
};
export const state = { ...DEFAULTS };

// What the state's changes mean to swinTransformer.
function changesOf({ shift, mask, bias, content, windowSize, headOff, replaced }) {
  const all = {};
  for (const [name, value] of Object.entries({ shift, mask, bias, content }))
    if (value !== "on") all[name] = value;
  if (windowSize) all.windowSize = windowSize;
  const of = {};
  if (headOff) {
    const [block, head] = headOff.split(",").map(Number);
    of[block] = { ...of[block], headOff: head };
  }
  if (replaced) {
    const [block, y, x] = replaced.split(",").map(Number);
    of[block] = { ...of[block], replaced: [y, x] };
  }
  return { all, of };
}

// The state's picture at its size, computed as it is (`plain`) and with the changes (`run`).
const computed = new Map();
export function compute() {
  const picture = sizedPicture();
  const changes = changesOf(state);
  const changed = Object.keys(changes.all).length > 0 || Object.keys(changes.of).length > 0;
  const plain = remembered(`${state.picture} ${state.size}`, () => swinTransformer(picture, page.model));
  if (!changed) return { picture, plain, run: plain, changed };
  const key = `${state.picture} ${state.size} ${JSON.stringify(changes)}`;
  return {
    picture,
    plain,
    run: remembered(key, () => swinTransformer(picture, page.model, changes)),
    changed,
  };
}

// What was computed last is kept: going back and forth between two states costs nothing.
function remembered(key, make) {
  const value = computed.get(key) ?? make();
  computed.delete(key);
  computed.set(key, value);
  if (computed.size > 6) computed.delete(computed.keys().next().value);
  return value;
}

export function forget(name) {
  for (const key of computed.keys()) if (key.startsWith(`${name} `)) computed.delete(key);
}

// Other sizes than the picture's own: cut from the top left, or repeated beyond the border as a mirror does.
function sizedPicture() {
  const picture = page.pictures[state.picture];
  const [, h, w] = picture.shape;
  const side = state.size || h;
  if (side === h && side === w) return picture;
  const mirror = (i, size) => (i % (2 * size) < size ? i % (2 * size) : 2 * size - 1 - (i % (2 * size)));
  const out = tensor([3, side, side]);
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++) {
        out.data[(c * side + y) * side + x] = picture.data[(c * h + mirror(y, h)) * w + mirror(x, w)];
      }
  return out;
}

// --- blocks and tokens ------------------------------------------------------------------

// Block number through the model -> {stage, index in it, unit: pixels of the picture along a token's side}
export function placeOfBlock(number) {
  const { depths, patchSize } = page.model.config;
  let stage = 0;
  while (number >= depths[stage]) number -= depths[stage++];
  return { stage, index: number, unit: patchSize * 2 ** stage };
}

export const blockSteps = (run, number) => {
  const { stage, index } = placeOfBlock(number);
  return run.stages[stage].blocks[index];
};

export const countBlocks = () => page.model.config.depths.reduce((a, b) => a + b);

// --- changing it ------------------------------------------------------------------------

// Takes new values, keeps them within what exists, tells all who listen what was before.
export function setState(changes) {
  const before = { ...state };
  Object.assign(state, changes);
  if (!changes.token) followToken(before);
  tidy(before);
  for (const listener of page.listeners) listener(before);
}

// The token at the same place of the picture, where another stage has other tokens.
function followToken(before) {
  state.token = state.token.map((i) => Math.floor((i * unitOf(before)) / unitOf(state)));
}

function tidy(before) {
  const { config } = page.model;
  if (!Object.hasOwn(page.pictures, state.picture)) state.picture = Object.keys(page.pictures)[0];
  state.size = clamp(Math.round(state.size) || config.imageSize, config.patchSize, 2 * config.imageSize);
  state.block = clamp(Math.round(state.block) || 0, 0, countBlocks() - 1);
  state.merging = clamp(Math.round(state.merging) || 1, 1, Math.max(config.depths.length - 1, 1));
  if (!stepNames().includes(stepName())) state.step = "patches";
  const side = Math.ceil(state.size / unitOf(state));
  state.token = state.token.map((i) => clamp(Math.round(i) || 0, 0, side - 1));
  const stage = stageOf(state);
  state.head = clamp(Math.round(state.head) || 0, 0, config.numHeads[stage] - 1);
  state.channel = clamp(Math.round(state.channel) || 0, 0, config.embedDim * 2 ** stage - 1);
  if (!isIndex(state.label, page.model.classes.length)) state.label = -1;
  if (state.windowSize === config.windowSize) state.windowSize = 0;
  if (!isIndex(state.key, (state.windowSize || config.windowSize) ** 2)) state.key = -1;
  for (const name of ["headOff", "replaced"]) if (!exists(name, state[name])) state[name] = "";
  const elsewhere = stepName(before) !== stepName() || String(before.token) !== String(state.token);
  if (elsewhere && state.key === before.key) state.key = -1;
}

// Whether there is what a switch such as headOff = "1,2" or replaced = "1,3,4" names.
function exists(name, value) {
  const [block, ...rest] = value.split(",").map(Number);
  if (!value || !(block < countBlocks())) return false;
  const { stage, unit } = placeOfBlock(block);
  const side = Math.ceil(state.size / unit);
  const parts = name === "headOff" ? [page.model.config.numHeads[stage]] : [side, side];
  return rest.length === parts.length && rest.every((value, i) => value < parts[i]);
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const isIndex = (value, length) => Number.isInteger(value) && value >= 0 && value < length;

// The stage whose map a step shows (for a merging: the map that comes out).
function stageOf({ step, block, merging }) {
  if (step === "patches") return 0;
  if (step === "merging") return merging;
  return step === "head"
    ? page.model.config.depths.length - 1
    : placeOfBlock(clamp(block, 0, countBlocks() - 1)).stage;
}
const unitOf = (values) =>
  page.model.config.patchSize * 2 ** clamp(stageOf(values), 0, page.model.config.depths.length - 1);

// All steps in order, as `stepName` names them.
export function stepNames() {
  const names = ["patches"];
  let block = 0;
  page.model.config.depths.forEach((depth, stage) => {
    if (stage) names.push(`merging${stage}`);
    for (let i = 0; i < depth; i++) names.push(`block${block++}`);
  });
  return [...names, "head", "reach"];
}

export const stepName = ({ step, block, merging } = state) =>
  step === "block" ? `block${block}` : step === "merging" ? `merging${merging}` : step;

export function goTo(name) {
  const [, step, number] = name.match(/^([a-z]+)(\d*)$/);
  setState({
    step,
    ...(step === "block" && { block: +number }),
    ...(step === "merging" && { merging: +number }),
  });
}

// --- the address ------------------------------------------------------------------------

// "#block=2&token=3,4&mask=off" -> what of the state it names
export function readAddress(hash) {
  const found = {};
  for (const [name, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (name === "token") found.token = value.split(",").map(Number);
    else if (name === "lecture") found.lecture = value !== "false";
    else if (typeof DEFAULTS[name] === "number") found[name] = Number(value);
    else if (Object.hasOwn(DEFAULTS, name)) found[name] = value;
  }
  if ("block" in found && !found.step) found.step = "block";
  if ("merging" in found && !found.step) found.step = "merging";
  if (found.token?.length !== 2 || found.token.some(Number.isNaN)) delete found.token;
  for (const [name, allowed] of Object.entries(CHOICES)) {
    if (name in found && !allowed.includes(found[name])) delete found[name];
  }
  for (const name of ["headOff", "replaced"]) {
    if (name in found && !/^\d+(,\d+){1,2}$/.test(found[name])) delete found[name];
  }
  return found;
}

// The model's own window is always among them.
export function windowSizes() {
  const own = page.model.config.windowSize;
  return [...new Set([...CHOICES.windowSize, own])].sort((a, b) => a - b);
}

export const CHOICES = {
  shift: ["on", "off"],
  mask: ["on", "off", "flipped"],
  bias: ["on", "off"],
  content: ["on", "off"],
  lang: ["en", "zh"],
  theme: ["light", "dark"],
  windowSize: [2, 3, 4, 5, 6, 7, 8],
};

// Only what differs from the start, so that an address stays short; but how the page looks, which on another
// machine may start in another way.
export function writeAddress() {
  const { step } = state;
  const start = { ...DEFAULTS, size: page.model.config.imageSize, picture: Object.keys(page.pictures)[0] };
  const shown = Object.keys(state).filter((name) => {
    if (name === "lang" || name === "theme") return true;
    if (name === "step") return !["patches", "block", "merging"].includes(step); // the number says it
    if (name === "block") return step === "block" || step === "reach";
    if (name === "merging") return step === "merging";
    return String(state[name]) !== String(start[name]);
  });
  return `#${shown.map((name) => `${name}=${encodeURIComponent(state[name]).replaceAll("%2C", ",")}`).join("&")}`;
}

// Whether the browser's Back should lead to `before`: another step or picture is another place, while a
// token, a slider or a switch is a change in the same place.
export const isElsewhere = (before) => stepName(before) !== stepName() || before.picture !== state.picture;
