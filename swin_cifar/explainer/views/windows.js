// Windows on the picture: padded, rolled (as far as the slider says), cut, labelled, masked.

import { mayAttend, paddedSize, placeOfToken, shiftedWindowLabels, tokenIn } from "../model.js";
import { COLOURS, REGION_COLOURS, addCells, begin, chart, grid, h, outline, pictureCanvas } from "../draw.js";
import { blockSteps, compute, placeOfBlock, setState, state, stepName } from "../state.js";
import { card, drawTokenPicture, figure, nameIn, row, say, slider, tokenChart, tokenName } from "../parts.js";

export function mountWindows(root) {
  const map = tokenChart("windows.choose");
  const rolled = chart(say("windows.rolled"), chooseRolled);
  const mask = chart(say("windows.mask"), (_, i, j) => chooseCell(i, j));
  // While the map rolls nothing else is drawn again: a frame must be ready in 16 ms.
  const showRoll = (share) => {
    state.roll = share;
    roll.show(Math.round(100 * share));
    const { picture, run } = compute();
    drawRolled(rolled, picture, blockSteps(run, state.block), placeOfBlock(state.block).unit);
  };
  const roll = slider(
    "roll",
    0,
    100,
    (value) => showRoll(value / 100),
    (value) => setState({ roll: value / 100 }),
  );
  const play = h(
    "button",
    { type: "button", id: "play", onclick: () => playRoll(showRoll) },
    say("windows.play"),
  );
  const words = h("p");
  const maskWords = h("span");
  const rollBox = h("div", { class: "controls" }, roll.element, play);
  root.replaceChildren(
    card(
      "windows.title",
      words,
      row(
        figure(map.canvas, say("windows.map.caption")),
        figure(rolled.canvas, say("windows.rolled.caption"), rollBox),
        figure(mask.canvas, maskWords),
      ),
    ),
  );
  return function update({ picture, run }) {
    const steps = blockSteps(run, state.block);
    const { unit } = placeOfBlock(state.block);
    const [H, W] = steps.x.shape;
    const shifted = Math.max(...steps.geometry.shift) > 0;
    rollBox.hidden = !shifted;
    roll.show(Math.round(100 * state.roll));
    words.textContent = windowWords(steps);
    maskWords.textContent = say(steps.mask ? "windows.mask.caption" : "windows.mask.none", {
      N: steps.geometry.M ** 2,
    });
    drawTokenPicture(map, picture, { H, W, unit, steps });
    drawRolled(rolled, picture, steps, unit);
    drawMask(mask, steps);
  };
}

function windowWords(steps) {
  const { M, shift, shiftSize } = steps.geometry;
  const [H, W] = steps.x.shape;
  const [Hp, Wp] = paddedSize(H, W, M);
  const values = { M, N: M * M, windows: steps.windows.shape[0], shift: Math.max(...shift), H, W, Hp, Wp };
  values.pairs = values.windows * values.N ** 2;
  values.allPairs = (Hp * Wp) ** 2;
  const parts = [];
  if (values.shift > 0) {
    parts.push("windows.text.shifted", `windows.mask.${state.mask}`);
  } else parts.push(values.windows === 1 ? "windows.text.one" : "windows.text");
  if (shiftSize && values.shift === 0) parts.push("windows.covered");
  if (Hp > H || Wp > W) parts.push("windows.padded");
  return parts.map((key) => say(key, values)).join(" ");
}

let playing = 0; // the frame that is asked for
function playRoll(showRoll) {
  cancelAnimationFrame(playing);
  const place = stepName();
  const tokens = Math.max(...blockSteps(compute().run, state.block).geometry.shift);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches; // token by token, nothing glides
  const start = performance.now();
  const next = (now) => {
    const share = Math.min(Math.max(now - start, 0) / 1500, 1);
    if (share === 1 || stepName() !== place) return setState({ roll: 1 });
    showRoll(calm ? Math.floor(share * tokens) / tokens : share);
    playing = requestAnimationFrame(next);
  };
  playing = requestAnimationFrame(next);
}

