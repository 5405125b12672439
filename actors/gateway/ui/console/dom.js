// Makes elements. Text stays text: nothing here reads markup.

const SVG = "http://www.w3.org/2000/svg";
const NOTHING = [false, null, undefined];

/**
 * Returns an element with `attributes` and `children`, which are nodes, texts, lists of them, or
 * nothing: `false`, `null` or `undefined`. An attribute that begins with `on` is a listener; one that
 * is nothing is left out.
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else set(element, name, value);
  }
  element.append(...children.flat(3).filter((child) => !NOTHING.includes(child)));
  return element;
}

/** Sets an attribute, or takes it away if `value` is nothing. */
export function set(element, name, value) {
  if (NOTHING.includes(value)) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : value);
}

/** Shows `text` in `element`; returns whether that is a change. */
export function write(element, text) {
  if (element.textContent === text) return false;
  element.textContent = text;
  return true;
}

/** Returns a drawing of `shapes`, each a tag and its attributes, for eyes only. */
export function draw(box, className, ...shapes) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", box);
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  for (const [tag, attributes] of shapes) {
    const shape = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
    svg.append(shape);
  }
  return svg;
}

const CIRCLE = { cx: 6, cy: 6, r: 4.25 };
const RING = ["circle", { ...CIRCLE, class: "ring" }];

// A shape for each state, told apart without its colour.
const SHAPES = {
  good: [["circle", { ...CIRCLE, r: 5, class: "solid" }]],
  half: [RING, ["path", { d: "M6 1.75a4.25 4.25 0 0 0 0 8.5z", class: "solid" }]],
  low: [RING, ["path", { d: "M1.75 6a4.25 4.25 0 0 0 8.5 0z", class: "solid" }]],
  over: [RING],
  bad: [["path", { d: "M6 .8 11.6 11H.4z", class: "solid" }]],
  away: [["circle", { ...CIRCLE, class: "ring dashed" }]],
};

const STATES = {
  created: ["half", "warn"],
  active: ["good", "good"],
  terminating: ["low", "muted"],
  terminated: ["over", "muted"],
  error: ["bad", "bad"],
  serving: ["good", "good"],
  draining: ["low", "warn"],
  drained: ["over", "muted"],
  unavailable: ["bad", "bad"],
  silent: ["away", "bad"],
  good: ["good", "good"],
  withheld: ["bad", "bad"],
};

/** Returns the shape of `state` in its colour. */
export function shape(state) {
  const [name, colour] = STATES[state] ?? ["away", "muted"];
  return draw("0 0 12 12", `shape ${colour}`, ...SHAPES[name]);
}

/** Returns `state` as a shape, a colour and `word`. */
export function mark(state, word) {
  return make("span", { class: "mark" }, shape(state), make("span", {}, word));
}
