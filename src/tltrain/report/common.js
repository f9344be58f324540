// What the scripts of all pages share. Everything shown is set as text, never as markup.
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

function labelled(name, className, ...children) {
  const cell = element("div", className);
  cell.dataset.label = name;
  cell.append(...children);
  return cell;
}

// One case: id with its prompt, query, gold, and the answers, each [text, or the number of an earlier answer with the
// same text, number of its label, 1 if right], or 0 where there is none.
function drawCase(row, position, { names, kits, labels }) {
  const [id, kit, query, gold, prompt, answers] = row;
  const drawn = element("article", position === 0 ? "row first" : "row");
  const name = kits[kit] ? `${id} · ${kits[kit]}` : id;
  const head = element(prompt ? "details" : "div", "id", prompt ? undefined : name);
  if (prompt) head.append(element("summary", "", `${name} · prompt`), element("pre", "", prompt));
  drawn.append(head);
  drawn.append(labelled("query", "query", element("span", "", query)), labelled("gold", "gold", breakable(gold || "(no call)")));
  answers.forEach((answer, index) => {
    if (!answer) {
      drawn.append(labelled(names[index], "answer", element("span", "none", "no answer")));
      return;
    }
    const text = typeof answer[0] === "number" ? answers[answer[0]][0] : answer[0];
    const mark = element("span", `mark ${answer[2] ? "right" : "wrong"}`, `${answer[2] ? "✓" : "✗"} ${words(labels[answer[1]])}`);
    drawn.append(labelled(names[index], "answer", mark, breakable(text || "(empty)")));
  });
  return drawn;
}

const hasText = (row, needle) => {
  const texts = [row[0], row[2], row[3], ...row[5].filter(Boolean).map((answer) => answer[0])];
  return texts.some((text) => typeof text === "string" && text.toLowerCase().includes(needle));
};

// A list that is drawn a page at a time, as the reader comes near its end. Returns what shows other rows.
function lazyList(holder, end, draw) {
  const PAGE = 40;
  let rows = [];
  let numShown = 0;
  let watcher;

  function drawMore() {
    const next = rows.slice(numShown, numShown + PAGE);
    holder.append(...next.map((row, index) => draw(row, numShown + index)));
    numShown += next.length;
  }

  // The end of the list is watched anew after each page, so that a short page on a tall screen goes on filling.
  function watchEnd() {
    watcher?.disconnect();
    if (numShown >= rows.length) return;
    watcher = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      drawMore();
      watchEnd();
    }, { rootMargin: "800px" });
    watcher.observe(end);
  }

  return (found) => {
    rows = found;
    numShown = 0;
    holder.replaceChildren();
    drawMore();
    watchEnd();
  };
}

// Calls `update` at each change of a control, and a moment after the last key in the search.
function listen(form, search, controls, update) {
  let timer;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(update, 150);
  });
  for (const control of controls) control.addEventListener("change", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
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
