// Switches: what each idea is for, shown by taking it away; and what that changes.

import { h } from "../draw.js";
import { CHOICES, DEFAULTS, page, setState, state, stepNames, windowSizes } from "../state.js";
import { say } from "../parts.js";
import { mapAfter, stepTitle } from "./way.js";

export function mountChanges(root) {
  const controls = SWITCHES.map((name) =>
    choice(name, name === "windowSize" ? windowSizes() : CHOICES[name]),
  );
  const head = h("button", {
    type: "button",
    id: "headOff",
    onclick: () => toggle("headOff", `${state.block},${state.head}`),
  });
  const token = h("button", {
    type: "button",
    id: "replaced",
    onclick: () => toggle("replaced", `${state.block},${state.token}`),
  });
  const reset = h(
    "button",
    {
      type: "button",
      id: "reset",
      onclick: () => setState(Object.fromEntries(CHANGES.map((name) => [name, DEFAULTS[name]]))),
    },
    say("changes.reset"),
  );
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  const differences = h("div", { class: "differences" });
  root.replaceChildren(
    h("h2", {}, say("changes.title")),
    h("p", { class: "about" }, say("changes.text")),
    answer,
    h("div", { class: "controls" }, ...controls.map((one) => one.element), head, token, reset),
    differences,
  );
  return function update({ plain, run, changed }) {
    controls.forEach((one) => one.show());
    const block = state.step === "block" ? state.block : -1;
    for (const [button, name] of [
      [head, "headOff"],
      [token, "replaced"],
    ]) {
      button.disabled = block < 0 && !state[name];
      button.setAttribute("aria-pressed", String(Boolean(state[name])));
      const now = `${state.block},${name === "headOff" ? state.head : state.token}`;
      const [number, ...rest] = (state[name] || now).split(",");
      button.textContent = say(`changes.${name}`, { block: number, what: rest.join(", ") });
    }
    reset.setAttribute("aria-disabled", String(!changed));
    answer.replaceChildren(
      ...(changed
        ? [answerOf(plain, "changes.before"), answerOf(run, "changes.after")]
        : [answerOf(run, "changes.now")]),
    );
    differences.replaceChildren(
      ...(changed
        ? stepNames()
            .filter((name) => name !== "reach")
            .map((name) => differenceBar(name, plain, run))
        : []),
    );
    differences.hidden = !changed;
  };
}

const SWITCHES = ["shift", "mask", "bias", "content", "windowSize"];
const CHANGES = [...SWITCHES, "headOff", "replaced"];

const toggle = (name, value) => setState({ [name]: state[name] ? "" : value });

function choice(name, values) {
  const options = values.map((value) =>
    h("option", { value }, name === "windowSize" ? `${value} × ${value}` : say(`switch.${name}.${value}`)),
  );
  const read = () => setState({ [name]: name === "windowSize" ? Number(select.value) : select.value });
  const select = h("select", { id: name, onchange: read }, ...options);
  return {
    element: h("label", {}, h("span", {}, say(`switch.${name}`)), select),
    show() {
      select.value = name === "windowSize" ? state.windowSize || page.model.config.windowSize : state[name];
      select.classList.toggle("changed", String(state[name]) !== String(DEFAULTS[name]));
    },
  };
}

function answerOf({ probabilities }, title) {
  const order = Array.from(probabilities.data.keys()).sort(
    (a, b) => probabilities.data[b] - probabilities.data[a],
  );
  const best = order
    .slice(0, 3)
    .map((label) => `${page.model.classes[label]} ${(100 * probabilities.data[label]).toFixed(1)}%`);
  return h("p", {}, h("strong", {}, `${say(title)} `), best.join(", "));
}

// How far the map that leaves a step is from what it was: |difference| / |map|, and how many of its tokens moved.
function differenceBar(name, plain, run) {
  const [a, b] = [plain, run].map((one) => (name === "head" ? one.logits : mapAfter(one, name)));
  const { share, moved, tokens } = difference(a, b);
  const bar = h("span", { class: "bar", style: `width:${Math.min(100 * share, 100)}%` });
  const words =
    name === "head"
      ? say("changes.logits", { share: percent(share) })
      : say("changes.tokens", { share: percent(share), moved, tokens });
  return h(
    "div",
    { class: "difference" },
    h("span", {}, stepTitle(name, run)),
    h("span", { class: "track" }, bar),
    h("span", {}, words),
  );
}

function difference(a, b) {
  const C = a.shape.at(-1);
  let [apart, whole, moved] = [0, 0, 0];
  for (let start = 0; start < a.data.length; start += C) {
    let here = 0;
    for (let i = start; i < start + C; i++) {
      here += (a.data[i] - b.data[i]) ** 2;
      whole += a.data[i] ** 2;
    }
    apart += here;
    if (here > 1e-10 * C) moved++;
  }
  return { share: Math.sqrt(apart / whole), moved, tokens: a.data.length / C };
}

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;
