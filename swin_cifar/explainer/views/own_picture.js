// Pictures: those of the page, and your own: a file, the clipboard, a drawing, the camera.

import { tensor } from "../model.js";
import { fitPicture } from "../resize.js";
import { h, pictureCanvas } from "../draw.js";
import { forget, page, setState, state } from "../state.js";
import { say } from "../parts.js";

const MAX_FILE = 50e6; // bytes
const MAX_PIXELS = 30e6; // a phone's picture has 12 million

export function mountPictures(root) {
  const list = h("div", { class: "pictures" });
  const file = h("input", {
    type: "file",
    accept: "image/*",
    id: "file",
    onchange: () => {
      if (file.files[0]) takeFile(file.files[0]);
      file.value = ""; // so that the same file, mended, can be chosen once more
    },
  });
  const notice = h("p", { id: "notice", role: "alert" });
  const size = h("input", {
    type: "number",
    id: "size",
    min: page.model.config.patchSize,
    max: 2 * page.model.config.imageSize,
    onchange: () => setState({ size: Number(size.value) }),
  });
  const draw = h("button", { type: "button", id: "draw", onclick: openBoard }, say("own.draw"));
  const camera = h("button", { type: "button", id: "camera", onclick: takePhoto }, say("own.camera"));
  camera.hidden = !navigator.mediaDevices?.getUserMedia;
  root.replaceChildren(
    list,
    h("label", { class: "file" }, h("span", {}, say("own.file")), file),
    draw,
    camera,
    h("label", { title: say("own.size.hint") }, h("span", {}, say("own.size")), size),
    h("span", { class: "hint" }, say("own.size.hint")),
    notice,
  );
  let shown = null;
  return function update() {
    size.value = state.size;
    if (shown !== page.pictures.own) list.querySelector("#picture-own")?.remove();
    shown = page.pictures.own;
    for (const [name, picture] of Object.entries(page.pictures)) {
      const button =
        list.querySelector(`#${CSS.escape(`picture-${name}`)}`) ??
        list.appendChild(pictureButton(name, picture));
      button.setAttribute("aria-pressed", String(name === state.picture));
    }
  };
}

function pictureButton(name, picture) {
  const canvas = pictureCanvas(picture);
  canvas.className = "thumb";
  canvas.setAttribute("aria-hidden", "true");
  const words = name === "own" ? say("own.name") : name;
  const choose = () => setState({ picture: name });
  return h(
    "button",
    { type: "button", class: "picture", id: `picture-${name}`, onclick: choose },
    canvas,
    h("span", {}, words),
  );
}

export function listenForPictures() {
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) takeFile(file);
    else notify("own.none");
  });
  document.addEventListener("paste", (event) => {
    const found = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (found) takeFile(found);
    else if (event.target.localName !== "input") notify("own.none");
  });
}

const notify = (key, values) => (document.getElementById("notice").textContent = key ? say(key, values) : "");

async function takeFile(file) {
  try {
    if (file.size === 0) return notify("own.empty", { name: file.name });
    if (file.size > MAX_FILE) return notify("own.large", { name: file.name });
    const bitmap = await createImageBitmap(file);
    if (bitmap.width * bitmap.height > MAX_PIXELS) return notify("own.large", { name: file.name });
    takeSource(bitmap, bitmap.width, bitmap.height);
    bitmap.close();
  } catch {
    notify("own.unreadable", { name: file.name });
  }
}

// Anything that a canvas can draw -> the picture "own", cut and shrunk as `predict` does it.
function takeSource(source, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.drawImage(source, 0, 0, width, height);
  const bytes = fitPicture(context.getImageData(0, 0, width, height), page.model.config.imageSize);
  page.pictures.own = tensor(
    bytes.shape,
    Float32Array.from(bytes.data, (value) => value / 255),
  );
  forget("own");
  notify("");
  setState({ picture: "own", size: page.model.config.imageSize });
}

// --- a drawing --------------------------------------------------------------------------

function openBoard() {
  const canvas = h("canvas", { width: 320, height: 320, class: "board", "aria-label": say("own.board") });
  const context = canvas.getContext("2d");
  const clear = () => {
    context.fillStyle = "#dfe8f0";
    context.fillRect(0, 0, 320, 320);
  };
  clear();
  const colour = h("input", { type: "color", value: "#b03030", "aria-label": say("own.colour") });
  const width = h("input", { type: "range", min: 4, max: 60, value: 24, "aria-label": say("own.width") });
  let last = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * 320, ((event.clientY - box.top) / box.height) * 320];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    stroke(last);
  });
  canvas.addEventListener("pointermove", (event) => last && stroke(at(event)));
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = null));
  const stroke = (to) => {
    Object.assign(context, { strokeStyle: colour.value, lineWidth: Number(width.value), lineCap: "round" });
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...to);
    context.stroke();
    last = to;
  };
  const use = () => {
    takeSource(canvas, 320, 320);
    dialog.close();
  };
  const dialog = openDialog(
    canvas,
    h(
      "div",
      { class: "controls" },
      say("own.colour"),
      colour,
      say("own.width"),
      width,
      h("button", { type: "button", onclick: clear }, say("own.clear")),
      h("button", { type: "button", id: "use", onclick: use }, say("own.use")),
    ),
  );
}

function openDialog(...content) {
  const close = h("button", { type: "button", onclick: () => dialog.close() }, say("close"));
  const dialog = h("dialog", { onclose: () => dialog.remove() }, ...content, close);
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

async function takePhoto() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch {
    return notify("own.no-camera");
  }
  const video = h("video", { autoplay: true, playsinline: true, width: 320 });
  video.muted = true;
  video.srcObject = stream;
  const use = () => {
    if (video.videoWidth) takeSource(video, video.videoWidth, video.videoHeight);
    dialog.close();
  };
  const dialog = openDialog(video, h("button", { type: "button", id: "use", onclick: use }, say("own.use")));
  dialog.addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()));
}
