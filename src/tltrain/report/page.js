// Draws what is too long to be in the page at once. Everything shown is set as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const readData = (id) => byId(id) && JSON.parse(byId(id).textContent);
const words = (label) => label.replaceAll("_", " ").replaceAll("+", " + ");

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Calls are long words: they may break after their punctuation.
function breakable(text) {
  const holder = element("pre");
  for (const part of text.split(/(?<=[(,_=/])/)) holder.append(part, element("wbr"));
  return holder;
}

function addOptions(select, names) {
  names.forEach((name, index) => {
    const option = element("option", "", name);
    option.value = index;
    select.append(option);
  });
}

function showTokens(data) {
  const select = byId("token-select");
  addOptions(select, data.samples.map((sample) => sample.id));
  // Weights span a factor of ten: shade by their logarithm, so that 2 differs from 1 as 8 does from 4.
  const shade = (weight) => Math.max(0, Math.min(1, Math.log(Math.max(weight, 0.5)) / Math.log(Math.max(data.max_weight, 1.001))));

  function drawPiece(piece) {
    if (piece.length === 2) {
      const context = element("span", "context", piece[0]);
      context.title = `${piece[1]} tokens of context, not trained`;
      return context;
    }
    const [text, weight, kind, isBlocked] = piece;
    const token = element("span", "token" + (kind === "key" ? " key" : "") + (isBlocked ? " blocked" : ""), text.replace(/\n/g, "↵\n"));
    token.style.setProperty("--w", shade(weight).toFixed(2));
    token.title = isBlocked ? "wrong call, not trained" : `weight ${weight}, ${kind === "key" ? "key token" : kind}`;
    return token;
  }

  function drawCall([number, numKey, numOther, weight, isBlocked]) {
    const row = element("tr");
    for (const value of [number, numKey, numOther, weight === null ? null : weight.toFixed(2)]) row.append(element("td", "number", value ?? "–"));
    row.append(element("td", "", isBlocked ? "no, wrong call" : "yes"));
    return row;
  }

  function show(index) {
    const sample = data.samples[index];
    select.value = index;
    byId("token-view").replaceChildren(...sample.pieces.map(drawPiece));
    byId("token-view").scrollTop = 0;
    byId("token-calls").hidden = sample.calls.length === 0;
    byId("token-calls").tBodies[0].replaceChildren(...sample.calls.map(drawCall));
    const numContext = sample.pieces.reduce((sum, piece) => sum + (piece.length === 2 ? piece[1] : 0), 0);
    const numTrained = sample.pieces.filter((piece) => piece.length > 2 && piece[1] > 0).length;
    const left = data.total > data.samples.length ? `, first ${data.samples.length} of ${data.total}` : "";
    byId("token-about").textContent = `${numTrained} tokens trained, ${numContext} of context${left}`;
  }

  const step = (by) => show((Number(select.value) + by + data.samples.length) % data.samples.length);
  select.addEventListener("change", () => show(Number(select.value)));
  byId("token-previous").addEventListener("click", () => step(-1));
  byId("token-next").addEventListener("click", () => step(1));
  byId("token-controls").hidden = false;
  show(0);
}

function showAnswers(data) {
  const PAGE = 40;
  const [filter, first, last, kit, label, search] = ["filter", "first", "last", "kit", "label", "search"].map((name) => byId(`answer-${name}`));
  const holder = byId("answer-rows");
  let found = [];
  let numShown = 0;

  addOptions(first, data.stages);
  addOptions(last, data.stages);
  addOptions(kit, data.kits.map((name) => name || "(none)"));
  addOptions(label, data.labels.map((name) => words(name) || "(none)"));
  last.value = data.stages.length - 1;
  holder.style.setProperty("--columns", data.stages.length + 2);

  const textOf = (row, stage) => {
    const text = row[5][stage][0];
    return typeof text === "number" ? row[5][text][0] : text;
  };

  function isShown(row, needle) {
    const [before, after] = [row[5][first.value], row[5][last.value]];
    const wasRight = before && before[2];
    const isRight = after && after[2];
    const passes = {
      all: true,
      changed: before && after && wasRight !== isRight,
      fixed: before && after && !wasRight && isRight,
      broken: before && after && wasRight && !isRight,
      wrong: after && !isRight,
    }[filter.value];
    if (!passes) return false;
    if (kit.value !== "" && row[1] !== Number(kit.value)) return false;
    if (label.value !== "" && !(after && after[1] === Number(label.value))) return false;
    if (!needle) return true;
    const texts = [row[0], row[2], row[3], ...row[5].filter(Boolean).map((answer) => answer[0])];
    return texts.some((text) => typeof text === "string" && text.toLowerCase().includes(needle));
  }

  function labelled(name, className, ...children) {
    const cell = element("div", className);
    cell.dataset.label = name;
    cell.append(...children);
    return cell;
  }

  function drawAnswer(row, stage) {
    const answer = row[5][stage];
    if (!answer) return labelled(data.stages[stage], "answer", element("span", "none", "no answer"));
    const mark = element("span", `mark ${answer[2] ? "right" : "wrong"}`, `${answer[2] ? "✓" : "✗"} ${words(data.labels[answer[1]])}`);
    return labelled(data.stages[stage], "answer", mark, breakable(textOf(row, stage) || "(empty)"));
  }

  function drawRow(row, position) {
    const drawn = element("article", position === 0 ? "row first" : "row");
    const name = data.kits[row[1]] ? `${row[0]} · ${data.kits[row[1]]}` : row[0];
    const head = element(row[4] ? "details" : "div", "id", row[4] ? undefined : name);
    if (row[4]) head.append(element("summary", "", `${name} · prompt`), element("pre", "", row[4]));
    drawn.append(head);
    drawn.append(labelled("query", "query", element("span", "", row[2])), labelled("gold", "gold", breakable(row[3] || "(no call)")));
    data.stages.forEach((_, stage) => drawn.append(drawAnswer(row, stage)));
    return drawn;
  }

  function drawMore() {
    const next = found.slice(numShown, numShown + PAGE);
    holder.append(...next.map((row, index) => drawRow(row, numShown + index)));
    numShown += next.length;
  }

  function update() {
    const needle = search.value.trim().toLowerCase();
    found = data.rows.filter((row) => isShown(row, needle));
    numShown = 0;
    holder.replaceChildren();
    drawMore();
    const left = data.total > data.rows.length ? ` (${(data.total - data.rows.length).toLocaleString("en")} more are not in this page)` : "";
    byId("answer-about").textContent = `${found.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} cases${left}`;
    watchEnd();
  }

  // The end of the list is watched anew after each page, so that a short page on a tall screen goes on filling.
  let watcher;
  function watchEnd() {
    watcher?.disconnect();
    if (numShown >= found.length) return;
    watcher = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      drawMore();
      watchEnd();
    }, { rootMargin: "800px" });
    watcher.observe(byId("answer-more"));
  }

  let timer;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(update, 150);
  });
  for (const control of [filter, first, last, kit, label]) control.addEventListener("change", update);
  byId("answer-controls").addEventListener("submit", (event) => event.preventDefault());
  byId("answer-controls").hidden = false;
  update();
}

function markSection() {
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.classList.remove("here");
      links.get(entry.target.id)?.classList.add("here");
    }
  }, { rootMargin: "-20% 0px -70%" });
  for (const id of links.keys()) watcher.observe(byId(id));
}

const tokenData = readData("token-data");
if (tokenData) showTokens(tokenData);
const answerData = readData("answer-data");
if (answerData) showAnswers(answerData);
markSection();
