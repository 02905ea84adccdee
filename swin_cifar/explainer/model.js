// The Swin Transformer once more, for one picture, in the order and with the names of the package:
// windows.py, layers.py, model.py. Every step keeps what it computed, so that a page can show it.
//
// A tensor is {shape, data}: the last axis changes fastest, as in PyTorch. There is no batch axis:
// token maps are (H, W, C), windows (nW, N, C). Masks are booleans in an Uint8Array, 1 = may attend.

export function tensor(shape, data) {
  const length = shape.reduce((product, size) => product * size, 1);
  data ??= new Float32Array(length);
  if (data.length !== length) throw new Error(`${data.length} numbers do not fill ${shape.join(" x ")}`);
  return { shape, data };
}

// --- windows.py -------------------------------------------------------------------------

// (H, W, C) -> (nW, N, C): windows row by row, and row by row the tokens inside each.
export function windowPartition(x, M) {
  const [H, W, C] = x.shape;
  const windows = tensor([(H / M) * (W / M), M * M, C]);
  eachToken(H, W, M, (pixel, token) => {
    windows.data.set(x.data.subarray(pixel * C, (pixel + 1) * C), token * C);
  });
  return windows;
}

// (nW, N, C) -> (H, W, C): the inverse.
export function windowReverse(windows, M, H, W) {
  const C = windows.shape[2];
  const x = tensor([H, W, C]);
  eachToken(H, W, M, (pixel, token) => {
    x.data.set(windows.data.subarray(token * C, (token + 1) * C), pixel * C);
  });
  return x;
}

// Calls visit(place in the map, place in the windows) for each token.
function eachToken(H, W, M, visit) {
  let token = 0;
  for (let top = 0; top < H; top += M)
    for (let left = 0; left < W; left += M)
      for (let y = top; y < top + M; y++) for (let x = left; x < left + M; x++) visit(y * W + x, token++);
}

// M -> N·N numbers: which row of a bias table learned for windows of `trained` serves query i and key j,
// at [i * N + j]. Offsets larger than any of the training take the nearest one that the table knows.
export function relativePositionIndex(M, trained = M) {
  const N = M * M;
  const index = new Int32Array(N * N);
  for (let i = 0; i < N; i++)
    for (let j = 0; j < N; j++) {
      const [dy, dx] = offsetBetween(i, j, M).map((offset) => nearestOffset(offset, trained) + trained - 1);
      index[i * N + j] = dy * (2 * trained - 1) + dx;
    }
  return index;
}

// Places i and j of a window -> (dy, dx): the position of i minus that of j.
export const offsetBetween = (i, j, M) => [Math.floor(i / M) - Math.floor(j / M), (i % M) - (j % M)];

export const nearestOffset = (offset, M) => Math.min(Math.max(offset, 1 - M), M - 1);

export const paddedSize = (H, W, M) => [Math.ceil(H / M) * M, Math.ceil(W / M) * M];

// None along an axis that one window covers.
const shiftPerAxis = (H, W, M, shift) => [H > M ? shift : 0, W > M ? shift : 0];

// -> labels (Hp, Wp) of the rolled map: 0 in place, 1 wrapped to the side, 2 below, 3 both, -1 padding.
export function shiftedWindowLabels(H, W, M, shift) {
  const [Hp, Wp] = paddedSize(H, W, M);
  const [shiftH, shiftW] = shiftPerAxis(H, W, M, shift);
  const rows = axisLabels(H, Hp, shiftH);
  const cols = axisLabels(W, Wp, shiftW);
  const labels = tensor([Hp, Wp, 1], new Int8Array(Hp * Wp));
  for (let y = 0; y < Hp; y++)
    for (let x = 0; x < Wp; x++) {
      labels.data[y * Wp + x] = rows[y] < 0 || cols[x] < 0 ? -1 : 2 * rows[y] + cols[x];
    }
  return labels;
}

function axisLabels(size, padded, shift) {
  return Array.from({ length: padded }, (_, i) => {
    const position = (i + shift) % padded; // what the roll brought here
    return position >= size ? -1 : position < shift ? 1 : 0;
  });
}

