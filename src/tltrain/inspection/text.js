// Text into the page. Data is never markup: it only ever becomes text nodes and attributes that cannot run.

const words = (name) => name.replaceAll("_", " ");
const grouped = (number) => number.toLocaleString("en");
const counted = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;
const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)}%` : "–");

const WHOLE_CHARS = 4000; // texts up to this length are shown whole
const HEAD_CHARS = 1600;
const AROUND_CHARS = 300;
const TAIL_CHARS = 400;

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// Characters that would be invisible, or turn the order of others around, get a sign; the length stays as it is.
function visible(text) {
  return text
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (sign) => (sign === "\r" ? "␍" : String.fromCharCode(0x2400 + sign.charCodeAt(0))))
    .replace(/[\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, "\ufffd");
}

// Parts of a long text that are shown at first: its beginning, what is around the marks, and its end.
function shownParts(length, marks) {
  if (length <= WHOLE_CHARS) return [[0, length]];
  const wanted = [[0, HEAD_CHARS], ...marks.map(([start, end]) => [start - AROUND_CHARS, end + AROUND_CHARS]), [length - TAIL_CHARS, length]];
  wanted.sort((a, b) => a[0] - b[0]);
  const parts = [];
  for (const [start, end] of wanted) {
    const last = parts.at(-1);
    if (last && start <= last[1] + AROUND_CHARS) last[1] = Math.min(length, Math.max(last[1], end));
    else parts.push([Math.max(0, start), Math.min(length, end)]);
  }
  return parts;
}

// A block of text. marks: [start, end, className, title], in order and apart from each other.
function textBlock(className, text, marks = [], isWhole = false) {
  const block = element("div", `text ${className}`);
  block.dir = "auto";
  const parts = isWhole ? [[0, text.length]] : shownParts(text.length, marks);
  let shown = 0;
  for (const [start, end] of parts) {
    if (start > shown) block.append(gapButton(start - shown, () => block.replaceWith(textBlock(className, text, marks, true))));
    appendMarked(block, text, start, end, marks);
    shown = end;
  }
  return block;
}

function gapButton(num, act) {
  const button = element("button", "gap", `… ${grouped(num)} more characters …`);
  button.type = "button";
  button.addEventListener("click", act);
  return button;
}

function appendMarked(block, text, start, end, marks) {
  let position = start;
  for (const [from, to, className, title] of marks) {
    if (to <= start || from >= end) continue;
    block.append(visible(text.slice(position, from)));
    const mark = element("mark", className, visible(text.slice(from, to)));
    if (title) mark.title = title;
    block.append(mark);
    position = to;
  }
  block.append(visible(text.slice(position, end)));
}

function folded(className, summary, draw) {
  const details = element("details", className, element("summary", "", ...[summary].flat()));
  details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(draw()); });
  return details;
}

function chip(className, text, title = "") {
  const made = element("span", `chip ${className}`, text);
  if (title) made.title = title;
  return made;
}

// Search hits are painted over the text, so that the text itself stays as it is.
function paintHits(root, needle) {
  if (!window.CSS?.highlights) return null;
  CSS.highlights.delete("hit");
  if (!needle) return null;
  const hits = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node && hits.length < 2000; node = walker.nextNode()) {
    const text = node.data.toLowerCase();
    if (text.length !== node.data.length) continue;
    for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length)) {
      const range = new Range();
      range.setStart(node, at);
      range.setEnd(node, at + needle.length);
      hits.push(range);
    }
  }
  if (hits.length) CSS.highlights.set("hit", new Highlight(...hits));
  return hits[0] ?? null;
}
