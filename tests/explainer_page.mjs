// Use the page as a reader does, by mouse and by keyboard: what was seen, as JSON.
//   node explainer_page.mjs NODE_MODULES BROWSER ADDRESS FOLDER
// FOLDER holds pictures.json (float pictures to classify) and files to drop; screenshots land there.
import fs from "node:fs";
import path from "node:path";
import { start } from "./explainer_browser.mjs";

const { page, open, state, words, folder, found, close } = await start();

await open();
const pictures = JSON.parse(fs.readFileSync(path.join(folder, "pictures.json"), "utf8"));
found.logits = await page.evaluate(
  (pictures) =>
    pictures.map((values) => {
      const side = Math.sqrt(values.length / 3);
      return Array.from(
        swin.swinTransformer(swin.tensor([3, side, side], Float32Array.from(values)), swin.page.model).logits
          .data,
      );
    }),
  pictures,
);

// Every step, by the keyboard: the row of steps has the focus.
await page.locator("#way button").first().focus();
await page.keyboard.press("Enter");
found.steps = [await words("#way [aria-current=step] .step-name")];
for (;;) {
  const before = found.steps.at(-1);
  await page.keyboard.press("ArrowRight");
  const now = await words("#way [aria-current=step] .step-name");
  if (now === before) break;
  found.steps.push(now);
}

// A token by the mouse, a key by the keyboard, its number.
await open("#block=1&token=0,0");
await page
  .locator("#view canvas")
  .first()
  .click({ position: { x: 200, y: 90 } });
found.token = await state("token");
await page.evaluate(() => swin.setState({ key: 1 })); // from there the arrows start
const sums = page.locator("canvas[aria-label^='Scores plus bias']");
await sums.focus();
await page.keyboard.press("ArrowDown");
found.tip = await words("#tip");
await page.keyboard.press("Enter");
found.key = await state("key");
found.pair = await words("p.sum[aria-live]");

// The roll, the switches, the answer.
await page.locator("#roll").press("ArrowLeft");
found.roll = await state("roll");
await page.locator("#play").click();
await page.waitForFunction(() => swin.state.roll === 1);
found.answers = {};
for (const [id, value] of [
  ["shift", "off"],
  ["mask", "off"],
  ["mask", "flipped"],
  ["bias", "off"],
  ["content", "off"],
  ["windowSize", "2"],
]) {
  await page.locator(`#${id}`).selectOption(value);
  found.answers[`${id} ${value}`] = await words("#changes .answer");
  await page.locator("#reset").click();
}
for (const id of ["headOff", "replaced"]) {
  await page.locator(`#${id}`).press("Enter");
  found.answers[id] = await words("#changes .answer");
  await page.locator(`#${id}`).press("Enter");
}
found.plain = await words("#changes .answer");
found.address = await page.evaluate(() => location.hash);
await page.locator("#size").fill("37");
await page.locator("#size").press("Enter");
found.padded = await words("#step-block0 .step-shape");

// An address leads to its state, a wrong one to a state that exists.
await open("#block=2&token=3,1&mask=off&lang=zh&theme=dark");
found.opened = await page.evaluate(() => [
  swin.state.block,
  swin.state.token,
  swin.state.mask,
  document.documentElement.lang,
]);
await page.evaluate(() => (location.hash = "#block=0"));
await page.waitForFunction(() => swin.state.block === 0);
found.followed = await page.evaluate(() => [
  swin.state.token,
  swin.state.mask,
  document.documentElement.lang,
]);
await open("#block=1");
for (const id of ["lang", "mask", "reset", "picture-frog"]) {
  await page.locator(`#${id}`).focus();
  if (id === "mask") await page.locator("#mask").selectOption("off");
  else await page.keyboard.press("Enter");
  (found.focus ??= []).push(await page.evaluate(() => document.activeElement.id));
}
await open(
  "#block=77&token=9,-4&head=5&mask=maybe&replaced=x&step=nowhere&picture=constructor&size=100000&windowSize=99&key=1.5&label=10&constructor=1",
);
found.wrong = await page.evaluate(() => [
  swin.state.block,
  swin.state.token,
  swin.state.mask,
  swin.state.step,
  swin.state.size,
  swin.state.picture,
  swin.state.key,
  swin.state.label,
]);

// Own pictures: bad files are one line, a good one is classified.
await open();
found.notices = {};
const notice = () => page.locator("#notice").textContent();
for (const name of fs.readdirSync(path.join(folder, "files")).sort()) {
  await page.evaluate(() => (window.before = swin.page.pictures.own));
  await page.locator("#file").setInputFiles(path.join(folder, "files", name));
  await page.waitForFunction(
    (name) =>
      swin.page.pictures.own !== window.before ||
      document.getElementById("notice").textContent.includes(name),
    name,
  );
  found.notices[name] = await notice();
}
// Dropped or pasted without a picture; no camera.
for (const type of ["drop", "paste"]) {
  await page.evaluate((type) => {
    const data = new DataTransfer();
    data.setData("text/plain", "words");
    const event =
      type === "drop"
        ? new DragEvent(type, { dataTransfer: data })
        : new ClipboardEvent(type, { clipboardData: data });
    document.dispatchEvent(event);
  }, type);
  found.notices[type] = await notice();
}
await page.evaluate(() => (navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error("refused"))));
await page.locator("#camera").click();
await page.waitForFunction(() => document.getElementById("notice").textContent.includes("camera"));
found.notices.camera = await notice();
found.own = await page.evaluate(() =>
  Array.from(swin.page.pictures.own.data, (value) => Math.round(255 * value)),
);
await page.locator("#draw").click();
const board = page.locator("dialog canvas");
await board.hover({ position: { x: 60, y: 60 } });
await page.mouse.down();
await board.hover({ position: { x: 250, y: 200 } });
await page.mouse.up();
await page.locator("#use").click();
found.drawn = await page.evaluate(() => new Set(swin.page.pictures.own.data).size);

// A click and what it takes to compute, in the page's own clock: medians of 9.
found.milliseconds = await page.evaluate(() => {
  const median = (values) => values.sort((a, b) => a - b)[4];
  const time = (act) => {
    const start = performance.now();
    act();
    return performance.now() - start;
  };
  const picture = swin.compute().picture;
  const forward = () => swin.swinTransformer(picture, swin.page.model);
  for (let i = 0; i < 5; i++) forward();
  return {
    forward: median(Array.from({ length: 9 }, () => time(forward))),
    click: median(
      Array.from({ length: 9 }, (_, i) =>
        time(() => swin.setState({ step: "block", block: 1, token: [i % 8, 3] })),
      ),
    ),
  };
});

await close();
