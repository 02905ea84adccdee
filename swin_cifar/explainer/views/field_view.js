// The receptive field: the pixels that can reach a token, growing block by block.

import { reachBackwards } from "../field.js";
import { COLOURS, begin, h } from "../draw.js";
import { blockSteps, countBlocks, page, placeOfBlock, setState, state } from "../state.js";
import { card, drawTokenPicture, figure, row, say, slider, tokenChart } from "../parts.js";

export function mountField(root) {
  const map = tokenChart("field.choose");
  const maps = h("div", { class: "row" });
  const block = slider("field.block", 0, countBlocks() - 1, (value) => setState({ block: value }));
  const words = h("p", { class: "sum" });
  root.replaceChildren(
    card("field.title", say("field.text"), block.element, row(map.canvas, h("div", {}, words, maps))),
  );
  return function update({ picture, run }) {
    block.show(state.block);
    const { unit } = placeOfBlock(state.block);
    const found = reachBackwards(run.stages, state.block, state.token);
    const pixels = pixelsOf(found.at(-1), picture);
    const [, height, width] = picture.shape;
    const [H, W] = blockSteps(run, state.block).out.shape;
    drawTokenPicture(map, picture, { H, W, unit, pixels });
    const count = pixels.reduce((sum, inside) => sum + inside, 0);
    words.textContent = say("field.pixels", {
      count,
      all: height * width,
      share: `${((100 * count) / (height * width)).toFixed(0)}%`,
    });
    maps.replaceChildren(...found.map((one) => fieldThumb(one)));
  };
}

// The tokens before the first block -> the pixels of their patches.
function pixelsOf({ shape: [, W], set }, picture) {
  const [, height, width] = picture.shape;
  const P = page.model.config.patchSize;
  return Uint8Array.from(
    { length: height * width },
    (_, i) => set[Math.floor(Math.floor(i / width) / P) * W + Math.floor((i % width) / P)],
  );
}

function fieldThumb({ block, shape: [H, W], set }) {
  const canvas = h("canvas", { role: "img", "aria-label": say("field.before", { block }) });
  const cell = Math.floor(120 / Math.max(H, W));
  const context = begin({ canvas }, W * cell + 8, H * cell + 8);
  for (let i = 0; i < H * W; i++) {
    context.fillStyle = set[i] ? COLOURS[5] : "#dddddd";
    context.fillRect(4 + (i % W) * cell, 4 + Math.floor(i / W) * cell, cell - 1, cell - 1);
  }
  const count = set.reduce((sum, inside) => sum + inside, 0);
  return figure(canvas, say("field.caption", { block, count, all: H * W }));
}