// -> (nW, N, N) booleans: tokens of a window attend to those with their own label.
export function shiftedWindowMask(H, W, M, shift) {
  const labels = windowPartition(shiftedWindowLabels(H, W, M, shift), M);
  const [nW, N] = labels.shape;
  const mask = tensor([nW, N, N], new Uint8Array(nW * N * N));
  for (let w = 0; w < nW; w++)
    for (let i = 0; i < N; i++)
      for (let j = 0; j < N; j++) {
        mask.data[(w * N + i) * N + j] = labels.data[w * N + i] === labels.data[w * N + j];
      }
  return mask;
}

// --- layers.py --------------------------------------------------------------------------

// (..., C) -> (..., C'): each token times the weight (C', C), plus the bias.
export function linear(x, { weight, bias }) {
  const [out, C] = weight.shape;
  const y = tensor([...x.shape.slice(0, -1), out]);
  const [numbers, factors] = [x.data, weight.data];
  for (let token = 0, place = 0; token < numbers.length; token += C)
    for (let o = 0, row = 0; o < out; o++, row += C) {
      // Four sums side by side: a processor need not wait for one addition to begin the next.
      let [a, b, c, d] = [bias ? bias.data[o] : 0, 0, 0, 0];
      let i = 0;
      for (; i + 3 < C; i += 4) {
        a += numbers[token + i] * factors[row + i];
        b += numbers[token + i + 1] * factors[row + i + 1];
        c += numbers[token + i + 2] * factors[row + i + 2];
        d += numbers[token + i + 3] * factors[row + i + 3];
      }
      for (; i < C; i++) a += numbers[token + i] * factors[row + i];
      y.data[place++] = a + b + (c + d);
    }
  return y;
}

// (..., C) -> (..., C): each token gets mean 0 and variance 1, then a scale and an offset per channel.
export function layerNorm(x, { weight, bias }) {
  const C = weight.shape[0];
  const y = tensor(x.shape);
  for (let start = 0; start < x.data.length; start += C) {
    let mean = 0;
    let variance = 0;
    for (let c = 0; c < C; c++) mean += x.data[start + c] / C;
    for (let c = 0; c < C; c++) variance += (x.data[start + c] - mean) ** 2 / C;
    const scale = 1 / Math.sqrt(variance + 1e-5);
    for (let c = 0; c < C; c++) {
      y.data[start + c] = (x.data[start + c] - mean) * scale * weight.data[c] + bias.data[c];
    }
  }
  return y;
}

// Right and below, with zeros.
function pad(x, Hp, Wp) {
  const [H, W, C] = x.shape;
  if (Hp === H && Wp === W) return x;
  const padded = tensor([Hp, Wp, C]);
  for (let y = 0; y < H; y++) padded.data.set(x.data.subarray(y * W * C, (y + 1) * W * C), y * Wp * C);
  return padded;
}

// What leaves the map at the top comes back below, what leaves it on the left comes back on the right.
export function roll(x, up, left) {
  const [H, W, C] = x.shape;
  const rolled = tensor(x.shape);
  const wrap = (i, size) => ((i % size) + size) % size;
  for (let y = 0; y < H; y++)
    for (let i = 0; i < W; i++) {
      const from = (wrap(y + up, H) * W + wrap(i + left, W)) * C;
      rolled.data.set(x.data.subarray(from, from + C), (y * W + i) * C);
    }
  return rolled;
}

// Picture (3, h, w), normalised -> {patches (H, W, 3·P·P), proj, out (H, W, C)}
export function patchEmbed(image, { proj, norm }) {
  const [C, channels, P] = proj.weight.shape;
  const [, h, w] = image.shape;
  const [H, W] = [Math.ceil(h / P), Math.ceil(w / P)];
  const patches = tensor([H, W, channels * P * P]);
  let place = 0;
  for (let Y = 0; Y < H; Y++)
    for (let X = 0; X < W; X++)
      for (let c = 0; c < channels; c++)
        for (let y = Y * P; y < (Y + 1) * P; y++)
          for (let x = X * P; x < (X + 1) * P; x++) {
            patches.data[place++] = y < h && x < w ? image.data[(c * h + y) * w + x] : 0;
          }
  const filters = tensor([C, channels * P * P], proj.weight.data);
  const projected = linear(patches, { weight: filters, bias: proj.bias });
  return { patches, proj: projected, out: layerNorm(projected, norm) };
}

