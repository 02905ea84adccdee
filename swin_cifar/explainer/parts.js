// What several views are made of: words, cards, sliders, the picture with its tokens.

import { placeOfToken } from "./model.js";
import { COLOURS, begin, chart, frame, grid, h, pictureCanvas } from "./draw.js";
import { page, setState, state } from "./state.js";

// The words of a key in the page's language, {name} filled in.
export function say(key, values = {}) {
  const words = page.words[key]?.[state.lang] ?? page.words[key]?.en ?? key;
  return words.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export const number = (value) =>
  value
    .toFixed(2)
    .replace(/^-(0\.00)$/, "$1")
    .replace("-", "−");

export const row = (...children) => h("div", { class: "row" }, ...children);
export const figure = (content, caption, ...more) =>
  h("figure", {}, content, h("figcaption", {}, caption), ...more);

// A titled part of a view; `content`: words first, then elements.
export function card(title, words, ...content) {
  const first = typeof words === "string" ? h("p", {}, words) : words;
  return h("section", { class: "card" }, h("h2", {}, say(title)), first, ...content);
}

// -> {element, show(value), limit(max)}
export function slider(name, min, max, onchange) {
  const shown = h("output", { for: name });
  const input = h("input", {
    type: "range",
    id: name,
    min,
    max,
    step: 1,
    oninput: () => onchange(Number(input.value)),
  });
  return {
    element: h("label", { class: "slider" }, h("span", {}, say(`slider.${name}`)), input, shown),
    show(value) {
      input.value = value;
      shown.textContent = name === "roll" ? `${value}%` : value;
    },
    limit(value) {
      input.max = value;
    },
  };
}

// A picture under its tokens; a click or Enter chooses one.
export const tokenChart = (label) => chart(280, 280, say(label), (_, y, x) => setState({ token: [y, x] }));

// The picture with the token map over it: {H, W tokens of `unit` pixels, steps: draw its windows,
// weights: {"y,x": share} to light, signed: {"y,x": value} to tint, pixels: 1 = lit, quarters: 2 x 2 cells}
export function drawTokenPicture(chart, picture, { H, W, unit, steps, weights, signed, pixels, quarters }) {
  const cell = 272 / Math.max(H, W);
  const context = begin(chart, W * cell + 8, H * cell + 8);
  context.drawImage(pictureCanvas(picture, W * unit, H * unit), 4, 4, W * cell, H * cell);
  const tint = (y, x, colour) => {
    context.fillStyle = colour;
    context.fillRect(4 + x * cell, 4 + y * cell, cell, cell);
  };
  if (weights) {
    const largest = Math.max(...weights.values());
    for (let y = 0; y < H; y++)
      for (let x = 0; x < W; x++)
        tint(y, x, `rgba(0,0,0,${0.85 - 0.85 * ((weights.get(`${y},${x}`) ?? 0) / largest)})`);
  }
  if (signed) {
    const limit = Math.max(...[...signed.values()].map(Math.abs), 1e-9);
    for (const [place, value] of signed) {
      const [y, x] = place.split(",").map(Number);
      tint(y, x, `rgba(${value > 0 ? "84,39,136" : "230,120,0"},${0.85 * (Math.abs(value) / limit)})`);
    }
  }
  if (pixels) {
    const [, h_, w] = picture.shape;
    const size = cell / unit;
    context.fillStyle = "rgba(255,255,255,.8)";
    for (let i = 0; i < h_ * w; i++) {
      if (!pixels[i])
        context.fillRect(4 + (i % w) * size, 4 + Math.floor(i / w) * size, size + 0.3, size + 0.3);
    }
  }
  grid(context, 4, 4, H, W, cell, 1, "rgba(255,255,255,.45)", 1);
  if (steps) drawWindowsOnMap(context, steps, cell);
  const [y, x] = state.token;
  if (quarters) grid(context, 4 + x * cell, 4 + y * cell, 2, 2, cell / 2, 1, COLOURS[5], 2);
  frame(context, 4, 4, cell, y, x, COLOURS[5], 4);
  const say_ = (r, c) => {
    const value = weights?.get(`${r},${c}`) ?? signed?.get(`${r},${c}`);
    return say("token", { y: r, x: c }) + (value === undefined ? "" : ` ${value.toFixed(4)}`);
  };
  chart.selected = { r: y, c: x };
  chart.heats.push({
    name: "token",
    values: [],
    rows: H,
    cols: W,
    x: 4,
    y: 4,
    cell,
    cellWidth: cell,
    say: say_,
  });
}

// A line wherever neighbours belong to different windows, or may not attend to each other.
function drawWindowsOnMap(context, steps, cell) {
  const [H, W] = steps.x.shape;
  const chosen = placeOfToken(steps, state.token);
  const together = (a, b) => {
    const [p, q] = [placeOfToken(steps, a), placeOfToken(steps, b)];
    const N = steps.geometry.M ** 2;
    return p.w === q.w && (!steps.mask || steps.mask.data[(p.w * N + p.i) * N + q.i] === 1);
  };
  const line = (x1, y1, x2, y2) => {
    for (const [colour, width] of [
      ["#000000", 4],
      ["#ffffff", 1.5],
    ]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(4 + x1 * cell, 4 + y1 * cell);
      context.lineTo(4 + x2 * cell, 4 + y2 * cell);
      context.stroke();
    }
  };
  for (let y = 0; y < H; y++)
    for (let x = 0; x < W; x++) {
      if (y && !together([y - 1, x], [y, x])) line(x, y, x + 1, y);
      if (x && !together([y, x - 1], [y, x])) line(x, y, x, y + 1);
      const place = placeOfToken(steps, [y, x]);
      if (place.w === chosen.w) {
        const N = steps.geometry.M ** 2;
        const seen = !steps.mask || steps.mask.data[(chosen.w * N + chosen.i) * N + place.i] === 1;
        context.fillStyle = seen ? "rgba(213,94,0,.22)" : "rgba(0,0,0,.25)";
        context.fillRect(4 + x * cell, 4 + y * cell, cell, cell);
      }
    }
}
