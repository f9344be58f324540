// Reading the page's data: JSON, deflated, in base64, in script elements that no browser runs.

const byId = (id) => document.getElementById(id);
const CACHE_CHARS = 150e6; // JSON text whose decoded values are kept; beyond, what was not used longest is read again

// The page may still be loading: an element is whole once something follows it.
async function wholeElement(id) {
  for (;;) {
    const isLoading = document.readyState === "loading";
    const found = byId(id);
    if (found && (found.nextElementSibling || !isLoading)) return found;
    if (!isLoading) throw new Error(`The page lacks its part ${id}; it was cut short. Make it anew.`);
    await new Promise((resolve) => setTimeout(resolve, 4));
  }
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function readText(id) {
  const inflater = new DecompressionStream("deflate-raw");
  const writer = inflater.writable.getWriter();
  const written = writer.write(fromBase64((await wholeElement(id)).textContent)).then(() => writer.close());
  const [text] = await Promise.all([new Response(inflater.readable).text(), written]);
  return text;
}

// Values in numbered chunks; `starts` has the number of the first value of each.
class Store {
  constructor(name, starts) {
    this.name = name;
    this.starts = starts;
    this.cache = new Map();
    this.chars = 0;
  }

  chunkOf(number) {
    let low = 0, high = this.starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= number) low = middle; else high = middle - 1;
    }
    return low;
  }

  // Values of a chunk, as a promise: who asks while it is being read waits for the same reading.
  chunk(place) {
    const entry = this.cache.get(place) ?? this.read(place);
    this.cache.delete(place);
    this.cache.set(place, entry); // the last one is the one used last
    return entry.values;
  }

  read(place) {
    const entry = { chars: 0 };
    entry.values = readText(`${this.name}-${place}`).then((text) => {
      entry.chars = text.length;
      this.chars += entry.chars;
      this.forgetOldest(place);
      return JSON.parse(text);
    });
    return entry;
  }

  forgetOldest(kept) {
    for (const [place, { chars }] of this.cache) {
      if (this.chars <= CACHE_CHARS) break;
      if (place === kept || !chars) continue;
      this.cache.delete(place);
      this.chars -= chars;
    }
  }

  async get(number) {
    const place = this.chunkOf(number);
    return (await this.chunk(place))[number - this.starts[place]];
  }
}

// The index as typed columns, with where each row's calls begin.
function openIndex(index) {
  const starts = new Uint32Array(index.ids.length + 1);
  index.num_calls.forEach((num, row) => { starts[row + 1] = starts[row] + num; });
  return {
    ...index,
    call_starts: starts,
    call_tools: Uint32Array.from(index.call_tools),
    call_verdicts: Uint32Array.from(index.call_verdicts),
    row_sources: Uint32Array.from(index.row_sources),
    verdicts: index.verdicts.map(([label, kind, blame, by]) => ({ label, kind, blame, by })),
    numbers: new Map(index.ids.map((id, row) => [id, row])),
    rows: new Store("rows", index.row_chunks),
    shared: new Store("shared", index.shared_chunks),
  };
}