// (H, W, C) -> {gathered (H/2, W/2, 4C), norm, out (H/2, W/2, 2C)}
export function patchMerging(x, { norm, reduction }) {
  const [H, W, C] = x.shape;
  const [Hp, Wp] = paddedSize(H, W, 2);
  const padded = pad(x, Hp, Wp);
  const gathered = tensor([Hp / 2, Wp / 2, 4 * C]);
  let place = 0;
  for (let y = 0; y < Hp; y += 2)
    for (let i = 0; i < Wp; i += 2)
      // Top-left, bottom-left, top-right, bottom-right: the order of the published weights.
      for (const [dy, dx] of [
        [0, 0],
        [1, 0],
        [0, 1],
        [1, 1],
      ]) {
        const from = ((y + dy) * Wp + i + dx) * C;
        gathered.data.set(padded.data.subarray(from, from + C), place);
        place += C;
      }
  const normed = layerNorm(gathered, norm);
  return { gathered, norm: normed, out: linear(normed, { weight: reduction.weight }) };
}

// The bias table ((2M-1)², heads) read out for each query and key -> (heads, N, N).
export function relativePositionBias(table, M, trained) {
  const heads = table.shape[1];
  const N = M * M;
  const bias = tensor([heads, N, N]);
  relativePositionIndex(M, trained).forEach((row, pair) => {
    for (let h = 0; h < heads; h++) bias.data[h * N * N + pair] = table.data[row * heads + h];
  });
  return bias;
}

// Windows (nW, N, C), mask (nW, N, N) or null -> every number of softmax(q kᵀ / sqrt(d) + bias) v:
// {q, k, v (nW, heads, N, d), scores, bias, attn (nW, heads, N, N), mix (nW, N, C), out (nW, N, C)}
// `trained`: the side M of the windows that the table was learned for. `change`: see swinTransformerBlock.
export function windowAttention(windows, mask, { qkv, proj, table }, heads, trained, change) {
  const [nW, N, C] = windows.shape;
  const d = C / heads;
  const M = Math.sqrt(N);
  const all = linear(windows, qkv); // (nW, N, 3C)
  const [q, k, v] = [0, 1, 2].map((part) => {
    const one = tensor([nW, heads, N, d]);
    for (let w = 0; w < nW; w++)
      for (let h = 0; h < heads; h++)
        for (let i = 0; i < N; i++) {
          const from = (w * N + i) * 3 * C + part * C + h * d;
          one.data.set(all.data.subarray(from, from + d), ((w * heads + h) * N + i) * d);
        }
    return one;
  });
  const bias = relativePositionBias(table, M, trained);
  if (change.bias === "off") bias.data.fill(0);
  const scores = tensor([nW, heads, N, N]);
  const attn = tensor([nW, heads, N, N]);
  const mix = tensor([nW, N, C]);
  const row = new Float64Array(N);
  for (let w = 0; w < nW; w++)
    for (let h = 0; h < heads; h++)
      for (let i = 0; i < N; i++) {
        const start = ((w * heads + h) * N + i) * N;
        for (let j = 0; j < N; j++) {
          let sum = 0;
          const [a, b] = [((w * heads + h) * N + i) * d, ((w * heads + h) * N + j) * d];
          for (let c = 0; c < d; c++) sum += q.data[a + c] * k.data[b + c];
          scores.data[start + j] = change.content === "off" ? 0 : sum / Math.sqrt(d);
          row[j] = scores.data[start + j] + bias.data[(h * N + i) * N + j];
          if (mask && !mask.data[(w * N + i) * N + j]) row[j] = -Infinity;
        }
        const largest = Math.max(...row);
        let total = 0;
        for (let j = 0; j < N; j++) total += row[j] = Math.exp(row[j] - largest);
        for (let j = 0; j < N; j++) attn.data[start + j] = row[j] / total;
        if (change.headOff === h) continue; // its part of the mix stays 0
        for (let c = 0; c < d; c++) {
          let sum = 0;
          for (let j = 0; j < N; j++) sum += attn.data[start + j] * v.data[((w * heads + h) * N + j) * d + c];
          mix.data[(w * N + i) * C + h * d + c] = sum;
        }
      }
  return { q, k, v, scores, bias, attn, mix, out: linear(mix, proj) };
}

// (H, W, C) -> (H, W, C): two linear layers with a GELU between.
export function mlp(x, { fc1, fc2 }) {
  const hidden = linear(x, fc1);
  for (let i = 0; i < hidden.data.length; i++) hidden.data[i] = gelu(hidden.data[i]);
  return { hidden, out: linear(hidden, fc2) };
}

