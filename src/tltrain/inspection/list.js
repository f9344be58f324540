// The list of rows. Only those in sight are in the page: each has the same height, and stands where it would be.

const ROW_HEIGHT = 62; // pixels, as .item in page.css
const MAX_DOTS = 28;

class RowList {
  constructor(index, holder, spacer, choose) {
    this.index = index;
    this.holder = holder;
    this.spacer = spacer;
    this.rows = [];
    this.selected = -1; // a row's number
    this.drawn = new Map();
    holder.addEventListener("scroll", () => this.draw());
    holder.addEventListener("click", (event) => {
      const item = event.target.closest(".item");
      if (item) choose(Number(item.dataset.row));
    });
    new ResizeObserver(() => this.draw()).observe(holder);
  }

  show(rows) {
    this.rows = rows;
    this.spacer.style.height = `${rows.length * ROW_HEIGHT}px`;
    for (const item of this.drawn.values()) item.remove();
    this.drawn.clear();
    this.draw();
  }

  // Place of a row in the list; -1 if it is filtered out. Rows are in ascending order.
  placeOf(row) {
    let low = 0, high = this.rows.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle] === row) return middle;
      if (this.rows[middle] < row) low = middle + 1; else high = middle - 1;
    }
    return -1;
  }

  // The row a step before or after the selected one, also where that one is filtered out.
  neighbour(step) {
    const place = this.placeOf(this.selected);
    if (place >= 0) return this.rows[place + step];
    const after = this.rows.findIndex((row) => row > this.selected);
    return this.rows[step > 0 ? after : (after < 0 ? this.rows.length : after) - 1];
  }

  select(row) {
    this.selected = row;
    const place = this.placeOf(row);
    if (place >= 0) {
      const top = place * ROW_HEIGHT;
      if (top < this.holder.scrollTop) this.holder.scrollTop = top;
      else if (top + ROW_HEIGHT > this.holder.scrollTop + this.holder.clientHeight) this.holder.scrollTop = top + ROW_HEIGHT - this.holder.clientHeight;
    }
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.holder.scrollTop / ROW_HEIGHT) - 4);
    const last = Math.min(this.rows.length, Math.ceil((this.holder.scrollTop + this.holder.clientHeight) / ROW_HEIGHT) + 4);
    for (const [place, item] of this.drawn) {
      if (place < first || place >= last) { item.remove(); this.drawn.delete(place); }
    }
    for (let place = first; place < last; place++) {
      if (!this.drawn.has(place)) {
        const item = this.makeItem(place);
        this.drawn.set(place, item);
        this.spacer.append(item);
      }
      this.drawn.get(place).setAttribute("aria-selected", String(this.rows[place] === this.selected));
    }
    const place = this.placeOf(this.selected);
    if (this.drawn.has(place)) this.holder.setAttribute("aria-activedescendant", `item-${place}`);
    else this.holder.removeAttribute("aria-activedescendant");
  }

  makeItem(place) {
    const { index } = this;
    const row = this.rows[place];
    const num = index.num_calls[row];
    const item = element("div", "item",
      element("div", "line", element("span", "id", visible(index.ids[row])), element("span", "calls", counted(num, "call"))),
      element("div", "words", visible(index.titles[row]) || "(no text)"),
      this.makeDots(row, num));
    item.id = `item-${place}`;
    item.dataset.row = row;
    item.style.top = `${place * ROW_HEIGHT}px`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-setsize", this.rows.length);
    item.setAttribute("aria-posinset", place + 1);
    item.title = `${visible(index.ids[row])} · ${visible(index.sources[index.row_sources[row]])}`;
    return item;
  }

  makeDots(row, num) {
    const start = this.index.call_starts[row];
    const dots = element("div", "dots");
    const counts = {};
    for (let call = 0; call < num; call++) {
      const { label, by } = this.index.verdicts[this.index.call_verdicts[start + call]];
      counts[label] = (counts[label] ?? 0) + 1;
      if (call < MAX_DOTS) dots.append(element("i", `dot ${label}${by ? " blocked" : ""}`));
    }
    if (num > MAX_DOTS) dots.append(element("span", "", `+${num - MAX_DOTS}`));
    dots.setAttribute("role", "img");
    dots.setAttribute("aria-label", Object.entries(counts).map(([label, count]) => `${count} ${LABELS[label].text}`).join(", ") || "no calls");
    dots.append(element("span", "source", visible(this.index.sources[this.index.row_sources[row]])));
    return dots;
  }
}
