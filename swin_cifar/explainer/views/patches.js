// Picture -> patches -> tokens: the pixels of one patch times one filter are one number.

import { begin, chart, h, heat, ink, outline, text } from "../draw.js";
import { page, setState, state } from "../state.js";
import { card, drawTokenPicture, number, row, say, slider, tokenChart } from "../parts.js";

export function mountPatches(root) {
  const map = tokenChart("patches.choose");
  const product = chart(say("patches.product"));
  const tokens = chart(say("patches.channel"), (_, y, x) => setState({ token: [y, x] }));
  const channel = slider("channel", 0, page.model.config.embedDim - 1, (value) =>
    setState({ channel: value }),
  );
  const sum = h("p", { class: "sum" });
  root.replaceChildren(
    card(
      "patches.title",
      say("patches.text"),
      row(map.canvas, h("div", {}, channel.element, product.canvas, sum)),
    ),
    card("patches.map", say("patches.map.text"), row(tokens.canvas)),
  );
  return function update({ picture, run }) {
    const { patches, proj, out } = run.embed;
    const { patchSize: P, embedDim: C } = page.model.config;
    const [y, x] = state.token;
    const [H, W] = out.shape;
    channel.show(state.channel);
    drawTokenPicture(map, picture, { H, W, unit: P });
    const token = y * W + x;
    const pixels = patches.data.subarray(token * 3 * P * P, (token + 1) * 3 * P * P);
    const filter = page.model.weights.patchEmbed.proj.weight.data.subarray(
      state.channel * 3 * P * P,
      (state.channel + 1) * 3 * P * P,
    );
    const products = pixels.map((value, i) => value * filter[i]);
    const bias = page.model.weights.patchEmbed.proj.bias.data[state.channel];
    drawFactors(product, P, { pixels, filter, products });
    const value = proj.data[token * C + state.channel];
    sum.textContent = say("patches.sum", {
      sum: number(products.reduce((a, b) => a + b, 0)),
      bias: number(bias),
      value: number(value),
      normed: number(out.data[token * C + state.channel]),
      channel: state.channel,
    });
    const context = begin(tokens, 300, 330);
    const cell = Math.floor(290 / Math.max(H, W));
    const values = Array.from({ length: H * W }, (_, i) => out.data[i * C + state.channel]);
    heat(tokens, context, {
      name: "map",
      title: say("patches.channel"),
      values,
      rows: H,
      cols: W,
      x: 4,
      y: 24,
      cell,
      signed: true,
    });
    text(context, say("patches.channel.n", { channel: state.channel }), 4, 11, 13, "left", ink());
    outline(tokens, context, y, x);
  };
}

// Three rows (red, green, blue) of pixels × filter = products.
function drawFactors(chart, P, columns) {
  const cell = Math.min(Math.floor(92 / P), 34);
  const side = P * cell;
  const context = begin(chart, 3 * (side + 46) + 60, 3 * (side + 10) + 30);
  Object.entries(columns).forEach(([name, values], column) => {
    const x = 60 + column * (side + 46);
    const limit = Math.max(...Array.from(values, Math.abs), 1e-9);
    text(context, say(`patches.${name}`), x + side / 2, 12, 13, "center", ink());
    for (let c = 0; c < 3; c++) {
      const y = 26 + c * (side + 10);
      const part = values.subarray(c * P * P, (c + 1) * P * P);
      const numbers = cell >= 30 ? 1 : undefined;
      heat(chart, context, {
        name,
        title: say(`patches.${name}`),
        values: part,
        rows: P,
        cols: P,
        x,
        y,
        cell,
        signed: true,
        limit,
        numbers,
      });
      if (column === 0) text(context, say(`colour.${c}`), 4, y + side / 2, 13, "left", ink());
      if (column < 2) text(context, "×=".charAt(column), x + side + 23, y + side / 2, 22, "center", ink());
    }
  });
}
