// A page in Chrome or Chromium, its errors and requests noted; for explainer_page.mjs and explainer_places.mjs.
import path from "node:path";
import { pathToFileURL } from "node:url";

export async function start() {
  const [packages, executablePath, address, folder] = process.argv.slice(2);
  const { chromium } = await import(pathToFileURL(path.join(packages, "playwright-core/index.mjs")));
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
  const page = await browser.newPage({ viewport: { width: 1280, height: 720 } });
  const found = { errors: [], requests: [] };
  page.on("console", (message) => message.type() === "error" && found.errors.push(message.text()));
  page.on("pageerror", (error) => found.errors.push(String(error)));
  page.on(
    "request",
    (request) => /^(file|data|blob):/.test(request.url()) || found.requests.push(request.url()),
  );
  return {
    page,
    address,
    folder,
    found,
    open: async (hash = "", other = address) => {
      await page.goto("about:blank");
      await page.goto(other + hash);
      await page.locator("body[data-ready]").waitFor();
    },
    state: (name) => page.evaluate((name) => swin.state[name], name),
    words: (selector) => page.locator(selector).innerText(),
    close: async () => {
      console.log(JSON.stringify(found));
      await browser.close();
    },
  };
}
