// A block: windows, attention, and what both branches add to the token.

import { begin, chart, h, heat, ink, text } from "../draw.js";
import { blockSteps, state } from "../state.js";
import { card, number, row, say } from "../parts.js";
import { mountWindows } from "./windows.js";
import { mountAttention } from "./attention.js";

export function mountBlock(root) {
  const [windows, attention, sums] = [h("div"), h("div"), h("div")];
  const token = chart(900, 200, say("residual.title"));
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
  const parts = ["x", "branch1", "middle", "branch2", "out", "norm1"].map((name) => [
    name,
    steps[name].data.subarray(at, at + C),
  ]);
  const cellWidth = Math.max(2, Math.floor(680 / C));
  // One scale for all that is added; the LayerNorm, which the attention reads, has its own.
  const shared = Math.max(...parts.slice(0, 5).flatMap(([, values]) => Array.from(values, Math.abs)));
  const context = begin(chart, C * cellWidth + 200, parts.length * 32 + 8);
  parts.forEach(([name, values], r) => {
    text(context, say(`residual.${name}`), 4, 18 + 32 * r, 13, "left", ink());
    const say_ = (_, c) => say("channel.value", { channel: c, value: values[c].toFixed(4) });
    heat(chart, context, {
      name,
      title: say(`residual.${name}`),
      values,
      rows: 1,
      cols: C,
      x: 190,
      y: 6 + 32 * r,
      cell: 24,
      cellWidth,
      signed: true,
      limit: name === "norm1" ? undefined : shared,
      say: say_,
    });
  });
  const length = Object.fromEntries(parts.map(([name, values]) => [name, number(Math.hypot(...values))]));
  words.textContent = say("residual.lengths", length);
}
