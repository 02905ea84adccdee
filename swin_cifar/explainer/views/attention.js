// Attention of one query token and head: q, k, v, scores, bias, mask, softmax, the mix.

import { mayAttend, nearestOffset, offsetBetween, placeOfToken, tokenIn } from "../model.js";
import { COLOURS, begin, chart, h, heat, ink, outline, roomFor, text } from "../draw.js";
import { blockSteps, compute, page, placeOfBlock, setState, state } from "../state.js";
import {
  card,
  drawStrips,
  drawTokenPicture,
  figure,
  nameIn,
  number,
  row,
  say,
  slider,
  tokenChart,
  tokenName,
} from "../parts.js";
import { chooseCell } from "./windows.js";

export function mountAttention(root) {
  const vectors = chart(say("attention.vectors"), (name, j) => name !== "q" && setState({ key: j }));
  const sums = chart(say("attention.sums"), (_, y, x) => setState({ key: y * sideOfWindow() + x }));
  const table = chart(say("attention.table"));
  const matrix = chart(say("attention.matrix"), (_, i, j) => chooseCell(i, j));
  const map = tokenChart("attention.back");
  const head = slider("head", 0, 0, (value) => setState({ head: value }));
  const pair = h("p", { class: "sum", "aria-live": "polite" });
  const mixed = chart(say("attention.mix"));
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

// All that attention computed for the state's token and head: q, mix (d); k, v (N, d); scores, bias, sums,
// weights (N); matrix (N, N); w, i: the token's window and its place there.
function queryOf(steps) {
  const { attention, geometry } = steps;
  const [, heads, N, d] = attention.q.shape;
  const { w, i } = placeOfToken(steps, state.token);
  const place = w * heads + state.head;
  const ofHead = ({ data }, size) => data.subarray(place * size, (place + 1) * size);
  const rowOf = (values, length) => values.subarray(i * length, (i + 1) * length);
  const matrix = ofHead(attention.attn, N * N);
  const weights = rowOf(matrix, N);
  const scores = rowOf(ofHead(attention.scores, N * N), N);
  const bias = attention.bias.data.subarray((state.head * N + i) * N, (state.head * N + i + 1) * N);
  const from = ((w * N + i) * heads + state.head) * d;
  return {
    steps,
    M: geometry.M,
    N,
    d,
    w,
    i,
    key: state.key >= 0 ? state.key : weights.indexOf(Math.max(...weights)),
    allowed: (j) => mayAttend(steps, w, i, j),
    q: rowOf(ofHead(attention.q, N * d), d),
    k: ofHead(attention.k, N * d),
    v: ofHead(attention.v, N * d),
    scores,
    bias,
    sums: scores.map((score, j) => score + bias[j]),
    weights,
    matrix,
    mix: attention.mix.data.subarray(from, from + d),
  };
}

function pairWords({ steps, M, w, i, key, scores, bias, weights, allowed }) {
  const offset = offsetBetween(i, key, M);
  const known = offset.map((one) => nearestOffset(one, page.model.config.windowSize));
  const words = say(allowed(key) ? "pair" : "pair.forbidden", {
    query: nameIn(steps, w, i),
    key: nameIn(steps, w, key),
    score: number(scores[key]),
    bias: number(bias[key]),
    sum: number(scores[key] + bias[key]),
    weight: `${(100 * weights[key]).toFixed(1)}%`,
    offset: tokenName(offset),
  });
  if (String(known) === String(offset)) return words;
  return `${words} ${say("pair.nearest", { offset: tokenName(known) })}`;
}

function drawVectors(chart, { steps, w, N, d, i, key, q, k, v }) {
  const room = roomFor(chart, 800);
  const across = room > 500 ? 2 : 1; // on a phone the values stand below the keys
  const width = room / across - 10;
  const cell = Math.max(8, Math.min(16, Math.floor(260 / N)));
  const below = across === 1 ? N * cell + 24 : 0;
  const context = begin(chart, room, 66 + N * cell + below);
  const one = (name, values, words, x, y) => {
    const rows = values.length / d;
    const tip = (r, c) =>
      say("vector.value", {
        name,
        token: nameIn(steps, w, rows > 1 ? r : i),
        c,
        value: values[r * d + c].toFixed(4),
      });
    text(context, words, x, y, 13, "left", ink(), width);
    const size = { rows, cols: d, x, y: y + 10, cell, cellWidth: width / d };
    heat(chart, context, { name, values, ...size, signed: true, tip });
    if (rows > 1) outline(chart, context, key, 0, COLOURS[0], 1, d);
  };
  one("q", q, say("vector.q", { token: nameIn(steps, w, i) }), 4, 10);
  one("k", k, say("vector.k", { N }), 4, 50);
  one("v", v, say("vector.v", { N }), across === 1 ? 4 : width + 20, 50 + below);
}

// q·k/√d + bias, masked, softmax: a cell for each key of the window, where it stands in the window.
function drawSums(chart, { steps, w, M, key, scores, bias, sums, weights, allowed, i }) {
  const room = roomFor(chart, 980);
  const across = room > 600 ? 4 : 2; // on a phone two rows of two
  const gap = 34;
  const cell = Math.min(52, Math.floor((room / across - gap) / M));
  const side = M * cell;
  const context = begin(chart, across * (side + gap), (4 / across) * (side + 40));
  const limit = Math.max(...[...scores, ...bias, ...sums].map(Math.abs), 1e-9);
  const hidden = (r, c) => !allowed(r * M + c);
  const parts = [
    ["scores", scores, { signed: true, limit }],
    ["bias", bias, { signed: true, limit }],
    ["sums", sums, { signed: true, limit, hidden }],
    ["weights", weights, { hidden }],
  ];
  chart.selected = { r: Math.floor(key / M), c: key % M };
  parts.forEach(([name, values, options], part) => {
    const x = 6 + (part % across) * (side + gap);
    const y = 26 + Math.floor(part / across) * (side + 40);
    const title = say(`sum.${name}`);
    text(context, title, x + side / 2, y - 14, 14, "center", ink());
    const numbers = cell >= 30 ? (name === "weights" ? 2 : 1) : undefined;
    const tip = (r, c) => {
      const words = options.hidden?.(r, c) ? say("cell.forbidden") : values[r * M + c].toFixed(4);
      return `${words}, key ${nameIn(steps, w, r * M + c)}`;
    };
    heat(chart, context, { name, title, values, rows: M, cols: M, x, y, cell, numbers, tip, ...options });
    outline(chart, context, Math.floor(i / M), i % M, COLOURS[5]);
    outline(chart, context, Math.floor(key / M), key % M, COLOURS[0]);
    const sign = "+=→".charAt(part);
    text(context, sign, x + side + gap / 2, y + side / 2, 22, "center", ink());
  });
}

// The head's bias table, (2M-1) x (2M-1), the cell in use lit.
function drawTable(chart, { M, i, key }) {
  const { stage, index } = placeOfBlock(state.block);
  const { table } = page.model.weights.stages[stage].blocks[index].attn;
  const trained = page.model.config.windowSize;
  const side = 2 * trained - 1;
  const heads = table.shape[1];
  const values = Array.from({ length: side * side }, (_, row) => table.data[row * heads + state.head]);
  const cell = 270 / side;
  const context = begin(chart, side * cell + 10, side * cell + 10);
  const tip = (r, c) => {
    const offset = tokenName([r - trained + 1, c - trained + 1]);
    return say("table.cell", { offset, value: values[r * side + c].toFixed(4) });
  };
  const size = { rows: side, cols: side, x: 5, y: 5, cell };
  const numbers = cell >= 30 ? 1 : undefined;
  heat(chart, context, { name: "table", values, ...size, signed: true, numbers, tip });
  const [dy, dx] = offsetBetween(i, key, M).map((offset) => nearestOffset(offset, trained));
  outline(chart, context, dy + trained - 1, dx + trained - 1, COLOURS[0]);
}

function drawMatrix(chart, { steps, w, N, i, key, matrix }) {
  const cell = 270 / N;
  const context = begin(chart, N * cell + 10, N * cell + 10);
  const tip = (r, c) =>
    say("matrix.cell", {
      query: nameIn(steps, w, r),
      key: nameIn(steps, w, c),
      value: matrix[r * N + c].toFixed(4),
    });
  heat(chart, context, { name: "matrix", values: matrix, rows: N, cols: N, x: 5, y: 5, cell, tip });
  chart.selected = { r: i, c: key };
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

function drawMix(chart, { steps, w, d, v, key, weights, mix }) {
  const value = v.subarray(key * d, (key + 1) * d);
  const limit = Math.max(...[...value, ...mix].map(Math.abs), 1e-9);
  const words = say("mix.value", { key: nameIn(steps, w, key), weight: weights[key].toFixed(2) });
  drawStrips(
    chart,
    [
      { name: "value", words, values: value, limit },
      { name: "mix", words: say("mix.sum"), values: mix, limit },
    ],
    230,
  );
}
