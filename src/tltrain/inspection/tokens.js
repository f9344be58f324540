// One row as the tokens that a trainer sees, shaded by the weight of each in the loss.

const MAX_WEIGHT = 9; // of key tokens, by default; heavier ones are shaded as this

// Weights span a factor of ten: shade by their logarithm, so that 2 differs from 1 as 8 does from 4.
const shade = (weight) => Math.max(0, Math.min(1, Math.log(Math.max(weight, 0.5)) / Math.log(MAX_WEIGHT)));

function drawTokens(row, index) {
  const tokens = row.body.tokens;
  const holder = element("div", "token-view");
  if (tokens.error !== undefined) {
    holder.append(element("p", "notice", "This row gives no training sequence: ", visible(row.text(tokens.error))));
    return holder;
  }
  holder.append(
    element("p", "token-facts", `${counted(tokens.total, "token")} of `, element("code", "", visible(index.model)), `, ${grouped(tokens.trained)} trained (${percent(tokens.trained, tokens.total)})`),
    drawLegend(),
  );
  const text = element("div", "tokens");
  text.dir = "ltr";
  for (const piece of tokens.pieces) text.append(piece.texts ? drawContext(row, piece) : drawTurn(row, piece));
  holder.append(text);
  const table = drawCallWeights(row, tokens);
  if (table) holder.append(table);
  return holder;
}

function drawLegend() {
  const sample = (className, weight, text) => {
    const token = element("span", `token ${className}`, text);
    token.style.setProperty("--w", shade(weight).toFixed(3));
    return element("li", "", token);
  };
  return element("ul", "legend", element("li", "", element("span", "context", "context")), sample("", 1, "weight 1"), sample("", 3, "weight 3"), sample("", MAX_WEIGHT, `weight ${MAX_WEIGHT}`), sample("key", 3, "key token"), sample("zero", 0, "not trained"));
}

function drawContext(row, piece) {
  const texts = piece.texts.map(row.text).join("");
  const draw = () => textBlock("context", texts);
  if (texts.length <= 300) return draw();
  return folded("fold context-fold", `${counted(piece.num, "token")} of context`, draw);
}

function expand(runs) {
  return runs.flatMap(([value, num]) => new Array(num).fill(value));
}

function drawTurn(row, piece) {
  const turn = element("div", "turn");
  const text = row.text(piece.text);
  const weights = expand(piece.weights);
  const kinds = expand(piece.kinds);
  let start = 0;
  piece.lengths.forEach((length, at) => {
    const isKey = kinds[at] === "key";
    const shown = visible(text.slice(start, start + length)).replace(/\n/g, "↵\n");
    const token = element("span", `token${weights[at] === 0 ? " zero" : ""}${isKey ? " key" : ""}`, shown);
    token.style.setProperty("--w", shade(weights[at]).toFixed(3));
    token.title = `${isKey ? "key token" : kinds[at]}, ${weights[at] === 0 ? "not trained" : `weight ${weights[at]}`}`;
    turn.append(token);
    start += length;
  });
  return turn;
}

function drawCallWeights(row, tokens) {
  const numbers = Object.keys(tokens.calls);
  if (!numbers.length) return null;
  const cell = (tag, className, text) => element(tag, className, text);
  const table = element("table", "call-weights", element("caption", "", "Key tokens of the calls: w = |NK| / |K|, between 1 and 9"));
  const head = ["call", "tool", "|K|", "|NK|", "w", "trained"].map((name, at) => {
    const made = cell("th", at > 1 && at < 5 ? "num" : "", name);
    made.scope = "col";
    return made;
  });
  table.append(element("thead", "", element("tr", "", ...head)));
  const rows = numbers.map((number) => {
    const [numKey, numOther, weight, isBlocked] = tokens.calls[number];
    return element("tr", "", cell("td", "", number), cell("td", "", visible(row.text(row.body.calls[number].tool))), cell("td", "num", String(numKey)), cell("td", "num", String(numOther)), cell("td", "num", weight.toFixed(2)), cell("td", "", isBlocked ? "no" : "yes"));
  });
  table.append(element("tbody", "", ...rows));
  return element("div", "scroll", table);
}