// A click on the rolled map: the token that lies there now.
function chooseRolled(_, y, x) {
  const steps = blockSteps(compute().run, state.block);
  const token = tokenIn(steps, ...placeInWindows(y, x, steps));
  if (token) setState({ token });
}

// Place (y, x) of the rolled map -> [w, i]: its window and its place in it.
function placeInWindows(y, x, { rolled, geometry: { M } }) {
  return [Math.floor(y / M) * (rolled.shape[1] / M) + Math.floor(x / M), (y % M) * M + (x % M)];
}

// The padded picture, rolled by a share of the shift, under the windows, which stand still.
function drawRolled(chart, picture, steps, unit) {
  const [Hp, Wp] = steps.rolled.shape;
  const { M, shift, shiftSize } = steps.geometry;
  const cell = 272 / Math.max(Hp, Wp);
  const context = begin(chart, Wp * cell + 8, Hp * cell + 8);
  const source = pictureCanvas(picture, Wp * unit, Hp * unit);
  const [dy, dx] = shift.map((size) => size * state.roll * cell);
  context.save();
  context.beginPath();
  context.rect(4, 4, Wp * cell, Hp * cell);
  context.clip();
  for (const top of [0, Hp])
    for (const left of [0, Wp]) {
      context.drawImage(source, 4 + left * cell - dx, 4 + top * cell - dy, Wp * cell, Hp * cell);
    }
  context.restore();
  const drawBorders = () => {
    grid(context, 4, 4, Hp, Wp, cell, M, "#000000", 3);
    grid(context, 4, 4, Hp, Wp, cell, M, "#ffffff", 1);
  };
  if (state.roll === 1) {
    const labels = shiftedWindowLabels(steps.x.shape[0], steps.x.shape[1], M, shiftSize);
    labels.data.forEach((label, i) => {
      context.fillStyle = label < 0 ? "rgba(90,90,90,.6)" : REGION_COLOURS[label];
      context.fillRect(4 + (i % Wp) * cell, 4 + Math.floor(i / Wp) * cell, cell, cell);
    });
    const { w, i } = placeOfToken(steps, state.token);
    const [top, left] = [Math.floor(w / (Wp / M)) * M, (w % (Wp / M)) * M];
    const [r, c] = [top + Math.floor(i / M), left + (i % M)];
    const tip = (r, c) => {
      const words = say(`label.${labels.data[r * Wp + c]}`);
      const token = tokenIn(steps, ...placeInWindows(r, c, steps));
      return token ? `${say("token", { token: tokenName(token) })}: ${words}` : words;
    };
    addCells(chart, { name: "labels", rows: Hp, cols: Wp, x: 4, y: 4, cell, tip });
    chart.selected = { r, c };
    drawBorders();
    outline(chart, context, top, left, COLOURS[5], M, M);
    outline(chart, context, r, c);
  } else drawBorders();
}

// (N, N) of the token's window: white where a query (row) may attend to a key (column).
function drawMask(chart, steps) {
  const { w, i } = placeOfToken(steps, state.token);
  const N = steps.geometry.M ** 2;
  const cell = 272 / N;
  const context = begin(chart, N * cell + 8, N * cell + 8);
  for (let r = 0; r < N; r++)
    for (let c = 0; c < N; c++) {
      context.fillStyle = mayAttend(steps, w, r, c) ? "#ffffff" : "#000000";
      context.fillRect(4 + c * cell, 4 + r * cell, cell, cell);
    }
  grid(context, 4, 4, N, N, cell, steps.geometry.M, "#888888", 1);
  const tip = (r, c) =>
    say(mayAttend(steps, w, r, c) ? "mask.yes" : "mask.no", {
      query: nameIn(steps, w, r),
      key: nameIn(steps, w, c),
    });
  addCells(chart, { name: "mask", rows: N, cols: N, x: 4, y: 4, cell, tip });
  chart.selected = { r: i, c: 0 };
  outline(chart, context, i, 0, COLOURS[5], 1, N);
}

// A click into a matrix of the window: its row is the query, its column the key.
export function chooseCell(i, j) {
  const steps = blockSteps(compute().run, state.block);
  const token = tokenIn(steps, placeOfToken(steps, state.token).w, i);
  setState({ ...(token && { token }), key: j });
}
