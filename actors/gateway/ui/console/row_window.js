// A table of any length of which only the rows in sight are in the page.

import { make, set } from "./dom.js";

const MOST = 100;
const BEYOND = 5;

/**
 * Shows rows, which have an `id`, in the body of a table inside of `scroll`.
 *
 * `create(row)` returns the element of a row, and `update(element, row)` brings it up to date. All
 * rows have the height that the property `--row` of `scroll` says.
 */
export class RowWindow {
  #scroll;
  #body;
  #create;
  #update;
  #rows = [];
  #elements = new Map();
  #above = spacer();
  #below = spacer();
  // Whose keys are pressed: the one row that Tab stops at.
  #current;
  // The row at the upper edge and its place, as what comes above it moves it.
  #first;
  #firstPlace = 0;
  #isNew = () => false;
  // An element that is out of the page has forgotten how far it was scrolled.
  #top = 0;

  constructor(scroll, body, { create, update }) {
    this.#scroll = scroll;
    this.#body = body;
    this.#create = create;
    this.#update = update;
    body.append(this.#above, this.#below);
    scroll.addEventListener("scroll", () => this.#render(), { passive: true });
    new ResizeObserver(() => this.#render()).observe(scroll);
  }

  /** The row that was moved to last, if it is still there. */
  get current() {
    return this.#rows[this.#placeOf(this.#current)];
  }

  /** What is in sight, for `restore`. */
  get sight() {
    return { top: this.#top, current: this.#current };
  }

  /** Comes back to what was in sight. */
  restore({ top, current }) {
    this.#current = current;
    this.#scroll.scrollTop = top;
    this.#render();
    this.#elements.get(current)?.querySelector("a")?.focus({ preventScroll: true });
  }

  /**
   * Shows `rows`; what is in sight stays where it is, also when others come above it, unless all is
   * shown `afresh`. A row that `isNew` comes into sight softly.
   */
  show(rows, { afresh = false, isNew = () => false } = {}) {
    const height = this.#height();
    const top = this.#scroll.scrollTop;
    this.#rows = rows;
    this.#isNew = isNew;
    const before = this.#firstPlace;
    const moved = !afresh && this.#first && top > 0 ? this.#placeOf(this.#first) : undefined;
    this.#render();
    if (afresh) this.#scroll.scrollTop = 0;
    else if (moved !== undefined) this.#scroll.scrollTop = top + (moved - before) * height;
    this.#render();
    this.#isNew = () => false;
  }

  /** Moves by `step` rows, or to the row `id`, and puts the focus there. */
  move(step, id = this.#current) {
    if (!this.#rows.length) return;
    const from = this.#placeOf(id) ?? (step > 0 ? -1 : this.#rows.length);
    const place = Math.min(Math.max(from + step, 0), this.#rows.length - 1);
    this.#current = this.#rows[place].id;
    this.#reveal(place);
    this.#render();
    this.#elements.get(this.#current)?.querySelector("a")?.focus({ preventScroll: true });
  }

  /** Forgets the elements of all rows, as they are to be made anew. */
  rebuild() {
    for (const element of this.#elements.values()) element.remove();
    this.#elements.clear();
  }

  /** Notes that the focus went to the row `id` by itself. */
  visit(id) {
    if (this.#current === id) return;
    this.#current = id;
    this.#render();
  }

  #placeOf(id) {
    const place = id === undefined ? -1 : this.#rows.findIndex((row) => row.id === id);
    return place < 0 ? undefined : place;
  }

  #reveal(place) {
    const height = this.#height();
    const head = this.#body.parentElement.tHead?.offsetHeight ?? 0;
    const { scrollTop, clientHeight } = this.#scroll;
    const top = place * height;
    if (top < scrollTop) this.#scroll.scrollTop = top;
    const bottom = top + height + head;
    if (bottom > scrollTop + clientHeight) this.#scroll.scrollTop = bottom - clientHeight;
  }

  #height() {
    return parseFloat(getComputedStyle(this.#scroll).getPropertyValue("--row"));
  }

  #render() {
    const height = this.#height();
    const { scrollTop, clientHeight } = this.#scroll;
    if (this.#scroll.isConnected) this.#top = scrollTop;
    const begin = Math.max(Math.floor(scrollTop / height) - BEYOND, 0);
    const count = Math.min(Math.ceil(clientHeight / height) + 2 * BEYOND, MOST);
    const shown = this.#rows.slice(begin, begin + count);
    const ids = new Set(shown.map((row) => row.id));
    this.#firstPlace = Math.floor(scrollTop / height);
    this.#first = this.#rows[this.#firstPlace]?.id;
    for (const [id, element] of this.#elements) {
      if (ids.has(id)) continue;
      element.remove();
      this.#elements.delete(id);
    }
    pad(this.#above, begin * height);
    pad(this.#below, Math.max(this.#rows.length - begin - shown.length, 0) * height);

    // Tab stops at the row that was moved to, or at the first.
    const stop = ids.has(this.#current) ? this.#current : shown[0]?.id;
    let before = this.#above;
    shown.forEach((row, place) => {
      const element = this.#element(row);
      set(element, "aria-rowindex", begin + place + 2);
      for (const part of element.querySelectorAll("a, input")) {
        part.tabIndex = row.id === stop ? 0 : -1;
      }
      // One that is in its place already stays untouched, and keeps the focus.
      if (before.nextSibling !== element) before.after(element);
      before = element;
    });
  }

  #element(row) {
    let element = this.#elements.get(row.id);
    if (!element) {
      element = this.#create(row);
      if (this.#isNew(row)) element.classList.add("new");
      this.#elements.set(row.id, element);
    }
    this.#update(element, row);
    return element;
  }
}

function spacer() {
  return make("tr", { role: "presentation", "aria-hidden": "true", class: "spacer" },
    make("td", { role: "presentation" }));
}

function pad(row, pixels) {
  row.hidden = !pixels;
  row.style.height = `${pixels}px`;
}
