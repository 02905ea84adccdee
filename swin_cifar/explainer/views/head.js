// The last map -> its mean -> one number per class -> probabilities.

import { COLOURS, begin, chart, h, heat, ink, text } from "../draw.js";
import { page, setState } from "../state.js";
import { card, drawTokenPicture, number, row, say, tokenChart } from "../parts.js";

export function mountHead(root) {
  const mean = chart(800, 60, say("head.mean"));
  const bars = chart(620, 300, say("head.bars"), (label) => choose(label));
  const map = tokenChart("head.choose");
  const words = h("p");
  let chosen = -1;
  const choose = (label) => {
    chosen = label;
    setState({});
  };
  root.replaceChildren(
    card("head.title", say("head.text"), row(mean.canvas), row(bars.canvas)),
    card("head.map", words, row(map.canvas)),
  );
  return function update({ picture, run }) {
    const label = chosen >= 0 ? chosen : run.logits.data.indexOf(Math.max(...run.logits.data));
    drawMean(mean, run.mean.data);
    drawBars(bars, run, label);
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

function drawMean(chart, values) {
  const cellWidth = Math.max(2, Math.floor(780 / values.length));
  const context = begin(chart, values.length * cellWidth + 10, 34);
  const say_ = (_, c) => say("channel.value", { channel: c, value: values[c].toFixed(4) });
  heat(chart, context, {
    name: "mean",
    values,
    rows: 1,
    cols: values.length,
    x: 5,
    y: 5,
    cell: 24,
    cellWidth,
    signed: true,
    say: say_,
  });
}

function drawBars(chart, { logits, probabilities }, chosen) {
  const order = Array.from(logits.data.keys())
    .sort((a, b) => logits.data[b] - logits.data[a])
    .slice(0, 10);
  const context = begin(chart, 620, order.length * 28 + 8);
  order.forEach((label, r) => {
    const y = 6 + 28 * r;
    text(context, page.model.classes[label], 4, y + 11, 14, "left", ink());
    context.fillStyle = label === chosen ? COLOURS[5] : COLOURS[0];
    context.fillRect(130, y, 330 * probabilities.data[label], 22);
    const words = `${(100 * probabilities.data[label]).toFixed(1)}%   ${say("logit")} ${number(logits.data[label])}`;
    text(context, words, 138 + 330 * probabilities.data[label], y + 11, 13, "left", ink());
    const say_ = () => `${page.model.classes[label]}: ${words}`;
    chart.heats.push({
      name: label,
      values: [],
      rows: 1,
      cols: 1,
      x: 0,
      y,
      cell: 26,
      cellWidth: 620,
      say: say_,
    });
  });
}
