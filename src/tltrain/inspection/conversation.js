// One row as a conversation: who says what, and each call with its feedback and its verdict.

// What the drawing functions need of a row: its number, its body, and text(reference).
async function openRow(index, number) {
  const body = await index.rows.get(number);
  const references = new Set(body.tools);
  const note = (reference) => { if (reference < 0) references.add(-1 - reference); };
  body.messages.forEach((message) => note(message.text));
  (body.tokens?.pieces ?? []).forEach((piece) => (piece.texts ?? []).forEach(note));
  const shared = new Map(await Promise.all([...references].map(async (at) => [at, await index.shared.get(at)])));
  const start = index.call_starts[number];
  return {
    number,
    body,
    id: index.ids[number],
    source: index.sources[index.row_sources[number]],
    text: (reference) => (reference < 0 ? shared.get(-1 - reference) : body.texts[reference]),
    tools: body.tools.map((at) => shared.get(at)),
    verdict: (call) => index.verdicts[index.call_verdicts[start + call]],
  };
}

function drawConversation(row) {
  const holder = element("div", "conversation");
  if (row.body.tools.length) holder.append(drawTools(row));
  row.body.messages.forEach((message, at) => {
    if (message.role === "tool" && message.answers !== undefined) return; // stands with its call
    holder.append(drawMessage(row, message, at));
  });
  if (row.body.provenance !== undefined) {
    holder.append(folded("fold provenance", "Provenance", () => textBlock("mono", row.text(row.body.provenance))));
  }
  return holder;
}

function drawTools(row) {
  return folded("fold tools", counted(row.tools.length, "tool"), () => {
    const called = new Set(row.body.calls.map((call) => row.text(call.tool)));
    const list = element("div", "tool-list");
    for (const [name, description, parameters] of row.tools) {
      const head = [element("code", "", visible(name)), ...(called.has(name) ? [chip("quiet", "called")] : []), element("span", "about", visible(description.slice(0, 160)))];
      list.append(folded("tool", head, () => {
        const inside = element("div", "schema");
        if (description) inside.append(textBlock("", description));
        inside.append(textBlock("mono", parameters || "no parameters"));
        return inside;
      }));
    }
    return list;
  });
}

function drawMessage(row, message, at) {
  const drawn = element("section", `message ${message.role}`);
  drawn.id = `message-${at}`;
  drawn.setAttribute("aria-label", message.role);
  const isMasked = message.weight === 0;
  if (isMasked) drawn.classList.add("masked");
  const who = message.role === "tool" ? ["tool", ...(message.name === undefined ? [] : [" ", element("code", "", visible(row.text(message.name)))])] : [message.role];
  const head = element("p", "who", ...who);
  drawn.append(head);
  if (message.weight !== undefined) head.append(weightChip(row, message));
  else if (message.reason !== undefined) head.append(chip("quiet", visible(row.text(message.reason))));
  if (message.reasoning !== undefined) drawn.append(drawReasoning(row, message));
  const text = row.text(message.text);
  if (message.role === "system") drawn.append(drawSystem(text));
  else if (text || !message.calls) drawn.append(text ? textBlock("said", text, spanMarks(message, "content")) : element("p", "empty", "(empty)"));
  for (const number of message.calls ?? []) drawn.append(drawCall(row, number));
  return drawn;
}

function weightChip(row, message) {
  const reason = message.reason === undefined ? "" : `: ${visible(row.text(message.reason))}`;
  return chip(message.weight === 0 ? "blocked" : "quiet", message.weight === 0 ? `not trained, by the file${reason}` : `weight ${message.weight} in the file${reason}`);
}

function spanMarks(message, field) {
  const spans = (message.spans ?? []).filter(([name]) => name === field).sort((a, b) => a[1] - b[1]);
  let last = 0;
  return spans.flatMap(([, start, end, weight]) => {
    const from = Math.max(start, last);
    if (from >= end) return [];
    last = end;
    return [[from, end, weight === 0 ? "span-blocked" : "span-weight", `weight ${weight} in the file`]];
  });
}

function drawReasoning(row, message) {
  const text = row.text(message.reasoning);
  return folded("fold reasoning", `Reasoning, ${counted(text.length, "character")}`, () => textBlock("thought", text, spanMarks(message, "reasoning_content")));
}

