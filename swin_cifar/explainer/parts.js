// What several views are made of: words, cards, sliders, the picture with its tokens.

import { mayAttend, placeOfToken, tokenIn } from "./model.js";
import {
  COLOURS,
  addCells,
  begin,
  chart,
  grid,
  h,
  heat,
  ink,
  outline,
  pictureCanvas,
  roomFor,
  text,
} from "./draw.js";
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

// A token by its place in the map, as everywhere in the page; place j of window w may be padding.
export const tokenName = ([y, x]) => `(${y},\u00a0${x})`; // never broken at the end of a line
export function nameIn(steps, w, j) {
  const token = tokenIn(steps, w, j);
  return token ? tokenName(token) : say("padding");
}

export const row = (...children) => h("div", { class: "row" }, ...children);
export const figure = (content, caption, ...more) =>
  h("figure", {}, content, h("figcaption", {}, caption), ...more);

// A titled part of a view; `content`: words first, then elements.
export function card(title, words, ...content) {
  const first = typeof words === "string" ? h("p", {}, words) : words;
  return h("section", { class: "card" }, h("h2", {}, say(title)), first, ...content);
}

// -> {element, show(value), limit(max)}; onchange(value) hears every move, ondone(value) where it ends.
export function slider(name, min, max, onchange, ondone) {
  const shown = h("output", { for: name });
  const input = h("input", {
    type: "range",
    id: name,
    min,
    max,
    step: 1,
    oninput: () => onchange(Number(input.value)),
    onchange: () => ondone?.(Number(input.value)),
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
export const tokenChart = (label) => chart(say(label), (_, y, x) => setState({ token: [y, x] }));

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
    const [, rows, cols] = picture.shape;
    const size = cell / unit;
    context.fillStyle = "rgba(255,255,255,.8)";
    for (let i = 0; i < rows * cols; i++) {
      if (!pixels[i])
        context.fillRect(4 + (i % cols) * size, 4 + Math.floor(i / cols) * size, size + 0.3, size + 0.3);
    }
  }
  grid(context, 4, 4, H, W, cell, 1, "rgba(255,255,255,.45)", 1);
  if (steps) drawWindowsOnMap(context, steps, cell);
  const [y, x] = state.token;
  if (quarters) grid(context, 4 + x * cell, 4 + y * cell, 2, 2, cell / 2, 1, COLOURS[5], 2);
  const tip = (r, c) => {
    const value = weights?.get(`${r},${c}`) ?? signed?.get(`${r},${c}`);
    return say("token", { token: tokenName([r, c]) }) + (value === undefined ? "" : ` ${value.toFixed(4)}`);
  };
  chart.selected = { r: y, c: x };
  addCells(chart, { name: "token", rows: H, cols: W, x: 4, y: 4, cell, tip });
  outline(chart, context, y, x);
}

// Rows of numbers, each under or behind its words: [{name, words, values, limit}]; `labels`: units for the words.
export function drawStrips(chart, strips, labels) {
  const room = roomFor(chart, 780);
  const under = room < 2.5 * labels; // on a phone
  const left = under ? 4 : labels;
  const width = room - left - 8;
  const pitch = under ? 46 : 34;
  const context = begin(chart, room, strips.length * pitch + 6);
  strips.forEach(({ name, words, values, limit }, r) => {
    const y = r * pitch + (under ? 20 : 5);
    text(context, words, 4, under ? y - 9 : y + 12, 13, "left", ink(), under ? room : labels - 8);
    const tip = (_, c) => say("channel.value", { channel: c, value: values[c].toFixed(4) });
    const size = { rows: 1, cols: values.length, cell: 24, cellWidth: width / values.length };
    heat(chart, context, { name, title: words, values, x: left, y, ...size, signed: true, limit, tip });
  });
}

// A line wherever neighbours belong to different windows, or may not attend to each other.
function drawWindowsOnMap(context, steps, cell) {
  const [H, W] = steps.x.shape;
  const chosen = placeOfToken(steps, state.token);
  const together = (a, b) => {
    const [p, q] = [placeOfToken(steps, a), placeOfToken(steps, b)];
    return p.w === q.w && mayAttend(steps, p.w, p.i, q.i);
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
        const seen = mayAttend(steps, chosen.w, chosen.i, place.i);
        context.fillStyle = seen ? "rgba(213,94,0,.3)" : "rgba(0,0,0,.4)";
        context.fillRect(4 + x * cell, 4 + y * cell, cell, cell);
      }
    }
}
