// Step through the second slide of a deck as a speaker does, then print the deck: what was seen, as JSON.
//   node step_through.mjs NODE_MODULES BROWSER ADDRESS
import path from "node:path";
import { pathToFileURL } from "node:url";

const [packages, executablePath, address] = process.argv.slice(2);
const { chromium } = await import(pathToFileURL(path.join(packages, "playwright-core/index.mjs")));
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 720 } });
const page = await context.newPage();
await page.goto(`${address}#/1`);
await page.waitForFunction(() => document.body.dataset.fitted === "ready");

const visible = (selector) =>
  page.locator(`.present ${selector}`).evaluateAll((parts) =>
    parts.filter((part) => getComputedStyle(part).visibility === "visible").map((part) => part.textContent.trim()),
  );
const left = (selector) => page.locator(`.present ${selector}`).evaluate((part) => part.getBoundingClientRect().left);

const found = { title: await page.locator(".present h2").textContent(), before: await visible(".printed") };
found.columns = [await left(".text"), await left(".code")];
await page.keyboard.press("ArrowRight");
found.after = await visible(".printed");

const [speaker] = await Promise.all([context.waitForEvent("page"), page.keyboard.press("s")]);
const notes = speaker.locator(".speaker-controls-notes .value", { hasText: /\S/ });
await notes.waitFor();
found.notes = (await notes.textContent()).trim();

const paper = await context.newPage();
await paper.goto(`${address}?print-pdf`);
await paper.waitForFunction(() => document.body.dataset.fitted === "pdf-ready");
found.pages = await paper.evaluate(() =>
  Reveal.getSlides().map((slide) => {
    const margin = slide.querySelector("h2").getBoundingClientRect().left - slide.getBoundingClientRect().left;
    return [slide.clientWidth, slide.clientHeight, margin, tooFull(slide)];
  }),
);
console.log(JSON.stringify(found));
await browser.close();
