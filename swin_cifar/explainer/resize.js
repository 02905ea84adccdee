// A picture cut and shrunk as Pillow does it for `predict`: ImageOps.fit, bicubic, one pass for the
// columns and one for the rows, rounded to bytes after each. (Some versions take the rows first.)

import { tensor } from "./model.js";

// {width, height, data (RGBA bytes)} -> tensor (3, size, size) of bytes: the middle square, scaled.
// What is transparent is laid on white.
export function fitPicture({ width, height, data }, size) {
  const side = Math.min(width, height);
  const columns = bicubicTaps((width - side) / 2, side, width, size);
  const rows = bicubicTaps((height - side) / 2, side, height, size);
  const top = Math.min(...rows.map(({ first }) => first)); // rows above and below are not needed
  const bottom = Math.max(...rows.map(({ first, weights }) => first + weights.length));
  const narrow = new Float32Array(3 * (bottom - top) * size);
  for (let y = top; y < bottom; y++)
    for (let x = 0; x < size; x++) {
      const { first, weights } = columns[x];
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) {
          const at = 4 * (y * width + first + i);
          const alpha = data[at + 3] / 255;
          sum += weights[i] * Math.round(data[at + c] * alpha + 255 * (1 - alpha));
        }
        narrow[(c * (bottom - top) + y - top) * size + x] = toByte(sum);
      }
    }
  const out = tensor([3, size, size], new Uint8ClampedArray(3 * size * size));
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < size; y++) {
      const { first, weights } = rows[y];
      for (let x = 0; x < size; x++) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++)
          sum += weights[i] * narrow[(c * (bottom - top) + first - top + i) * size + x];
        out.data[(c * size + y) * size + x] = toByte(sum);
      }
    }
  return out;
}

// For each of `size` places along an axis the pixels it is made of, from `first` on, and their weights.
function bicubicTaps(start, length, limit, size) {
  const scale = length / size;
  const stretch = Math.max(scale, 1); // shrinking, the filter covers all pixels of a place
  return Array.from({ length: size }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - 2 * stretch + 0.5), 0);
    const last = Math.min(Math.trunc(centre + 2 * stretch + 0.5), limit);
    const weights = Array.from({ length: last - first }, (_, j) =>
      cubic((first + j - centre + 0.5) / stretch),
    );
    const total = weights.reduce((a, b) => a + b);
    return { first, weights: weights.map((weight) => weight / total) };
  });
}

// (Keys 1981, "Cubic convolution interpolation for digital image processing", with a = -1/2.)
function cubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

const toByte = (value) => Math.min(Math.max(Math.round(value), 0), 255);
