// The page of a comparison; common.js stands before it.

function showChanges(data) {
  const [pair, set, part, filter, label, search] = ["pair", "set", "part", "filter", "label", "search"].map((name) => byId(`answer-${name}`));
  const holder = byId("answer-rows");

  addOptions(pair, data.models.slice(1));
  addOptions(set, data.sets);
  addOptions(part, data.kits);
  addOptions(label, data.labels.map((name) => words(name) || "(none)"));

  function isShown(row, needle) {
    const other = Number(pair.value) + 1;
    const change = row[6][other - 1];
    if (!change || (filter.value !== "" && change !== filter.value)) return false;
    if (set.value !== "" && data.kit_sets[row[1]] !== Number(set.value)) return false;
    if (part.value !== "" && row[1] !== Number(part.value)) return false;
    // What was wrong may stand on either side: of a case that became right, before.
    if (label.value !== "" && ![0, other].some((index) => row[5][index] && row[5][index][1] === Number(label.value))) return false;
    return !needle || hasText(row, needle);
  }

  function draw(row, position) {
    const other = Number(pair.value) + 1;
    const full = (answer) => answer && [typeof answer[0] === "number" ? row[5][answer[0]][0] : answer[0], answer[1], answer[2]];
    const shown = [...row.slice(0, 5), [row[5][0], full(row[5][other])]];
    return drawCase(shown, position, { kits: data.kits, labels: data.labels, names: [data.models[0], data.models[other]] });
  }

  holder.style.setProperty("--columns", 4);
  const list = lazyList(holder, byId("answer-more"), draw);

  function update() {
    const needle = search.value.trim().toLowerCase();
    const found = data.rows.filter((row) => isShown(row, needle));
    const left = data.total > data.rows.length ? ` (${(data.total - data.rows.length).toLocaleString("en")} more are not in this page)` : "";
    byId("answer-about").textContent = `${found.length.toLocaleString("en")} case${found.length === 1 ? "" : "s"}${left}`;
    list(found);
  }

  // A set's own parts are offered; all of them where no set is chosen.
  set.addEventListener("change", () => {
    part.value = "";
    for (const option of part.options) option.hidden = option.value !== "" && set.value !== "" && data.kit_sets[option.value] !== Number(set.value);
  });
  listen(byId("answer-controls"), search, [pair, set, part, filter, label], update);
  update();
}

const changeData = readData("answer-data");
if (changeData) showChanges(changeData);
markSection();
