// Attention of one query token and head: q, k, v, scores, bias, mask, softmax, the mix.

import { placeOfToken, tokenIn } from "../model.js";
import { COLOURS, begin, chart, h, heat, ink, outline, text } from "../draw.js";
import { blockSteps, compute, page, placeOfBlock, setState, state } from "../state.js";
import { card, drawTokenPicture, figure, number, row, say, slider, tokenChart } from "../parts.js";
import { chooseCell } from "./windows.js";

export function mountAttention(root) {
  const vectors = chart(
    760,
    230,
    say("attention.vectors"),
    (name, j) => name !== "q" && setState({ key: j }),
  );
  const sums = chart(1000, 230, say("attention.sums"), (_, y, x) =>
    setState({ key: y * sideOfWindow() + x }),
  );
  const table = chart(250, 270, say("attention.table"));
  const matrix = chart(280, 280, say("attention.matrix"), (_, i, j) => chooseCell(i, j));
  const map = tokenChart("attention.back");
  const head = slider("head", 0, 0, (value) => setState({ head: value }));
  const pair = h("p", { class: "sum", "aria-live": "polite" });
  const mixed = chart(760, 90, say("attention.mix"));
  root.replaceChildren(
    card("attention.title", say("attention.text"), head.element, row(vectors.canvas)),
    card(
      "scores.title",
      say("scores.text"),
      row(sums.canvas),
      pair,
      row(
        figure(table.canvas, say("table.caption")),
        figure(matrix.canvas, say("matrix.caption")),
        figure(map.canvas, say("back.caption")),
      ),
    ),
    card("mix.title", say("mix.text"), row(mixed.canvas)),
  );
  return function update({ picture, run }) {
    const steps = blockSteps(run, state.block);
    const { stage, unit } = placeOfBlock(state.block);
    const heads = page.model.config.numHeads[stage];
    head.limit(heads - 1);
    head.show(state.head);
    const here = queryOf(steps);
    drawVectors(vectors, here);
    drawSums(sums, here);
    drawTable(table, here);
    drawMatrix(matrix, here);
    const [H, W] = steps.x.shape;
    drawTokenPicture(map, picture, { H, W, unit, steps, weights: weightsOnMap(steps, here) });
    drawMix(mixed, here);
    pair.textContent = pairWords(here);
  };
}

const sideOfWindow = () => blockSteps(compute().run, state.block).geometry.M;

// All that attention computed for the state's token and head.
function queryOf(steps) {
  const {
    attention,
    geometry: { M },
    mask,
  } = steps;
  const [, heads, N, d] = attention.q.shape;
  const { w, i } = placeOfToken(steps, state.token);
  const start = ((w * heads + state.head) * N + i) * N;
  const bias = attention.bias.data.subarray((state.head * N + i) * N, (state.head * N + i + 1) * N);
  const scores = attention.scores.data.subarray(start, start + N);
  const vectors = (part) =>
    part.data.subarray((w * heads + state.head) * N * d, (w * heads + state.head + 1) * N * d);
  const weights = attention.attn.data.subarray(start, start + N);
  const strongest = weights.indexOf(Math.max(...weights));
  return {
    steps,
    M,
    N,
    d,
    w,
    i,
    heads,
    bias,
    scores,
    weights,
    key: state.key >= 0 && state.key < N ? state.key : strongest,
    allowed: (j) => !mask || mask.data[(w * N + i) * N + j] === 1,
    sums: scores.map((score, j) => score + bias[j]),
    q: vectors(attention.q).subarray(i * d, (i + 1) * d),
    k: vectors(attention.k),
    v: vectors(attention.v),
    mix: attention.mix.data.subarray(
      (w * N + i) * heads * d + state.head * d,
      (w * N + i) * heads * d + (state.head + 1) * d,
    ),
    matrix: attention.attn.data.subarray(
      (w * heads + state.head) * N * N,
      (w * heads + state.head + 1) * N * N,
    ),
  };
}

function pairWords({ steps, M, w, i, key, scores, bias, weights, allowed, d }) {
  const name = (j) => {
    const token = tokenIn(steps, w, j);
    return token ? `(${token})` : say("padding");
  };
  const values = { query: name(i), key: name(key), score: number(scores[key]), bias: number(bias[key]), d };
  values.sum = number(scores[key] + bias[key]);
  values.weight = `${(100 * weights[key]).toFixed(1)}%`;
  values.dy = Math.floor(i / M) - Math.floor(key / M);
  values.dx = (i % M) - (key % M);
  const [ty, tx] = [values.dy, values.dx].map(nearestOffset);
  const words = say(allowed(key) ? "pair" : "pair.forbidden", values);
  return ty === values.dy && tx === values.dx ? words : `${words} ${say("pair.nearest", { dy: ty, dx: tx })}`;
}

// The nearest offset that the table knows, where windows are larger than those of the training.
function nearestOffset(offset) {
  const most = page.model.config.windowSize - 1;
  return Math.min(Math.max(offset, -most), most);
}

