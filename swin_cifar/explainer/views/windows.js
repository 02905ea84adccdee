// Windows on the picture: padded, rolled (as far as the slider says), cut, labelled, masked.

import { paddedSize, placeOfToken, shiftedWindowLabels, tokenIn } from "../model.js";
import { COLOURS, REGION_COLOURS, begin, chart, frame, grid, h, outline, pictureCanvas } from "../draw.js";
import { blockSteps, compute, placeOfBlock, setState, state } from "../state.js";
import { card, drawTokenPicture, figure, row, say, slider, tokenChart } from "../parts.js";

export function mountWindows(root) {
  const map = tokenChart("windows.choose");
  const rolled = chart(280, 280, say("windows.rolled"), chooseRolled);
  const mask = chart(280, 280, say("windows.mask"), (_, i, j) => chooseCell(i, j));
  const roll = slider("roll", 0, 100, (value) => setState({ roll: value / 100 }));
  const play = h("button", { type: "button", id: "play", onclick: playRoll }, say("windows.play"));
  const words = h("p");
  const rollBox = h("div", { class: "controls" }, roll.element, play);
  root.replaceChildren(
    card(
      "windows.title",
      words,
      row(
        figure(map.canvas, say("windows.map.caption")),
        figure(rolled.canvas, say("windows.rolled.caption"), rollBox),
        figure(mask.canvas, say("windows.mask.caption")),
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
  const parts = [];
  if (Math.max(...shift) > 0) {
    parts.push(
      "windows.text.shifted",
      state.mask === "on" ? "windows.mask.on" : `windows.mask.${state.mask}`,
    );
  } else parts.push(values.windows === 1 ? "windows.text.one" : "windows.text");
  if (shiftSize && Math.max(...shift) === 0) parts.push("windows.covered");
  if (Hp > H || Wp > W) parts.push("windows.padded");
  return parts.map((key) => say(key, values)).join(" ");
}

let playing = 0; // the frame that is asked for
function playRoll() {
  cancelAnimationFrame(playing);
  const start = performance.now();
  const next = (now) => {
    const share = Math.min(Math.max(now - start, 0) / 1500, 1);
    setState({ roll: share });
    if (share < 1) playing = requestAnimationFrame(next);
  };
  playing = requestAnimationFrame(next);
}

// A click on the rolled map: the token that lies there now.
function chooseRolled(_, y, x) {
  const steps = blockSteps(compute().run, state.block);
  const { M } = steps.geometry;
  const across = steps.rolled.shape[1] / M;
  const token = tokenIn(steps, Math.floor(y / M) * across + Math.floor(x / M), (y % M) * M + (x % M));
  if (token) setState({ token });
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
  if (state.roll === 1) {
    const labels = shiftedWindowLabels(steps.x.shape[0], steps.x.shape[1], M, shiftSize);
    labels.data.forEach((label, i) => {
      context.fillStyle = label < 0 ? "rgba(90,90,90,.6)" : REGION_COLOURS[label];
      context.fillRect(4 + (i % Wp) * cell, 4 + Math.floor(i / Wp) * cell, cell, cell);
    });
    const { w, i } = placeOfToken(steps, state.token);
    const [top, left] = [Math.floor(w / (Wp / M)) * M, (w % (Wp / M)) * M];
    frame(context, 4, 4, cell, top, left, COLOURS[5], 4, M, M);
    frame(context, 4, 4, cell, top + Math.floor(i / M), left + (i % M), COLOURS[5], 3);
    const say_ = (r, c) => say(`label.${labels.data[r * Wp + c]}`);
    chart.heats.push({
      name: "labels",
      values: labels.data,
      rows: Hp,
      cols: Wp,
      x: 4,
      y: 4,
      cell,
      cellWidth: cell,
      say: say_,
    });
  }
  grid(context, 4, 4, Hp, Wp, cell, M, "#000000", 3);
  grid(context, 4, 4, Hp, Wp, cell, M, "#ffffff", 1);
}

// (N, N) of the token's window: white where a query (row) may attend to a key (column).
function drawMask(chart, steps) {
  const { w, i } = placeOfToken(steps, state.token);
  const N = steps.geometry.M ** 2;
  const cell = 272 / N;
  const context = begin(chart, N * cell + 8, N * cell + 8);
  const allowed = (r, c) => !steps.mask || steps.mask.data[(w * N + r) * N + c] === 1;
  for (let r = 0; r < N; r++)
    for (let c = 0; c < N; c++) {
      context.fillStyle = allowed(r, c) ? "#ffffff" : "#000000";
      context.fillRect(4 + c * cell, 4 + r * cell, cell, cell);
    }
  grid(context, 4, 4, N, N, cell, steps.geometry.M, "#888888", 1);
  const words = (r, c) => say(allowed(r, c) ? "mask.yes" : "mask.no", { query: r, key: c });
  chart.heats.push({
    name: "mask",
    values: [],
    rows: N,
    cols: N,
    x: 4,
    y: 4,
    cell,
    cellWidth: cell,
    say: words,
  });
  outline(chart, context, i, 0, COLOURS[5], 1, N);
}

// A click into a matrix of the window: its row is the query, its column the key.
export function chooseCell(i, j) {
  const steps = blockSteps(compute().run, state.block);
  const token = tokenIn(steps, placeOfToken(steps, state.token).w, i);
  setState({ ...(token && { token }), key: j });
}
