// The whole way, left to right: what leaves each step, small; choosing one opens it.

import { VIRIDIS, h, heatColour, pictureCanvas } from "../draw.js";
import { blockSteps, goTo, stepName, stepNames } from "../state.js";
import { say } from "../parts.js";

export function mountWay(root) {
  const buttons = new Map();
  root.replaceChildren(
    ...stepNames().map((name) => {
      const canvas = h("canvas", { class: "thumb", "aria-hidden": "true" });
      const label = h("span", { class: "step-name" });
      const shape = h("span", { class: "step-shape" });
      const button = h(
        "button",
        { type: "button", class: "step", id: `step-${name}`, onclick: () => goTo(name) },
        canvas,
        label,
        shape,
      );
      buttons.set(name, { button, canvas, label, shape });
      return button;
    }),
  );
  return function update({ picture, run }) {
    for (const [name, { button, canvas, label, shape }] of buttons) {
      button.setAttribute("aria-current", name === stepName() ? "step" : "false");
      if (name === stepName()) showInRow(root, button);
      label.textContent = stepTitle(name, run);
      const map = mapAfter(run, name);
      shape.textContent = name === "head" ? `${run.logits.shape[0]}` : map ? map.shape.join(" × ") : "";
      if (map) drawLengths(canvas, map);
      else drawThumb(canvas, pictureCanvas(picture));
    }
  };
}

// Where the row is longer than the window.
function showInRow(row, { offsetLeft, offsetWidth }) {
  const end = offsetLeft + offsetWidth;
  if (offsetLeft < row.scrollLeft || end > row.scrollLeft + row.clientWidth) row.scrollLeft = offsetLeft - 20;
}

export function stepTitle(name, run) {
  const [, step, number] = name.match(/^([a-z]+)(\d*)$/);
  if (step !== "block") return say(`step.${step}`, { number });
  const shifted = blockSteps(run, +number).geometry.shift.some((size) => size > 0);
  return say(shifted ? "step.block.shifted" : "step.block", { number });
}

// The token map that leaves a step, null where there is none.
export function mapAfter(run, name) {
  const [, step, number] = name.match(/^([a-z]+)(\d*)$/);
  if (step === "patches") return run.embed.out;
  if (step === "block") return blockSteps(run, +number).out;
  if (step === "merging") return run.stages[number].merging.out;
  return step === "head" ? run.norm : null;
}

function drawThumb(canvas, source) {
  canvas.width = source.width;
  canvas.height = source.height;
  canvas.getContext("2d").drawImage(source, 0, 0);
}

// Each token as bright as it is long, compared with the others of its map.
function drawLengths(canvas, { shape: [H, W, C], data }) {
  const lengths = Array.from({ length: H * W }, (_, i) => Math.hypot(...data.subarray(i * C, (i + 1) * C)));
  const [low, high] = [Math.min(...lengths), Math.max(...lengths)];
  canvas.width = W;
  canvas.height = H;
  const context = canvas.getContext("2d");
  lengths.forEach((length, i) => {
    context.fillStyle = `rgb(${heatColour((length - low) / (high - low || 1), VIRIDIS)})`;
    context.fillRect(i % W, Math.floor(i / W), 1, 1);
  });
}
