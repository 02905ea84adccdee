// Patch merging: four neighbours become one token, half the side, twice the channels.

import { begin, chart, h, heat, ink, text } from "../draw.js";
import { page, state } from "../state.js";
import { card, drawTokenPicture, row, say, tokenChart } from "../parts.js";

export function mountMerging(root) {
  const map = tokenChart("merging.choose");
  const strips = chart(900, 260, say("merging.strips"));
  const words = h("p");
  root.replaceChildren(card("merging.title", words, row(map.canvas, strips.canvas)));
  return function update({ picture, run }) {
    const { gathered, norm, out } = run.stages[state.merging].merging;
    const [H, W, C2] = out.shape;
    const C = C2 / 2;
    const unit = page.model.config.patchSize * 2 ** state.merging;
    words.textContent = say("merging.text", { C, fourC: 4 * C, C2, H, W });
    drawTokenPicture(map, picture, { H, W, unit, quarters: true });
    const at = state.token[0] * W + state.token[1];
    const four = gathered.data.subarray(at * 4 * C, (at + 1) * 4 * C);
    const rows = [0, 1, 2, 3].map((i) => [say(`merging.part.${i}`), four.subarray(i * C, (i + 1) * C)]);
    rows.push([say("merging.norm", { fourC: 4 * C }), norm.data.subarray(at * 4 * C, (at + 1) * 4 * C)]);
    rows.push([say("merging.out", { C2 }), out.data.subarray(at * C2, (at + 1) * C2)]);
    const context = begin(strips, 590, rows.length * 36 + 8);
    rows.forEach(([label, values], r) => {
      text(context, label, 4, 18 + 36 * r, 13, "left", ink());
      const cellWidth = 440 / Math.max(values.length, C);
      const say_ = (_, c) => say("channel.value", { channel: c, value: values[c].toFixed(4) });
      heat(strips, context, {
        name: label,
        title: label,
        values,
        rows: 1,
        cols: values.length,
        x: 145,
        y: 6 + 36 * r,
        cell: 26,
        cellWidth,
        signed: true,
        say: say_,
      });
    });
  };
}
