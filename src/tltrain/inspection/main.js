// Brings the parts together: filters, list, row, address, keys.

const SELECTS = ["kind", "blame", "tool", "source", "trained"];

async function start() {
  const index = openIndex(JSON.parse(await readText("index")));
  const wantedLabels = new Set();
  const counts = countOptions(index);
  const list = new RowList(index, byId("list"), byId("spacer"), (row) => goTo(row));
  let opened = null; // the row that is shown
  let view = "conversation";
  let searching = 0;
  let needle = "";

  // ---- what the file holds

  function drawFacts() {
    const numCalls = index.call_verdicts.length;
    const facts = [["rows", index.is_cut ? `first ${grouped(index.ids.length)}` : grouped(index.ids.length)], ["calls", grouped(numCalls)], [`blocked, ${index.policy}`, `${grouped(counts.blocked)} (${percent(counts.blocked, numCalls)})`]];
    if (index.num_masked_answers) facts.push(["answers masked by the file", grouped(index.num_masked_answers)]);
    if (index.model) facts.push(["tokens", visible(index.model)]);
    byId("facts").append(...facts.map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", value))));
    if (index.num_skipped) {
      byId("top").after(folded("notice skipped", `${counted(index.num_skipped, "row")} could not be read`, () => {
        const reasons = element("ul", "", ...index.reasons.map((reason) => element("li", "", visible(reason))));
        if (index.num_skipped > index.reasons.length) reasons.append(element("li", "", `and ${grouped(index.num_skipped - index.reasons.length)} more`));
        return reasons;
      }));
    }
  }

  function drawLabels() {
    const total = index.call_verdicts.length || 1;
    const bar = element("div", "stack");
    bar.setAttribute("aria-hidden", "true");
    const buttons = element("div", "legend");
    for (const [label, num] of counts.labels) {
      const part = element("i", label);
      part.style.flexGrow = num;
      bar.append(part);
      const button = element("button", `filter ${label}`, element("span", "sign", LABELS[label].sign), ` ${LABELS[label].text} `, element("b", "", grouped(num)), element("small", "", ` ${percent(num, total)}`));
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        if (!wantedLabels.delete(label)) wantedLabels.add(label);
        button.setAttribute("aria-pressed", String(wantedLabels.has(label)));
        update();
      });
      buttons.append(button);
    }
    byId("labels").append(bar, buttons);
  }

  function fillSelects() {
    for (const name of SELECTS) {
      const options = counts.options[name];
      byId(name).append(new Option("any", ""), ...options.map(([value, text, num]) => new Option(`${visible(text)} (${grouped(num)})`, value)));
      byId(name).closest("label").hidden = options.length < 2;
      byId(name).addEventListener("change", update);
    }
  }

  // ---- which rows are shown

  async function update() {
    const wanted = { labels: wantedLabels, ...Object.fromEntries(SELECTS.map((name) => [name, byId(name).value])) };
    const numUsed = wantedLabels.size + SELECTS.filter((name) => wanted[name]).length;
    byId("filter-count").textContent = numUsed ? `(${numUsed})` : "";
    const turn = ++searching;
    let rows = filterRows(index, wanted);
    needle = byId("query").value.trim().toLowerCase();
    if (needle) {
      rows = await searchRows(index, rows, needle, (found, share) => {
        if (turn !== searching) return false;
        byId("status").textContent = `${counted(found.length, "row")} so far, ${Math.floor(100 * share)}% searched`;
        list.show(found.slice());
        return true;
      });
      if (!rows || turn !== searching) return;
    }
    byId("list").scrollTop = 0;
    list.show(rows);
    byId("status").textContent = rows.length === index.ids.length ? counted(rows.length, "row") : `${grouped(rows.length)} of ${counted(index.ids.length, "row")}`;
    list.select(list.selected);
    const hit = opened && paintHits(byId("row"), needle);
    if (!opened || (rows.length && list.placeOf(opened.number) < 0)) { if (rows.length && isWide()) await show(rows[0]); }
    else if (hit) scrollToHit(hit);
    document.body.dataset.updated = String(turn);
  }

  function clear() {
    byId("query").value = "";
    for (const name of SELECTS) byId(name).value = "";
    wantedLabels.clear();
    for (const button of byId("labels").querySelectorAll("button")) button.setAttribute("aria-pressed", "false");
    update();
  }

  // ---- the row that is read

  const isWide = () => window.matchMedia("(min-width: 54rem)").matches;
  const scrollToHit = (range) => range.startContainer.parentElement.scrollIntoView({ block: "center" });
  const addressOf = (row) => `#row=${encodeURIComponent(index.ids[row])}${view === "tokens" ? "&view=tokens" : ""}`;

  async function show(row, call) {
    list.select(row);
    const turn = opened = await openRow(index, row);
    if (list.selected !== row || turn !== opened) return;
    byId("row-id").textContent = visible(opened.id);
    byId("row-about").textContent = `${visible(opened.source)} · ${counted(opened.body.messages.length, "message")} · ${counted(opened.body.calls.length, "call")}`;
    byId("link").href = addressOf(row);
    draw();
    byId("reader").scrollTop = 0;
    const hit = paintHits(byId("row"), needle);
    if (call !== undefined) focusCall(call);
    else if (hit) scrollToHit(hit);
    document.body.dataset.shown = opened.id;
  }

  function draw() {
    const hasTokens = Boolean(opened.body.tokens);
    byId("views").hidden = !hasTokens;
    const isTokens = hasTokens && view === "tokens";
    byId("row").replaceChildren(isTokens ? drawTokens(opened, index) : drawConversation(opened));
    bringEvidenceIntoSight(byId("row"));
    for (const button of byId("views").children) button.setAttribute("aria-pressed", String((button.dataset.view === "tokens") === isTokens));
  }

  function setView(name) {
    view = name;
    history.replaceState(null, "", addressOf(opened.number));
    byId("link").href = addressOf(opened.number);
    draw();
    paintHits(byId("row"), needle);
  }

  function goTo(row) {
    document.body.classList.add("reading");
    history.replaceState(null, "", addressOf(row));
    return show(row);
  }

  function focusCall(number) {
    const call = byId(`call-${number}`);
    call?.scrollIntoView({ block: "start" });
    call?.focus({ preventScroll: true });
  }

  function stepCall(step) {
    const calls = [...document.querySelectorAll(".call:not(.ok), .call.blocked")];
    const at = calls.indexOf(document.activeElement);
    const next = calls[at < 0 ? (step > 0 ? 0 : calls.length - 1) : (at + step + calls.length) % calls.length];
    if (next) focusCall(next.id.slice("call-".length));
  }

  async function openAddress() {
    const address = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B"));
    const id = address.get("row");
    if (id === null) return false;
    if (address.get("view")) view = address.get("view");
    const row = index.numbers.get(id);
    if (row === undefined) {
      byId("row").replaceChildren(element("p", "notice", `There is no row ${visible(id)} in this page.`));
      return true;
    }
    document.body.classList.add("reading");
    await show(row, address.get("call") ?? undefined);
    return true;
  }

  async function copyLink() {
    const link = byId("link");
    try {
      await navigator.clipboard.writeText(link.href);
      link.textContent = "copied";
    } catch {
      link.textContent = "copy the address";
    }
    history.replaceState(null, "", link.hash);
    setTimeout(() => { link.textContent = "link"; }, 1500);
  }

  // ---- keys and buttons

  const step = (by) => {
    const row = list.neighbour(by);
    if (row !== undefined) goTo(row);
  };
  const keys = {
    j: () => step(1),
    k: () => step(-1),
    n: () => stepCall(1),
    p: () => stepCall(-1),
    t: () => opened?.body.tokens && setView(view === "tokens" ? "conversation" : "tokens"),
    c: copyLink,
    "/": () => byId("query").focus(),
    "?": () => byId("keys").showModal(),
    Escape: () => document.body.classList.remove("reading"),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
    if (event.key === "Escape") document.activeElement.blur();
    else if (event.target.matches("input, select, textarea")) return;
    const isInList = event.target === byId("list");
    const key = isInList ? { ArrowDown: "j", ArrowUp: "k" }[event.key] ?? event.key : event.key;
    if (!Object.hasOwn(keys, key)) return;
    event.preventDefault();
    keys[key]();
  });
  let timer;
  byId("query").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(update, 160); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", clear);
  byId("previous").addEventListener("click", keys.k);
  byId("next").addEventListener("click", keys.j);
  byId("help").addEventListener("click", keys["?"]);
  byId("back").addEventListener("click", keys.Escape);
  byId("link").addEventListener("click", (event) => { event.preventDefault(); copyLink(); });
  byId("views").addEventListener("click", (event) => { if (event.target.dataset.view) setView(event.target.dataset.view); });
  window.addEventListener("hashchange", openAddress);
  if (!isWide()) byId("more-filters").open = false;

  drawFacts();
  drawLabels();
  fillSelects();
  if (await openAddress()) list.show(filterRows(index, { labels: wantedLabels, kind: "", blame: "", tool: "", source: "", trained: "" }));
  list.select(list.selected);
  await update();
}

start().catch((error) => {
  byId("row").replaceChildren(element("p", "notice", typeof DecompressionStream === "undefined" ? "This browser is too old for this page: it cannot inflate (DecompressionStream)." : String(error)));
});