function drawSystem(text) {
  if (text.length <= 320 && text.split("\n").length <= 4) return textBlock("said", text);
  const line = text.trimStart().slice(0, 140).replace(/\s+/g, " ");
  return folded("fold", [element("span", "first-line", visible(line)), element("span", "size", ` … ${counted(text.length, "character")}`)], () => textBlock("said", text));
}

function drawCall(row, number) {
  const call = row.body.calls[number];
  const verdict = row.verdict(number);
  const drawn = element("article", `call ${verdict.label}`);
  drawn.id = `call-${number}`;
  drawn.tabIndex = -1;
  drawn.setAttribute("aria-label", `call ${number}, ${LABELS[verdict.label].text}${call.blocks ? ", not trained" : ""}`);
  if (call.blocks) drawn.classList.add("blocked");
  const name = row.text(call.tool);
  const head = element("header", "", element("code", "callee", visible(name) || "(unreadable)"), verdictChip(verdict));
  if (verdict.kind && verdict.kind !== verdict.label) head.append(chip("kind", words(verdict.kind)));
  if (verdict.blame && verdict.blame !== "none") head.append(chip("quiet", `blame: ${verdict.blame}`));
  head.append(element("span", "number", `call ${number}`));
  drawn.append(head, drawArguments(row, call));
  for (const [by, reason] of call.blocks ?? []) drawn.append(element("p", "why", element("b", "", "not trained"), ` · ${by === "file" ? "the file says: " : ""}${visible(row.text(reason))}`));
  drawn.append(drawFeedback(row, call));
  const notes = drawNotes(row, call, verdict);
  if (notes) drawn.append(notes);
  return drawn;
}

function verdictChip(verdict) {
  const { sign, text } = LABELS[verdict.label];
  return chip(`verdict ${verdict.label}`, `${sign} ${text}`);
}

function drawArguments(row, call) {
  if (call.raw !== undefined) return textBlock("mono raw", row.text(call.raw));
  if (!call.arguments.length) return element("p", "empty", "no arguments");
  const list = element("dl", "arguments");
  for (const [name, value] of call.arguments) {
    list.append(element("div", "", element("dt", "", visible(row.text(name))), element("dd", "", textBlock("mono", row.text(value)))));
  }
  return list;
}

function drawFeedback(row, call) {
  if (call.answer === undefined) return element("p", "feedback empty", "no feedback");
  const message = row.body.messages[call.answer];
  const text = row.text(message.text);
  const marks = (call.evidence ?? []).map(([start, end]) => [start, end, "evidence", `evidence of rule ${row.text(call.rule)}`]);
  const holder = element("div", "feedback");
  holder.setAttribute("aria-label", "feedback");
  holder.append(text ? textBlock("mono", text, marks) : element("p", "empty", "(empty feedback)"));
  return holder;
}

function drawNotes(row, call, verdict) {
  const notes = [];
  if (call.rule !== undefined) notes.push(["rule ", element("code", "", visible(row.text(call.rule)))]);
  if (call.words !== undefined) notes.push(["evidence ", element("q", "", visible(row.text(call.words)))]);
  if (call.truth !== undefined) {
    const isRight = call.truth === "right";
    const disagrees = isRight ? verdict.label === "error" : verdict.label !== "error";
    notes.push([element("span", disagrees ? "disagrees" : "", `truth: ${words(call.truth)}`)]);
  }
  if (!notes.length) return null;
  const holder = element("div", "notes", element("p", "", ...notes.map((note) => element("span", "", ...note))));
  if (call.witnesses) holder.append(drawWitnesses(row, call.witnesses));
  return holder;
}

const LAYERS = { call: "the call", feedback: "the feedback", then: "what follows", label: "a label" };

// Everything that was found about a call, the one that decided first.
function drawWitnesses(row, witnesses) {
  return element("ul", "witnesses", ...witnesses.map(([layer, rule, says, found]) => element("li", "",
    `${LAYERS[layer] ?? layer} says `, element("span", `says ${says}`, LABELS[says]?.text ?? says), ", ", element("code", "", visible(row.text(rule))),
    ...(row.text(found) ? [`: ${visible(row.text(found))}`] : []))));
}

// A long feedback scrolls in its own box; the evidence in it is what one wants to see.
function bringEvidenceIntoSight(root) {
  for (const mark of root.querySelectorAll("mark.evidence")) {
    const box = mark.closest(".text");
    if (mark.offsetTop + mark.offsetHeight > box.clientHeight) box.scrollTop = mark.offsetTop - box.clientHeight / 2;
  }
}
