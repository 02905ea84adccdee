// Look at decks in Chrome or Chromium, without a window.
//   node browser.mjs check BROWSER PICTURES DECK...   does each slide fit? no error, no request to the network?
//   node browser.mjs pdf BROWSER NOTES DECK...        DECK.pdf beside each deck, with notes DECK_notes.pdf
// BROWSER is the path of a browser, or "" for an installed Chrome; PICTURES a folder, or "" for none;
// NOTES "notes" for pages with the speaker's notes, or "".
// The exit code is 1 where something is wrong.
import { mkdirSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [what, executablePath, ...rest] = process.argv.slice(2);
const extra = rest.shift();
const LETTERS = 18; // pixels: smaller ones in figures cannot be read from the back row
const where = executablePath ? { executablePath } : { channel: "chrome" };
const browser = await chromium.launch({ ...where, args: ["--no-sandbox", "--disable-gpu"] }).catch((error) => {
  console.error(`Chrome or Chromium is needed: ${error.message.split("\n")[0]}`);
  process.exit(1);
});
let problems = 0;
for (const deck of rest) {
  try {
    problems += what === "check" ? await check(deck) : await print(deck);
  } catch (error) {
    problems += 1;
    console.log(`${path.basename(deck, ".html")}: cannot be shown: ${error.message}`);
  }
}
await browser.close();
process.exit(problems ? 1 : 0);

async function open(deck, query = "", moment = "ready") {
  const page = await browser.newPage({ viewport: { width: 1280, height: 720 } });
  const complaints = [];
  await page.route(/^https?:/, (route) => {
    complaints.push(`asks the network for ${route.request().url()}`);
    route.abort();
  });
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (message) => message.type() === "error" && complaints.push(`error: ${message.text()}`));
  await page.goto(pathToFileURL(path.resolve(deck)).href + query);
  await page.waitForFunction((moment) => document.body.dataset.fitted === moment, moment, { timeout: 60000 });
  return [page, complaints];
}

async function check(deck) {
  const name = path.basename(deck, ".html");
  const folder = extra && path.join(extra, name);
  if (folder) mkdirSync(folder, { recursive: true });
  const [page, complaints] = await open(deck);
  const count = await page.evaluate(() => Reveal.getTotalSlides());
  for (let i = 0; i < count; i++) {
    await page.evaluate((i) => Reveal.slide(i, 0, 99), i); // with all its fragments
    await page.evaluate(drawn);
    for (const complaint of await page.evaluate(look, LETTERS)) complaints.push(`slide ${i + 1}: ${complaint}`);
    if (folder) await page.screenshot({ path: path.join(folder, `${String(i + 1).padStart(2, "0")}.png`) });
  }
  for (const complaint of complaints) console.log(`${name}: ${complaint}`);
  console.log(`${name}: ${count} slides, ${complaints.length} complaints`);
  await page.close();
  return complaints.length;
}

function drawn() {
  return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}

// What is wrong with the slide that is shown; runs in the page.
function look(LETTERS) {
  const slide = Reveal.getCurrentSlide();
  const frame = slide.getBoundingClientRect();
  const found = [];
  if (tooFull(slide)) found.push("does not fit");
  for (const part of slide.querySelectorAll("*")) {
    if (part.closest("aside")) continue;
    const box = part.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    if (box.right > frame.right + 1 || box.bottom > frame.bottom + 1 || box.left < frame.left - 1)
      found.push(`<${part.tagName.toLowerCase()}> reaches out of the slide`);
  }
  for (const block of slide.querySelectorAll(".text, .code, .printed"))
    if (!block.textContent.trim() && !block.querySelector("img, svg")) found.push("an empty block");
  if (!slide.querySelector(".column > *")) found.push("nothing on it");
  if (slide.querySelector("h2").clientHeight > 150) found.push("a long title");
  for (const image of slide.querySelectorAll("img:not(.frames img, mjx-container img)")) {
    const scale = Math.min(image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight);
    const [width, height] = [scale * image.naturalWidth, scale * image.naturalHeight];
    if (!image.complete || !image.naturalWidth) found.push("a picture is broken");
    else if (width < 560 && height < 260) found.push(`a picture is only ${Math.round(width)} x ${Math.round(height)}`);
    const letters = width * (image.dataset.letters || 1);
    if (letters && letters < LETTERS - 0.5) found.push(`letters of ${letters.toFixed(1)} pixels in a figure`);
  }
  if (slide.querySelector("mjx-merror, [data-mjx-error]")) found.push("a formula is wrong");
  return [...new Set(found)];
}

async function print(deck) {
  const [page, complaints] = await open(deck, `?print-pdf&${extra}`, "pdf-ready");
  const reading = { tagged: true, outline: true }; // for screen readers: alternative texts, headings, bookmarks
  const paper = deck.replace(/\.html$/, extra ? "_notes.pdf" : ".pdf"); // notes are not for the class
  await page.pdf({ path: paper, preferCSSPageSize: true, printBackground: true, ...reading });
  for (const complaint of complaints) console.log(`${deck}: ${complaint}`);
  await page.close();
  return complaints.length;
}
