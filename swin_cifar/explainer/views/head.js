// The last map -> its mean -> one number per class -> probabilities.

import { COLOURS, addCells, begin, chart, h, ink, roomFor, text } from "../draw.js";
import { page, setState, state } from "../state.js";
import { card, drawStrips, drawTokenPicture, number, row, say, tokenChart } from "../parts.js";

const BARS = 10;

export function mountHead(root) {
  const mean = chart(say("head.mean"));
  const bars = chart(say("head.bars"), (label) => setState({ label }));
  const map = tokenChart("head.choose");
  const words = h("p");
  root.replaceChildren(
    card("head.title", say("head.text"), row(mean.canvas), row(bars.canvas)),
    card("head.map", words, row(map.canvas)),
  );
  return function update({ picture, run }) {
    const order = Array.from(run.logits.data.keys()).sort((a, b) => run.logits.data[b] - run.logits.data[a]);
    const label = state.label >= 0 ? state.label : order[0];
    drawStrips(mean, [{ name: "mean", words: say("head.mean"), values: run.mean.data }], 110);
    drawBars(bars, run, order, label);
    const [H, W, C] = run.norm.shape;
    const { weight, bias } = page.model.weights.head;
    const parts = Array.from({ length: H * W }, (_, token) => {
      let sum = 0;
      for (let c = 0; c < C; c++) sum += run.norm.data[token * C + c] * weight.data[label * C + c];
      return sum;
    });
    const values = new Map(parts.map((value, token) => [String([Math.floor(token / W), token % W]), value]));
    const unit = page.model.config.patchSize * 2 ** (page.model.config.depths.length - 1);
    drawTokenPicture(map, picture, { H, W, unit, signed: values });
    words.textContent = say("head.map.text", {
      name: page.model.classes[label],
      mean: number(parts.reduce((a, b) => a + b, 0) / (H * W)),
      bias: number(bias.data[label]),
      logit: number(run.logits.data[label]),
    });
  };
}

// The likeliest classes, and the chosen one where it is not among them.
function drawBars(chart, { logits, probabilities }, order, chosen) {
  const shown = order.slice(0, BARS);
  if (!shown.includes(chosen)) shown.push(chosen);
  const room = roomFor(chart, 700);
  const names = Math.min(200, 0.3 * room);
  const longest = room - names - 150; // behind the bar stand its numbers
  const context = begin(chart, room, shown.length * 28 + 8);
  shown.forEach((label, r) => {
    const y = 6 + 28 * r;
    const length = longest * probabilities.data[label];
    text(context, page.model.classes[label], 4, y + 11, 14, "left", ink(), names - 10);
    context.fillStyle = label === chosen ? COLOURS[5] : COLOURS[0];
    context.fillRect(names, y, length, 22);
    const words = `${(100 * probabilities.data[label]).toFixed(1)}%   ${say("logit")} ${number(logits.data[label])}`;
    text(context, words, names + 8 + length, y + 11, 13, "left", ink());
    const tip = () => `${page.model.classes[label]}: ${words}`;
    addCells(chart, { name: label, rows: 1, cols: 1, x: 0, y, cell: 26, cellWidth: room, tip });
  });
}
