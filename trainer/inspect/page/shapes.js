// Elements, numbers and colours.
function make(name, attributes = {}, ...children) {
  const space = SHAPES.has(name) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const SHAPES = new Set(["svg", "g", "line", "path", "circle", "rect", "text", "title", "polygon"]);

function signed(value, digits = 2) {
  if (Math.abs(value) < 0.5 * 10 ** -digits) return value === 0 ? "0" : "≈0";
  return `${value > 0 ? "+" : "−"}${Math.abs(value).toFixed(digits)}`;
}
const plain = (value) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(2).replace(/\.?0+$/, "");
const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
const short = (words, most) => (words.length > most ? `${words.slice(0, most - 1).trimEnd()}…` : words);
// The end of an action often says more than its middle.
function squeezed(words, most) {
  const tail = Math.floor(most * 0.45);
  return words.length > most ? `${words.slice(0, most - 1 - tail).trimEnd()}…${words.slice(-tail).trimStart()}` : words;
}
const flat = (words) => words.replace(/\s+/g, " ").trim();

const share = (value, most) => Math.max(-1, Math.min(1, value / most));
const side = (value) => (value > 0 ? "good" : value < 0 ? "bad" : "none");
function tint(value, most) {
  const part = Math.round(12 + 88 * Math.abs(share(value, most)) ** 0.8);
  return value === 0 ? "var(--zero)" : `color-mix(in oklab, var(--${side(value)}) ${part}%, var(--paper))`;
}

// A bar from the middle: the episode term light, the step term full, the sum a mark.
function creditBar(value, episode, most, width = 132) {
  const middle = width / 2, place = (credit) => middle + share(credit, most) * (middle - 3);
  const part = (from, to, name) => make("rect", {
    x: Math.min(place(from), place(to)), width: Math.max(0.01, Math.abs(place(to) - place(from))), y: 5, height: 10,
    rx: 1.5, class: `${side(to - from)} ${name}`,
  });
  const parts = episode === null ? [part(0, value, "step")] : [part(0, episode, "episode"), part(episode, value, "step")];
  return make("svg", {class: "bar", viewBox: `0 0 ${width} 20`, width, height: 20, "aria-hidden": "true"},
    make("line", {x1: middle, x2: middle, y1: 1, y2: 19, class: "zero"}), parts,
    make("line", {x1: place(value), x2: place(value), y1: 2, y2: 18, class: "sum"}));
}

function note(words) { return make("p", {class: "quiet"}, words); }

function jump(row) {
  const place = here.group.rows[row];
  show({rollout: place.r, turn: place.t});
}