function drawVectors(chart, { N, d, i, key, q, k, v }) {
  const cellWidth = Math.max(4, Math.floor(350 / d));
  const cell = Math.max(8, Math.min(16, Math.floor(260 / N)));
  const across = d * cellWidth;
  const context = begin(chart, 2 * across + 110, 62 + N * cell);
  const one = (name, values, rows, x, y, mark) => {
    const say_ = (r, c) => `${name}${rows > 1 ? r : i}[${c}] = ${values[r * d + c].toFixed(4)}`;
    heat(chart, context, { name, values, rows, cols: d, x, y, cell, cellWidth, signed: true, say: say_ });
    if (mark !== undefined) outline(chart, context, mark, 0, COLOURS[0], 1, d);
  };
  text(context, say("vector.q", { i }), 30, 10, 13, "left", ink());
  one("q", q, 1, 30, 20);
  text(context, say("vector.k", { last: N - 1 }), 30, 48, 13, "left", ink());
  one("k", k, N, 30, 58, key);
  text(context, say("vector.v", { last: N - 1 }), across + 80, 48, 13, "left", ink());
  one("v", v, N, across + 80, 58, key);
}

// q·k/√d + bias, masked, softmax: a cell for each key of the window, where it stands in the window.
function drawSums(chart, { M, N, key, scores, bias, sums, weights, allowed, i }) {
  const cell = Math.min(52, Math.floor(220 / M));
  const side = M * cell;
  const context = begin(chart, 4 * (side + 34) + 10, side + 44);
  const limit = Math.max(...[...scores, ...bias, ...sums].map(Math.abs), 1e-9);
  const forbidden = (r, c) => !allowed(r * M + c);
  const parts = [
    ["scores", scores, { signed: true, limit }],
    ["bias", bias, { signed: true, limit }],
    ["sums", sums, { signed: true, limit, hidden: forbidden }],
    ["weights", weights, { hidden: forbidden }],
  ];
  parts.forEach(([name, values, options], column) => {
    const x = 6 + column * (side + 34);
    text(context, say(`sum.${name}`), x + side / 2, 12, 14, "center", ink());
    const numbers = cell >= 30 ? (name === "weights" ? 2 : 1) : undefined;
    const say_ = (r, c) => (options.hidden?.(r, c) ? say("cell.forbidden") : values[r * M + c].toFixed(4));
    heat(chart, context, {
      name,
      title: say(`sum.${name}`),
      values,
      rows: M,
      cols: M,
      x,
      y: 26,
      cell,
      numbers,
      say: say_,
      ...options,
    });
    chart.selected = { r: Math.floor(key / M), c: key % M };
    outline(chart, context, Math.floor(i / M), i % M, COLOURS[5]);
    outline(chart, context, Math.floor(key / M), key % M, COLOURS[0]);
    if (column < 3) text(context, "+=→".charAt(column), x + side + 17, 26 + side / 2, 22, "center", ink());
  });
}

// The head's bias table, (2M-1) x (2M-1), the cell in use lit.
function drawTable(chart, { steps, M, i, key }) {
  const { stage, index } = placeOfBlock(state.block);
  const table = page.model.weights.stages[stage].blocks[index].attn.table;
  const trained = page.model.config.windowSize;
  const side = 2 * trained - 1;
  const heads = table.shape[1];
  const values = Array.from({ length: side * side }, (_, row) => table.data[row * heads + state.head]);
  const cell = Math.floor(240 / side);
  const context = begin(chart, side * cell + 10, side * cell + 10);
  const say_ = (r, c) =>
    say("table.cell", { dy: r - trained + 1, dx: c - trained + 1, value: values[r * side + c].toFixed(4) });
  heat(chart, context, {
    name: "table",
    values,
    rows: side,
    cols: side,
    x: 5,
    y: 5,
    cell,
    signed: true,
    numbers: cell >= 30 ? 1 : undefined,
    say: say_,
  });
  const [dy, dx] = [Math.floor(i / M) - Math.floor(key / M), (i % M) - (key % M)].map(nearestOffset);
  outline(chart, context, dy + trained - 1, dx + trained - 1, COLOURS[0]);
}

function drawMatrix(chart, { N, i, key, matrix }) {
  const cell = Math.max(4, 272 / N);
  const context = begin(chart, N * cell + 10, N * cell + 10);
  const say_ = (r, c) => say("matrix.cell", { query: r, key: c, value: matrix[r * N + c].toFixed(4) });
  heat(chart, context, { name: "matrix", values: matrix, rows: N, cols: N, x: 5, y: 5, cell, say: say_ });
  outline(chart, context, i, 0, COLOURS[5], 1, N);
  outline(chart, context, i, key, COLOURS[0]);
}

// {"y,x": weight} of the tokens that the query attends to.
function weightsOnMap(steps, { w, N, weights }) {
  const found = new Map();
  for (let j = 0; j < N; j++) {
    const token = tokenIn(steps, w, j);
    if (token) found.set(String(token), weights[j]);
  }
  return found;
}

function drawMix(chart, { d, v, key, weights, mix }) {
  const cellWidth = Math.max(6, Math.floor(560 / d));
  const context = begin(chart, d * cellWidth + 180, 84);
  const value = v.subarray(key * d, (key + 1) * d);
  const limit = Math.max(...[...value, ...mix].map(Math.abs), 1e-9);
  [
    [say("mix.value", { weight: weights[key].toFixed(2), key }), value],
    [say("mix.sum"), mix],
  ].forEach(([words, values], r) => {
    text(context, words, 4, 24 + 40 * r, 13, "left", ink());
    heat(chart, context, {
      name: "mix",
      values,
      rows: 1,
      cols: d,
      x: 170,
      y: 12 + 40 * r,
      cell: 24,
      cellWidth,
      signed: true,
      limit,
    });
  });
}