export const gelu = (x) => (x * (1 + erf(x / Math.SQRT2))) / 2;

// (Abramowitz and Stegun 1964, formula 7.1.26: an error of at most 1.5e-7.)
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum =
    t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}

// --- model.py ---------------------------------------------------------------------------

// (H, W, C) -> every step of a block, `out` (H, W, C) at last. `change`: what is done wrongly on
// purpose: {shift: "off", mask: "off" | "flipped", bias: "off", content: "off", headOff: number,
// replaced: [y, x], windowSize: number}, each left out where nothing is changed.
export function swinTransformerBlock(x, weights, { heads, windowSize, shiftSize }, change = {}) {
  if (change.replaced) x = withMeanToken(x, change.replaced);
  const [H, W] = x.shape;
  const M = change.windowSize ?? windowSize;
  const shift = change.shift === "off" || shiftSize === 0 ? 0 : Math.floor(M / 2);
  const norm1 = layerNorm(x, weights.norm1);
  const { padded, rolled, windows, mask } = toWindows(norm1, M, shift, change.mask);
  const attention = windowAttention(windows, mask, weights.attn, heads, windowSize, change);
  const branch1 = fromWindows(attention.out, M, shift, H, W);
  const middle = add(x, branch1);
  const norm2 = layerNorm(middle, weights.norm2);
  const { hidden, out: branch2 } = mlp(norm2, weights.mlp);
  const out = add(middle, branch2);
  const geometry = { M, shift: shiftPerAxis(H, W, M, shift), shiftSize: shift };
  return {
    x,
    norm1,
    padded,
    rolled,
    windows,
    mask,
    attention,
    branch1,
    middle,
    norm2,
    hidden,
    branch2,
    out,
    geometry,
    replaced: change.replaced,
  };
}

// (H, W, C) -> {padded, rolled (Hp, Wp, C), windows (nW, N, C), mask (nW, N, N) or null where all may attend}
export function toWindows(x, M, shift, maskChange) {
  const [H, W] = x.shape;
  const padded = pad(x, ...paddedSize(H, W, M));
  const [up, left] = shiftPerAxis(H, W, M, shift);
  const rolled = roll(padded, up, left);
  const needed = padded !== x || up > 0 || left > 0;
  const mask = needed && maskChange !== "off" ? shiftedWindowMask(H, W, M, shift) : null;
  if (mask && maskChange === "flipped") flip(mask);
  return { padded, rolled, windows: windowPartition(rolled, M), mask };
}

// (nW, N, C) -> (H, W, C): `toWindows` undone.
export function fromWindows(windows, M, shift, H, W) {
  const [Hp, Wp] = paddedSize(H, W, M);
  const [up, left] = shiftPerAxis(H, W, M, shift);
  return crop(roll(windowReverse(windows, M, Hp, Wp), -up, -left), H, W);
}

function crop(x, H, W) {
  const [, Wp, C] = x.shape;
  const cropped = tensor([H, W, C]);
  for (let y = 0; y < H; y++) cropped.data.set(x.data.subarray(y * Wp * C, (y * Wp + W) * C), y * W * C);
  return cropped;
}

// +100 where -100 was meant: a query with forbidden keys attends to nothing but them.
function flip(mask) {
  const N = mask.shape[2];
  for (let start = 0; start < mask.data.length; start += N) {
    const row = mask.data.subarray(start, start + N);
    if (row.includes(0)) row.forEach((allowed, j) => (row[j] = 1 - allowed));
  }
}

function add(a, b) {
  return tensor(
    a.shape,
    a.data.map((value, i) => value + b.data[i]),
  );
}

// The map in which one token is the mean of all: it says nothing of its own any more.
function withMeanToken(x, [atY, atX]) {
  const [H, W, C] = x.shape;
  const changed = tensor(x.shape, x.data.slice());
  for (let c = 0; c < C; c++) {
    let mean = 0;
    for (let token = 0; token < H * W; token++) mean += x.data[token * C + c] / (H * W);
    changed.data[(atY * W + atX) * C + c] = mean;
  }
  return changed;
}

// The token that place j of window w holds -> [y, x], null for padding.
export function tokenIn(steps, w, j) {
  const [H, W] = steps.x.shape;
  const { M, shift } = steps.geometry;
  const [Hp, Wp] = paddedSize(H, W, M);
  const across = Wp / M;
  const y = (Math.floor(w / across) * M + Math.floor(j / M) + shift[0]) % Hp;
  const x = ((w % across) * M + (j % M) + shift[1]) % Wp;
  return y < H && x < W ? [y, x] : null;
}

