// The page of a run; common.js stands before it.

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
  const [filter, first, last, kit, label, search] = ["filter", "first", "last", "kit", "label", "search"].map((name) => byId(`answer-${name}`));
  const holder = byId("answer-rows");

  addOptions(first, data.stages);
  addOptions(last, data.stages);
  addOptions(kit, data.kits.map((name) => name || "(none)"));
  addOptions(label, data.labels.map((name) => words(name) || "(none)"));
  last.value = data.stages.length - 1;
  holder.style.setProperty("--columns", data.stages.length + 2);

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
    return !needle || hasText(row, needle);
  }

  const list = lazyList(holder, byId("answer-more"), (row, position) => drawCase(row, position, { ...data, names: data.stages }));

  function update() {
    const needle = search.value.trim().toLowerCase();
    const found = data.rows.filter((row) => isShown(row, needle));
    const left = data.total > data.rows.length ? ` (${(data.total - data.rows.length).toLocaleString("en")} more are not in this page)` : "";
    byId("answer-about").textContent = `${found.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} cases${left}`;
    list(found);
  }

  listen(byId("answer-controls"), search, [filter, first, last, kit, label], update);
  update();
}

const tokenData = readData("token-data");
if (tokenData) showTokens(tokenData);
const answerData = readData("answer-data");
if (answerData) showAnswers(answerData);
markSection();
