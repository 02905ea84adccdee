// Starts the page: unpacks the model and the pictures, mounts the views, follows the state.

import { arrange, swinTransformer, tensor } from "./model.js";
import { fitPicture } from "./resize.js";
import { h } from "./draw.js";
import { STEPS, compute, goTo, page, readAddress, setState, state, stepName, writeAddress } from "./state.js";
import { say } from "./parts.js";
import { mountWay } from "./views/way.js";
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

async function start() {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const { state: packed, pictures, ...model } = read("model");
  page.words = read("strings");
  const weights = Object.fromEntries(Object.entries(packed).map(([name, packed]) => [name, unpack(packed)]));
  page.model = { ...model, weights: arrange(weights, model.config) };
  for (const [name, address] of Object.entries(pictures)) page.pictures[name] = await readPicture(address);
  Object.assign(state, {
    size: model.config.imageSize,
    lang: navigator.language.startsWith("zh") ? "zh" : "en",
  });
  if (matchMedia("(prefers-color-scheme: dark)").matches) state.theme = "dark";
  listenForPictures();
  page.listeners.push(show);
  const start = { ...state }; // an address says all that differs from it
  const follow = () =>
    setState({ ...start, lang: state.lang, theme: state.theme, ...readAddress(location.hash) });
  window.addEventListener("hashchange", () => location.hash !== writeAddress() && follow());
  document.addEventListener("keydown", hearKey);
  follow();
  document.body.dataset.ready = "yes";
}

// {shape, kind: "f4" or "f2", bytes: base64} -> tensor
function unpack({ shape, kind, bytes }) {
  const text = atob(bytes);
  const raw = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
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

// A PNG within the page -> tensor (3, h, w) in [0, 1]
async function readPicture(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d", { colorSpace: "srgb" });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  const count = image.width * image.height;
  const picture = tensor([3, image.height, image.width]);
  for (let i = 0; i < count; i++)
    for (let c = 0; c < 3; c++) picture.data[c * count + i] = data[4 * i + c] / 255;
  return picture;
}

// Mounts what the language or the step asks for anew, then lets every part show the state.
let mounted = "";
function show() {
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
  try {
    history.replaceState(null, "", writeAddress() || "#");
  } catch {} // a page in a frame of a notebook may not change its address
}

function mountFrame() {
  const { name, parameters, classes } = page.model;
  document.title = say("title");
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
  return [
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
  const names = STEPS();
  const next = names[names.indexOf(stepName()) + move];
  if (!next) return;
  event.preventDefault();
  goTo(next);
  document.getElementById(`step-${next}`)?.focus();
}

// For the console of whoever wants to look further, and for the tests.
window.swin = { swinTransformer, fitPicture, tensor, page, state, setState, compute };
start();
