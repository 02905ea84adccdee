// The page's addresses, its roll, its keyboard, and an odd model: what was seen, as JSON.
//   node explainer_places.mjs NODE_MODULES BROWSER ADDRESS FOLDER
// FOLDER holds odd.html, the page of an odd model; screenshots land there.
import path from "node:path";
import { start } from "./explainer_browser.mjs";

const { page, open, state, address, folder, found, close } = await start();

// Back leads to the place before, and changes nothing of how the page looks; a slider is no place.
await open("#block=0&token=2,3");
await page.locator("#step-merging1").click();
await page.locator("#mask").selectOption("off");
await page.locator("#theme").click();
const where = () =>
  page.evaluate(() => [swin.state.step, swin.state.token, swin.state.mask, swin.state.theme]);
found.places = [await where()];
for (const move of ["goBack", "goForward"]) {
  const before = await page.evaluate(() => swin.state.step);
  await page[move]();
  await page.waitForFunction((before) => swin.state.step !== before, before);
  found.places.push(await where());
}
await page.reload(); // what stands in the address is enough
await page.locator("body[data-ready]").waitFor();
found.places.push(await where());

// A class by the mouse: the address keeps it.
await open("#step=head");
await page.locator("canvas[aria-label^='Probability']").click({ position: { x: 40, y: 75 } });
found.label = await state("label");
await open(await page.evaluate(() => location.hash));
found.sameLabel = await state("label");

// While the map rolls, nothing else is drawn; when it rests, all is as the address says.
await open("#block=1");
const spot = (act) =>
  page.evaluate((act) => {
    const context = document
      .querySelector("canvas[aria-label='Attention of the whole window']")
      .getContext("2d");
    if (act) context.fillRect(0, 0, 1, 1);
    return context.getImageData(0, 0, 1, 1).data[3];
  }, act);
found.drawnAgain = [await spot(true)];
for (const type of ["input", "change"]) {
  await page.locator("#roll").evaluate((input, type) => {
    input.value = 30;
    input.dispatchEvent(new Event(type));
  }, type);
  found.drawnAgain.push(await spot());
}
found.rolled = await page.evaluate(() => [swin.state.roll, location.hash.includes("roll=0.3")]);

// Who wants no motion sees the map jump, token by token.
await page.emulateMedia({ reducedMotion: "reduce" });
found.jumps = await page.evaluate(async () => {
  const seen = new Set();
  document.getElementById("play").click();
  do {
    await new Promise(requestAnimationFrame);
    seen.add(swin.state.roll);
  } while (swin.state.roll !== 1);
  return [...seen].filter((share) => share !== 0.3);
});
await page.emulateMedia({ reducedMotion: null });

// Tab reaches everything that can be used, in the order in which it stands; all of it is named and seen.
const inOrder = () =>
  page.evaluate(() =>
    [...document.querySelectorAll("button, select, input, canvas[tabindex]")]
      .filter((one) => !one.disabled && one.checkVisibility())
      .map((one) => one.id || one.getAttribute("aria-label")),
  );
found.order = { expected: await inOrder(), tabs: [], unseen: [], unnamed: [] };
await page.evaluate(() => document.activeElement.blur());
for (let i = 0; i < found.order.expected.length; i++) {
  await page.keyboard.press("Tab");
  const [name, words, seen] = await page.evaluate(() => {
    const one = document.activeElement;
    const shown = one.closest(".file") ?? one; // a label stands for its hidden input
    const words = one.getAttribute("aria-label") ?? one.labels?.[0]?.innerText ?? one.innerText;
    return [one.id || one.getAttribute("aria-label"), words, getComputedStyle(shown).outlineStyle !== "none"];
  });
  found.order.tabs.push(name);
  if (!words?.trim()) found.order.unnamed.push(name);
  if (!seen) found.order.unseen.push(name);
}

// Nothing is wider than the window, on the wall, on a desk, on a phone.
found.wide = {};
const views = [
  "#step=patches",
  "#block=1&token=1,7",
  "#merging=1",
  "#step=head",
  "#step=reach&block=1&token=2,2",
];
const lecture = ["#block=1&lecture=true&theme=dark"];
for (const [width, height, hashes] of [
  [1280, 720, views],
  [1920, 1080, lecture],
  [390, 844, views],
  [360, 640, lecture],
]) {
  await page.setViewportSize({ width, height });
  for (const hash of hashes) {
    await open(hash);
    await page.screenshot({
      path: path.join(folder, `${width}${hash.replaceAll(/\W/g, "_")}.png`),
      fullPage: true,
    });
    const [whole, seen] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      window.innerWidth,
    ]);
    if (whole > seen) found.wide[`${width} ${hash}`] = whole;
  }
}

// A model with many classes, odd names, another size, another window.
await page.setViewportSize({ width: 1280, height: 720 });
found.odd = {};
for (const hash of ["#step=patches", "#block=1&token=11,11", "#merging=1", "#step=head&label=99"]) {
  await open(hash, new URL("odd.html", address).href);
  await page.screenshot({ path: path.join(folder, `odd${hash.replaceAll(/\W/g, "_")}.png`), fullPage: true });
  found.odd[hash] = await page.evaluate(() => [
    document.documentElement.scrollWidth <= window.innerWidth,
    document.getElementById("windowSize").value,
    document.querySelectorAll("marquee").length,
    document.querySelector(".answer").textContent,
  ]);
}
await close();
