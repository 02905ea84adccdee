// Patch merging: four neighbours become one token, half the side, twice the channels.

import { chart, h } from "../draw.js";
import { page, state } from "../state.js";
import { card, drawStrips, drawTokenPicture, row, say, tokenChart } from "../parts.js";

export function mountMerging(root) {
  const map = tokenChart("merging.choose");
  const strips = chart(say("merging.strips"));
  const words = h("p");
  root.replaceChildren(card("merging.title", words, row(map.canvas), row(strips.canvas)));
  return function update({ picture, run }) {
    const { gathered, norm, out } = run.stages[state.merging].merging;
    const [H, W, C2] = out.shape;
    const C = C2 / 2;
    const unit = page.model.config.patchSize * 2 ** state.merging;
    words.textContent = say("merging.text", { C, fourC: 4 * C, C2, H, W });
    drawTokenPicture(map, picture, { H, W, unit, quarters: true });
    const at = state.token[0] * W + state.token[1];
    const four = gathered.data.subarray(at * 4 * C, (at + 1) * 4 * C);
    const strip = (words, values) => ({ name: words, words, values });
    drawStrips(
      strips,
      [
        ...[0, 1, 2, 3].map((i) => strip(say(`merging.part.${i}`), four.subarray(i * C, (i + 1) * C))),
        strip(say("merging.norm", { fourC: 4 * C }), norm.data.subarray(at * 4 * C, (at + 1) * 4 * C)),
        strip(say("merging.out", { C2 }), out.data.subarray(at * C2, (at + 1) * C2)),
      ],
      170,
    );
  };
}
