// A slide that is too full gets smaller letters, down to these; what still does not fit, browser.mjs reports.
const LEAST = { "--size": 19, "--code": 14 };

function tooFull(section) {
  const over = (part) => part.scrollHeight > part.clientHeight + 1 || part.scrollWidth > part.clientWidth + 1;
  const small = (picture) => picture.clientHeight < 270;
  return (
    over(section) ||
    [...section.querySelectorAll(".column, pre")].some(over) ||
    [...section.querySelectorAll(".picture")].some(small)
  );
}

function fit(section) {
  const display = section.style.display;
  section.style.display = "flex"; // slides that are not shown have no size
  const sizes = {};
  for (const key in LEAST) sizes[key] = parseFloat(getComputedStyle(section).getPropertyValue(key));
  while (tooFull(section)) {
    const wide = [...section.querySelectorAll("pre")].some((pre) => pre.scrollWidth > pre.clientWidth + 1);
    const keys = (wide ? ["--code"] : Object.keys(sizes)).filter((key) => sizes[key] > LEAST[key]);
    if (!keys.length) break;
    for (const key of keys) section.style.setProperty(key, --sizes[key] + "px");
  }
  section.style.display = display;
}

// On paper a question and its answer have pages of their own; the points of a list come together.
const PRINT = location.search.includes("print-pdf");
const NOTES = location.search.includes("notes");
if (PRINT) for (const point of document.querySelectorAll("li.fragment")) point.classList.remove("fragment");
// What moves on the screen has a page for each of its three frames.
if (PRINT) for (const frame of document.querySelectorAll(".frames img + img")) frame.classList.add("fragment");

// A line that ends with a colon comes together with what it announces.
for (const section of document.querySelectorAll("section")) {
  let step = -1, announced = false;
  for (const fragment of section.querySelectorAll(".fragment")) {
    fragment.dataset.fragmentIndex = announced ? step : ++step;
    announced = fragment.matches(".text") && fragment.textContent.trim().endsWith(":");
  }
}

function notesAfterAnswers() {
  const number = (page) => page?.querySelector("section")?.dataset.slide;
  for (const notes of document.querySelectorAll(".speaker-notes-pdf")) {
    const title = document.createElement("h3");
    title.textContent = `${number(notes.previousElementSibling)} ${notes.previousElementSibling.querySelector("h2").textContent}`;
    notes.prepend(title);
    const mine = number(notes.previousElementSibling);
    while (number(notes.nextElementSibling) === mine) notes.nextElementSibling.after(notes);
  }
}

// What is read aloud in place of a formula: its TeX with words for signs.
const SPOKEN = [
  [/\\(text|textstyle|left|right|qquad|quad)\b/g, " "], [/\\sqrt/g, " root of "], [/\\sum_\{?(\w)\}?/g, " sum over $1 of "],
  [/\\cdot/g, " times "], [/\^\{?T\}?/g, " transposed "], [/\^\{([^}]*)\}/g, " to the power $1 "], [/\^(\w)/g, " to the power $1 "],
  [/_\{?(\w)\}?/g, " $1 "], [/\//g, " divided by "], [/\\[,;]/g, " "], [/[{}]/g, " "], [/\s+/g, " "],
];

function spoken(tex) {
  return SPOKEN.reduce((words, [sign, word]) => words.replace(sign, word), tex).trim();
}

// A picture has an alternative text on paper, too; an SVG in the page has none there.
function asPicture(formula) {
  const svg = formula.typesetRoot.querySelector("svg");
  for (const drawn of svg.querySelectorAll('[stroke-width="0"]')) drawn.removeAttribute("stroke"); // printed, it is visible
  const picture = new Image();
  picture.alt = spoken(formula.math);
  picture.style = `width: ${svg.getAttribute("width")}; height: ${svg.getAttribute("height")}; ${svg.getAttribute("style")}`;
  picture.src = `data:image/svg+xml,${encodeURIComponent(svg.outerHTML)}`;
  svg.replaceWith(picture);
}

// M stops what moves at its last picture, and lets it go on; for who has asked for less motion it stands at first.
function stopOrGoOn() {
  document.body.classList.toggle("still");
}
if (matchMedia("(prefers-reduced-motion: reduce)").matches) stopOrGoOn();

MathJax.startup.promise.then(() => {
  for (const formula of MathJax.startup.document.math) asPicture(formula);
  for (const moment of ["ready", "pdf-ready"])
    Reveal.on(moment, () => {
      Reveal.getSlides().forEach(fit);
      notesAfterAnswers();
      // reveal.js hides all slides but one from screen readers, on paper too
      if (PRINT) for (const page of document.querySelectorAll("section[aria-hidden]")) page.removeAttribute("aria-hidden");
      document.body.dataset.fitted = moment; // browser.mjs waits for it
    });
  Reveal.initialize({
    width: 1280, height: 720, margin: 0, maxScale: 4, center: false, display: "flex",
    hash: true, slideNumber: "c/t", controls: false, keyboard: { 77: stopOrGoOn }, transition: "none", backgroundTransition: "none",
    pdfMaxPagesPerSlide: 1, showNotes: PRINT && NOTES ? "separate-page" : false, plugins: [RevealNotes],
  });
});
