// Starts the page: unpacks the model and the pictures, mounts the views, follows the state.

import { arrange, swinTransformer, tensor } from "./model.js";
import { fitPicture } from "./resize.js";
import { h } from "./draw.js";
import {
  compute,
  goTo,
  isElsewhere,
  page,
  readAddress,
  setState,
  state,
  stepName,
  stepNames,
  writeAddress,
} from "./state.js";
import { say } from "./parts.js";
import { mountWay, stepTitle } from "./views/way.js";
import { mountPatches } from "./views/patches.js";
import { mountBlock } from "./views/block.js";
import { mountMerging } from "./views/merging.js";
import { mountHead } from "./views/head.js";
import { mountField } from "./views/field_view.js";
import { mountChanges } from "./views/changes.js";
import { listenForPictures, mountPictures } from "./views/own_picture.js";

const VIEWS = {
  patches: mountPatches,
  block: mountBlock,
  merging: mountMerging,
  head: mountHead,
  reach: mountField,
};

function start() {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const { state: packed, pictures, ...model } = read("model");
  page.words = read("strings");
  const weights = Object.fromEntries(Object.entries(packed).map(([name, packed]) => [name, unpack(packed)]));
  page.model = { ...model, weights: arrange(weights, model.config) };
  for (const [name, text] of Object.entries(pictures))
    page.pictures[name] = readPicture(text, model.config.imageSize);
  Object.assign(state, {
    size: model.config.imageSize,
    lang: navigator.language.startsWith("zh") ? "zh" : "en",
  });
  if (matchMedia("(prefers-color-scheme: dark)").matches) state.theme = "dark";
  listenForPictures();
  page.listeners.push(show);
  const start = { ...state }; // an address says all that differs from it
  const follow = (kept = {}) => {
    following = true;
    setState({ ...start, lang: state.lang, theme: state.theme, ...readAddress(location.hash), ...kept });
    following = false;
  };
  window.addEventListener("hashchange", () => {
    const { lang, theme, lecture } = state;
    // Back and Forward lead to places of ours, and do not undo how the page looks; a new address may.
    if (location.hash !== writeAddress()) follow(history.state?.swin && { lang, theme, lecture });
  });
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (width === window.innerWidth) return; // a phone's address line comes and goes while one scrolls
    width = window.innerWidth;
    show(state); // figures use the room that there is
  });
  document.addEventListener("keydown", hearKey);
  follow();
  document.body.dataset.ready = "yes";
}

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// {shape, kind: "f4" or "f2", bytes: base64} -> tensor
function unpack({ shape, kind, bytes }) {
  const raw = bytesOf(bytes);
  return tensor(
    shape,
    kind === "f4" ? new Float32Array(raw.buffer) : Float32Array.from(new Uint16Array(raw.buffer), fromHalf),
  );
}

// 16 bits: a sign, 5 bits of exponent, 10 of fraction -> number
function fromHalf(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

// The base64 of (3, size, size) bytes -> tensor in [0, 1]
const readPicture = (text, size) =>
  tensor(
    [3, size, size],
    Float32Array.from(bytesOf(text), (value) => value / 255),
  );

// Mounts what the language or the step asks for anew, then lets every part show the state.
let mounted = "";
let following = false; // an address, which stands there already
function show(before) {
  document.documentElement.dataset.theme = state.theme;
  document.documentElement.dataset.lecture = state.lecture;
  document.documentElement.lang = state.lang;
  const wanted = `${state.lang} ${state.step}`;
  const focused = document.activeElement?.id;
  if (mounted.split(" ")[0] !== state.lang) page.frame = mountFrame();
  if (mounted !== wanted) page.view = VIEWS[state.step](document.getElementById("view"));
  mounted = wanted;
  const seen = compute();
  for (const update of [...page.frame, page.view]) update(seen);
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
  document.title = `${say("title")}: ${stepTitle(stepName(), seen.run)}`;
  const framed = window.parent !== window; // there, Back belongs to the notebook
  const write = isElsewhere(before) && !following && !framed ? "pushState" : "replaceState";
  try {
    history[write]({ swin: true }, "", writeAddress());
  } catch {} // a page in a frame of a notebook may not change its address
}

function mountFrame() {
  const { name, parameters, classes } = page.model;
  document.getElementById("title").textContent = say("title");
  document.getElementById("about").textContent = say("about", {
    name,
    classes: classes.length,
    parameters: parameters.toLocaleString("en"),
  });
  document.getElementById("help").textContent = say("help");
  const buttons = document.getElementById("buttons");
  const button = (id, onclick) => h("button", { type: "button", id, onclick }, say(`button.${id}`));
  buttons.replaceChildren(
    button("lang", () => setState({ lang: state.lang === "en" ? "zh" : "en" })),
    button("theme", () => setState({ theme: state.theme === "light" ? "dark" : "light" })),
    button("lecture", () => setState({ lecture: !state.lecture })),
  );
  for (const id of ["pictures", "way", "changes"])
    document.getElementById(id).setAttribute("aria-label", say(`part.${id}`));
  return [
    () => document.getElementById("lecture").setAttribute("aria-pressed", String(state.lecture)),
    mountPictures(document.getElementById("pictures")),
    mountWay(document.getElementById("way")),
    mountChanges(document.getElementById("changes")),
  ];
}

// Left and right outside of any control: the step before, the step after.
function hearKey(event) {
  if (event.target !== document.body && !event.target.closest?.("#way")) return;
  const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
  const names = stepNames();
  const next = names[names.indexOf(stepName()) + move];
  if (!next) return;
  event.preventDefault();
  goTo(next);
  document.getElementById(`step-${next}`)?.focus();
}

// For the console of whoever wants to look further, and for the tests.
window.swin = { swinTransformer, fitPicture, tensor, page, state, setState, compute };
start();
