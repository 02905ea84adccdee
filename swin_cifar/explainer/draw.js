// Charts: canvases whose cells say their numbers, to the mouse and to the keyboard.

// Okabe and Ito's colours, as in the notebooks' figures.
export const COLOURS = [
  "#0072b2",
  "#e69f00",
  "#009e73",
  "#cc79a7",
  "#56b4e9",
  "#d55e00",
  "#f0e442",
  "#000000",
];
export const REGION_COLOURS = [
  "transparent",
  "rgba(240,228,66,.55)",
  "rgba(86,180,233,.6)",
  "rgba(204,121,167,.75)",
];
export const VIRIDIS = [
  "#440154",
  "#46327e",
  "#365c8d",
  "#277f8e",
  "#1fa187",
  "#4ac16d",
  "#a0da39",
  "#fde725",
];
const PUOR = [
  "#7f3b08",
  "#b35806",
  "#e08214",
  "#fdb863",
  "#fee0b6",
  "#f7f7f7",
  "#d8daeb",
  "#b2abd2",
  "#8073ac",
  "#542788",
  "#2d004b",
];

// tag, {property: value; on...: listener}, children -> an element
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// A canvas with a name, drawn by `begin`; onpick(name of the cells, row, column) hears clicks and Enter.
export function chart(label, onpick) {
  const canvas = h("canvas", {
    role: "application", // so that a screen reader leaves the arrow keys to the figure
    "aria-label": label,
    "aria-describedby": "help",
    tabindex: 0,
    class: onpick ? "chart choose" : "chart",
  });
  const self = { canvas, cells: [], cursor: null, onpick };
  canvas.addEventListener("mousemove", (event) =>
    tell(self, cellAt(self, event), event.clientX, event.clientY),
  );
  for (const end of ["mouseleave", "blur"]) canvas.addEventListener(end, () => tell(self, null));
  canvas.addEventListener("click", (event) => pick(self, cellAt(self, event)));
  canvas.addEventListener("keydown", (event) => moveCursor(self, event));
  return self;
}

// CSS pixels in a unit: figures grow with the page's letters.
const pixelsInUnit = () => parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;

// Units that a chart may be wide in the card where it stands, at most `most`.
export function roomFor({ canvas }, most) {
  const { clientWidth } = canvas.closest(".card");
  const { paddingLeft, paddingRight } = getComputedStyle(canvas.closest(".card"));
  return Math.min((clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight)) / pixelsInUnit(), most);
}

// Empties a chart and makes it `width` x `height` units -> its 2D context, in units.
export function begin(chart, width, height) {
  const pixels = (window.devicePixelRatio || 1) * pixelsInUnit();
  Object.assign(chart, { width, height, cells: [] });
  chart.canvas.width = Math.round(width * pixels);
  chart.canvas.height = Math.round(height * pixels);
  chart.canvas.style.width = `${width / 16}rem`;
  const context = chart.canvas.getContext("2d");
  context.setTransform(pixels, 0, 0, pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  return context;
}

// Cells that can be pointed at: {name, rows, cols, x, y, cell (height; cellWidth where another)}, and what
// they say: tip(row, column), or a title and the number in `values`.
export function addCells(chart, cells) {
  chart.cells.push({ cellWidth: cells.cell, ...cells });
}

// Cells coloured by their numbers: as addCells, and {values (rows x cols), signed, limit, numbers, hidden}.
// `numbers`: decimals to write into each cell; `hidden(r, c)`: cells that are crossed out.
export function heat(chart, context, options) {
  const { values, rows, cols, x, y, cell, signed = false, numbers, hidden } = options;
  const width = options.cellWidth ?? cell;
  const limit = options.limit ?? Math.max(...Array.from(values, (value) => Math.abs(value)), 1e-12);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < cols; c++) {
      const value = values[r * cols + c];
      const colour = heatColour(signed ? (value / limit + 1) / 2 : value / limit, signed ? PUOR : VIRIDIS);
      const [left, top] = [x + c * width, y + r * cell];
      context.fillStyle = hidden?.(r, c) ? "#888888" : `rgb(${colour})`;
      context.fillRect(left, top, width + 0.3, cell + 0.3);
      if (cell >= 12 && width >= 8) {
        context.strokeStyle = "rgba(128,128,128,.35)";
        context.lineWidth = 0.5;
        context.strokeRect(left, top, width, cell);
      }
      if (hidden?.(r, c)) cross(context, left, top, width, cell);
      else if (numbers !== undefined) {
        const [red, green, blue] = colour;
        context.fillStyle = 0.3 * red + 0.59 * green + 0.11 * blue > 128 ? "#000000" : "#ffffff";
        text(
          context,
          value.toFixed(numbers).replace(/^-(0(\.0*)?)$/, "$1"),
          left + width / 2,
          top + cell / 2,
          Math.min(cell * 0.38, width * 0.36),
          "center",
        );
      }
    }
  addCells(chart, options);
}

