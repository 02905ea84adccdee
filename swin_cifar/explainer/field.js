// What reaches a token: sets of tokens, followed backwards through blocks and mergings.

import { mayAttend, tokenIn } from "./model.js";

// `steps` as swinTransformer returns them -> for each block up to `last`, from the last to the first,
// the set of its input's tokens (H, W; 1 = reaches) that can change output token [y, x] of block `last`.
export function reachBackwards(stages, last, [y, x]) {
  const blocks = stages.flatMap((stage, s) => stage.blocks.map((steps, i) => ({ steps, s, i })));
  const [H, W] = blocks[last].steps.out.shape;
  let set = new Uint8Array(H * W);
  set[y * W + x] = 1;
  const found = [];
  for (let number = last; number >= 0; number--) {
    const { steps, s, i } = blocks[number];
    set = throughBlock(steps, set);
    found.push({ block: number, shape: steps.x.shape.slice(0, 2), set });
    if (i === 0 && stages[s].merging)
      set = throughMerging(blocks[number - 1].steps.out.shape, set, steps.x.shape);
  }
  return found;
}

// A token is reached by the keys that its query may attend to, and by itself; a token replaced by the
// mean of all, by all. (geometry: see swinTransformerBlock.)
function throughBlock(steps, set) {
  const { x, windows, replaced } = steps;
  const [, W] = x.shape;
  const [nW, N] = windows.shape;
  const before = set.slice();
  for (let w = 0; w < nW; w++) {
    const places = Array.from({ length: N }, (_, j) => tokenIn(steps, w, j)).map(
      (token) => token && token[0] * W + token[1],
    );
    places.forEach((query, i) => {
      if (query === null || !set[query]) return;
      places.forEach((key, j) => {
        if (key !== null && mayAttend(steps, w, i, j)) before[key] = 1;
      });
    });
  }
  if (replaced && before[replaced[0] * W + replaced[1]]) before.fill(1);
  return before;
}

function throughMerging([H, W], set, [, narrow]) {
  const before = new Uint8Array(H * W);
  for (let y = 0; y < H; y++)
    for (let x = 0; x < W; x++) before[y * W + x] = set[(y >> 1) * narrow + (x >> 1)];
  return before;
}
