// A block: windows, attention, and what both branches add to the token.

import { chart, h } from "../draw.js";
import { blockSteps, state } from "../state.js";
import { card, drawStrips, number, row, say } from "../parts.js";
import { mountWindows } from "./windows.js";
import { mountAttention } from "./attention.js";

export function mountBlock(root) {
  const [windows, attention, sums] = [h("div"), h("div"), h("div")];
  const token = chart(say("residual.title"));
  const lengths = h("p", { class: "sum" });
  root.replaceChildren(windows, attention, sums);
  sums.append(card("residual.title", say("residual.text"), row(token.canvas), lengths));
  const updates = [mountWindows(windows), mountAttention(attention)];
  return function update(seen) {
    updates.forEach((update) => update(seen));
    const steps = blockSteps(seen.run, state.block);
    drawResidual(token, steps, lengths);
  };
}

// x + attention = middle; middle + MLP = out: a strip of all channels each.
function drawResidual(chart, steps, words) {
  const [, W, C] = steps.x.shape;
  const at = (state.token[0] * W + state.token[1]) * C;
  const names = ["x", "branch1", "middle", "branch2", "out", "norm1"];
  const parts = names.map((name) => [name, steps[name].data.subarray(at, at + C)]);
  // One scale for all that is added; the LayerNorm, which the attention reads, has its own.
  const shared = Math.max(...parts.slice(0, 5).flatMap(([, values]) => Array.from(values, Math.abs)));
  const strips = parts.map(([name, values]) => {
    return { name, words: say(`residual.${name}`), values, limit: name === "norm1" ? undefined : shared };
  });
  drawStrips(chart, strips, 190);
  const length = Object.fromEntries(parts.map(([name, values]) => [name, number(Math.hypot(...values))]));
  words.textContent = say("residual.lengths", length);
}