// Token [y, x] -> {w, i}: its window and its place in it.
export function placeOfToken(steps, token) {
  const { M, shift } = steps.geometry;
  const padded = paddedSize(...steps.x.shape.slice(0, 2), M);
  const [y, x] = [0, 1].map((axis) => (token[axis] - shift[axis] + padded[axis]) % padded[axis]);
  return { w: Math.floor(y / M) * (padded[1] / M) + Math.floor(x / M), i: (y % M) * M + (x % M) };
}

// Whether place i of window w may attend to place j, by a mask (nW, N, N) or without one.
export const mayAttend = ({ mask, geometry }, w, i, j) =>
  !mask || mask.data[(w * geometry.M ** 2 + i) * geometry.M ** 2 + j] === 1;

// Picture (3, h, w) in [0, 1] -> every step: {image (normalised), embed, stages: [{merging, blocks}],
// norm (H, W, C), mean (C), logits, probabilities (classes)}. `changes`: {all, of: {block: change}}
// as in swinTransformerBlock; blocks are counted through the model, from 0.
export function swinTransformer(picture, model, changes = {}) {
  const { config, weights } = model;
  const image = normalize(picture, model.mean, model.std);
  const embed = patchEmbed(image, weights.patchEmbed);
  let x = embed.out;
  let number = 0;
  const stages = weights.stages.map((stage, s) => {
    const merging = stage.downsample ? patchMerging(x, stage.downsample) : null;
    x = merging ? merging.out : x;
    const blocks = stage.blocks.map((block, i) => {
      const shiftSize = (i % 2) * Math.floor(config.windowSize / 2);
      const sizes = { heads: config.numHeads[s], windowSize: config.windowSize, shiftSize };
      const steps = swinTransformerBlock(x, block, sizes, { ...changes.all, ...changes.of?.[number++] });
      x = steps.out;
      return steps;
    });
    return { merging, blocks };
  });
  const norm = layerNorm(x, weights.norm);
  const [H, W, C] = norm.shape;
  const mean = tensor([C]);
  for (let i = 0; i < norm.data.length; i++) mean.data[i % C] += norm.data[i] / (H * W);
  const logits = linear(mean, weights.head);
  return { image, embed, stages, norm, mean, logits, probabilities: softmax(logits) };
}

// (3, h, w) in [0, 1] -> (3, h, w): minus the mean, through the deviation of each channel.
export function normalize(picture, mean, std) {
  const [, h, w] = picture.shape;
  const channel = (i) => Math.floor(i / (h * w));
  return tensor(
    picture.shape,
    picture.data.map((value, i) => (value - mean[channel(i)]) / std[channel(i)]),
  );
}

export function softmax(logits) {
  const largest = Math.max(...logits.data);
  const values = Array.from(logits.data, (value) => Math.exp(value - largest));
  const total = values.reduce((a, b) => a + b);
  return tensor(
    logits.shape,
    Float32Array.from(values, (value) => value / total),
  );
}

// --- weights ----------------------------------------------------------------------------

// {name: {shape, data}} as in a state dict -> the weights in rooms, as the functions above take them.
export function arrange(state, config) {
  const layer = (name) => ({ weight: state[`${name}.weight`], bias: state[`${name}.bias`] });
  const block = (name) => ({
    norm1: layer(`${name}.norm1`),
    attn: {
      qkv: layer(`${name}.attn.qkv`),
      proj: layer(`${name}.attn.proj`),
      table: state[`${name}.attn.relative_position_bias_table`],
    },
    norm2: layer(`${name}.norm2`),
    mlp: { fc1: layer(`${name}.mlp.fc1`), fc2: layer(`${name}.mlp.fc2`) },
  });
  return {
    patchEmbed: { proj: layer("patch_embed.proj"), norm: layer("patch_embed.norm") },
    stages: config.depths.map((depth, s) => ({
      downsample: s > 0 && {
        norm: layer(`stages.${s}.downsample.norm`),
        reduction: layer(`stages.${s}.downsample.reduction`),
      },
      blocks: Array.from({ length: depth }, (_, i) => block(`stages.${s}.blocks.${i}`)),
    })),
    norm: layer("norm"),
    head: layer("head"),
  };
}
