// Reads the text that Prometheus scrapes. Nothing here touches the page.

const PREFIX = "anbox_stream_gateway_";
const LINE = /^([a-z_:][\w:]*)(?:\{(.*)\})? (\S+)/i;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** The samples of one scrape, by name without the prefix. */
export class Scrape {
  #samples = new Map();

  constructor(text) {
    for (const line of text.split("\n")) {
      if (line.startsWith("#")) continue;
      const [, name, labels = "", value] = line.match(LINE) ?? [];
      if (!name?.startsWith(PREFIX)) continue;
      const key = name.slice(PREFIX.length);
      if (!this.#samples.has(key)) this.#samples.set(key, []);
      this.#samples.get(key).push({ labels: readLabels(labels), value: Number(value) });
    }
  }

  /** Returns the samples called `name`, each with its labels and its value. */
  all(name) {
    return this.#samples.get(name) ?? [];
  }

  /** Returns the sum of the samples called `name` whose labels `holds` takes. */
  sum(name, holds = () => true) {
    return this.all(name).reduce((sum, { labels, value }) => sum + (holds(labels) ? value : 0), 0);
  }

  /** Returns what `sum` does by the value of one label. */
  by(name, label, holds = () => true) {
    const sums = new Map();
    for (const { labels, value } of this.all(name)) {
      if (holds(labels)) sums.set(labels[label], (sums.get(labels[label]) ?? 0) + value);
    }
    return sums;
  }
}

function readLabels(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(LABEL)) labels[name] = value.replace(/\\(.)/g, "$1");
  return labels;
}

/**
 * Returns the bound, in the unit of the histogram, below which the part `quantile` of what came
 * between two scrapes lies: buckets by their upper bounds, counts up to each. It is `undefined` if
 * nothing came.
 */
export function quantileOf(quantile, before, after) {
  const bounds = [...after.keys()].map((name) => [Number(name.replace("+Inf", "Infinity")), name]);
  bounds.sort(([one], [other]) => one - other);
  const counts = bounds.map(([, bound]) => after.get(bound) - (before.get(bound) ?? 0));
  const all = counts.at(-1);
  if (!(all > 0)) return undefined;
  const at = counts.findIndex((count) => count >= quantile * all);
  const [low, below] = at > 0 ? [bounds[at - 1][0], counts[at - 1]] : [0, 0];
  const [high] = bounds[at];
  // It is not told where in the last bucket it lies.
  if (high === Infinity) return low;
  const inside = counts[at] - below;
  return inside > 0 ? low + ((high - low) * (quantile * all - below)) / inside : high;
}