// A rectangle around some of the cells that were added last.
export function outline(chart, context, row, col, colour = COLOURS[5], rows = 1, cols = 1) {
  const { x, y, cell, cellWidth } = chart.cells.at(-1);
  context.strokeStyle = colour;
  context.lineWidth = 3;
  context.strokeRect(x + col * cellWidth + 1, y + row * cell + 1, cols * cellWidth - 2, rows * cell - 2);
}

// `most`: units that the words may be wide; what does not fit is left out at the end.
export function text(
  context,
  words,
  x,
  y,
  size = 13,
  align = "left",
  colour = context.fillStyle,
  most = Infinity,
) {
  context.fillStyle = colour;
  context.font = `${size}px system-ui, sans-serif`;
  context.textAlign = align;
  context.textBaseline = "middle";
  const letters = Array.from(words);
  let [shown, kept] = [words, letters.length];
  while (kept > 1 && context.measureText(shown).width > most) shown = `${letters.slice(0, --kept).join("")}…`;
  context.fillText(shown, x, y);
}

// The colour of text on the page, which is light or dark.
export const ink = () => getComputedStyle(document.body).color;

function cross(context, x, y, width, height) {
  context.strokeStyle = "#cccccc";
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + width, y + height);
  context.moveTo(x + width, y);
  context.lineTo(x, y + height);
  context.stroke();
}

// share in [0, 1] -> [red, green, blue]
export function heatColour(share, stops) {
  const place = Math.min(Math.max(share || 0, 0), 1) * (stops.length - 1);
  const [low, high] = [stops[Math.floor(place)], stops[Math.ceil(place)]];
  const part = (stop, i) => parseInt(stop.slice(1 + 2 * i, 3 + 2 * i), 16);
  return [0, 1, 2].map((i) => Math.round(part(low, i) + (place % 1) * (part(high, i) - part(low, i))));
}

// Picture (3, h, w) in [0, 1] -> a small canvas of its pixels, padded to `width` x `height` with grey.
export function pictureCanvas({ shape: [, rows, cols], data }, width = cols, height = rows) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const inside = y < rows && x < cols;
      for (let c = 0; c < 3; c++) {
        pixels.data[4 * (y * width + x) + c] = inside ? 255 * data[(c * rows + y) * cols + x] : 221;
      }
      pixels.data[4 * (y * width + x) + 3] = 255;
    }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// Lines around every `step` cells of `unit`, over `cols` x `rows` cells.
export function grid(context, x, y, rows, cols, unit, step, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  for (let r = 0; r <= rows; r += step) {
    context.moveTo(x, y + r * unit);
    context.lineTo(x + cols * unit, y + r * unit);
  }
  for (let c = 0; c <= cols; c += step) {
    context.moveTo(x + c * unit, y);
    context.lineTo(x + c * unit, y + rows * unit);
  }
  context.stroke();
}

// --- cells and their numbers ------------------------------------------------------------

function cellAt(chart, event) {
  const box = chart.canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * chart.width;
  const y = ((event.clientY - box.top) / box.height) * chart.height;
  for (const found of chart.cells) {
    const [r, c] = [Math.floor((y - found.y) / found.cell), Math.floor((x - found.x) / found.cellWidth)];
    if (r >= 0 && r < found.rows && c >= 0 && c < found.cols) return { found, r, c };
  }
  return null;
}

function moveCursor(chart, event) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const parts = chart.cells.length;
  if (!parts || (!steps[event.key] && event.key !== "Enter" && (event.key !== "PageDown" || parts < 2)))
    return;
  event.preventDefault();
  let { index, r, c } = chart.cursor ?? { index: 0, r: 0, c: 0, ...chart.selected };
  if (event.key === "PageDown") [index, r, c] = [(index + 1) % parts, 0, 0];
  const found = chart.cells[Math.min(index, parts - 1)];
  const [dr, dc] = steps[event.key] ?? [0, 0];
  r = Math.min(Math.max(r + dr, 0), found.rows - 1);
  c = Math.min(Math.max(c + dc, 0), found.cols - 1);
  chart.cursor = { index, r, c };
  const box = chart.canvas.getBoundingClientRect();
  const at = (place, size, whole, start) => start + (place / whole) * size;
  tell(
    chart,
    { found, r, c },
    at(found.x + (c + 0.5) * found.cellWidth, box.width, chart.width, box.left),
    at(found.y + (r + 0.5) * found.cell, box.height, chart.height, box.top),
  );
  if (event.key === "Enter") pick(chart, { found, r, c });
}

function pick(chart, cell) {
  if (cell && chart.onpick) chart.onpick(cell.found.name, cell.r, cell.c);
}

// What a cell says, beside the pointer; null = nothing. (Never hidden: screen readers would miss what changes.)
let speaking = null; // the chart that spoke last: the pointer may leave another one meanwhile
function tell(chart, cell, x, y) {
  const tip = document.getElementById("tip");
  if (!cell) return speaking === chart && tip.replaceChildren();
  speaking = chart;
  const { found, r, c } = cell;
  const words = found.tip ? found.tip(r, c) : found.values[r * found.cols + c].toFixed(4);
  tip.textContent = `${found.title ?? ""} ${words}`.trim();
  tip.style.left = `${Math.min(x + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight > window.innerHeight ? y - 14 - tip.offsetHeight : y + 18}px`;
}
