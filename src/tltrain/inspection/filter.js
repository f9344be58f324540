// Which rows are shown. A row passes if its source fits and, where calls are filtered, one of its calls fits in all.

const LABELS = {
  ok: { sign: "✓", text: "ok" },
  error: { sign: "✗", text: "error" },
  ambiguous: { sign: "?", text: "ambiguous" },
  unanswered: { sign: "…", text: "unanswered" },
  unjudged: { sign: "○", text: "not judged" },
};
const TRAINED = { yes: "trained", any: "blocked", audit: "blocked by the audit", file: "blocked by the file", format: "blocked as unreadable" };

const READ_AHEAD = 4; // chunks that are inflated while one is searched

function passesTrained(verdict, wanted) {
  if (wanted === "yes") return !verdict.by;
  return wanted === "any" ? Boolean(verdict.by) : verdict.by === wanted;
}

// wanted: {labels: Set, kind, blame, tool, source, trained}; empty means any, tool and source are numbers as text.
function filterRows(index, wanted) {
  const fits = index.verdicts.map((verdict) =>
    (!wanted.labels.size || wanted.labels.has(verdict.label)) &&
    (!wanted.kind || verdict.kind === wanted.kind) &&
    (!wanted.blame || verdict.blame === wanted.blame) &&
    (!wanted.trained || passesTrained(verdict, wanted.trained)));
  const tool = wanted.tool === "" ? -1 : Number(wanted.tool);
  const source = wanted.source === "" ? -1 : Number(wanted.source);
  const isByCall = tool >= 0 || fits.includes(false);
  const found = [];
  for (let row = 0; row < index.ids.length; row++) {
    if (source >= 0 && index.row_sources[row] !== source) continue;
    let passes = !isByCall;
    for (let call = index.call_starts[row]; !passes && call < index.call_starts[row + 1]; call++) {
      passes = fits[index.call_verdicts[call]] && (tool < 0 || index.call_tools[call] === tool);
    }
    if (passes) found.push(row);
  }
  return found;
}

// Calls (or rows, for sources) per value of each filter, the most frequent first: [value, text, count].
function countOptions(index) {
  const perVerdict = new Array(index.verdicts.length).fill(0);
  for (const verdict of index.call_verdicts) perVerdict[verdict]++;
  const sum = (test) => index.verdicts.reduce((total, verdict, place) => total + (test(verdict) ? perVerdict[place] : 0), 0);
  const values = (field) => [...new Set(index.verdicts.map((verdict) => verdict[field]))].filter(Boolean);
  const byVerdict = (field) => values(field).map((value) => [value, words(value), sum((verdict) => verdict[field] === value)]);
  const byNumber = (names, column) => {
    const counts = new Array(names.length).fill(0);
    for (const number of column) counts[number]++;
    return names.map((name, number) => [String(number), name || "(no name)", counts[number]]);
  };
  const options = {
    kind: byVerdict("kind"),
    blame: byVerdict("blame").filter(([value]) => value !== "none"),
    tool: byNumber(index.tools, index.call_tools),
    source: byNumber(index.sources, index.row_sources),
    trained: Object.entries(TRAINED).map(([value, text]) => [value, text, sum((verdict) => passesTrained(verdict, value))]),
  };
  for (const list of [options.kind, options.blame, options.tool, options.source]) list.sort((a, b) => b[2] - a[2] || (a[1] < b[1] ? -1 : 1));
  options.trained = options.trained.filter(([value, , num]) => num || value === "yes" || value === "any");
  const labels = Object.keys(LABELS).map((label) => [label, sum((verdict) => verdict.label === label)]);
  return { options, labels: labels.filter(([, num]) => num), blocked: sum((verdict) => verdict.by) };
}

// Which of `rows` hold the needle, in time slices. tell(found, share) hears of progress; false from it stops the search.
async function searchRows(index, rows, needle, tell) {
  const isHit = (text) => text.toLowerCase().includes(needle);
  const sharedHits = new Set();
  for (let place = 0; place < index.shared.starts.length; place++) {
    (await index.shared.chunk(place)).forEach((value, at) => {
      // an array is a tool, and every row would be found by what its tools say of themselves
      if (typeof value === "string" && isHit(value)) sharedHits.add(index.shared.starts[place] + at);
    });
  }
  const found = [];
  let slice = performance.now();
  for (let at = 0; at < rows.length;) {
    const place = index.rows.chunkOf(rows[at]);
    for (let next = place + 1; next < Math.min(place + READ_AHEAD, index.rows.starts.length); next++) index.rows.chunk(next);
    const bodies = await index.rows.chunk(place);
    const first = index.rows.starts[place];
    for (; at < rows.length && rows[at] < first + bodies.length; at++) {
      const body = bodies[rows[at] - first];
      body.lower ??= body.texts.join("\u0000").toLowerCase();
      const isFound = body.lower.includes(needle) || index.ids[rows[at]].toLowerCase().includes(needle) ||
        (sharedHits.size && body.messages.some((message) => message.text < 0 && sharedHits.has(-1 - message.text)));
      if (isFound) found.push(rows[at]);
    }
    if (performance.now() - slice > 40) {
      if (!tell(found, at / rows.length)) return null;
      await new Promise((resolve) => setTimeout(resolve));
      slice = performance.now();
    }
  }
  return found;
}
