// Choices, keys, and what is drawn when.
const PARTS = {matrix: drawMatrix, panel: drawPanel, episode: drawEpisode};
const DRAW = {why: drawWhy, graph: drawGraph, hidden: drawHidden, tokens: drawTokens, compare: drawCompare};
const NAMES = {why: "Why", graph: "State graph", hidden: "Hidden space", tokens: "Tokens", compare: "Two estimators"};

function show(changes) {
  Object.assign(view, changes);
  settle();
  writeAddress();
  draw();
}

function draw() {
  document.getElementById("choice").replaceChildren(...drawChoice());
  for (const [name, part] of Object.entries(PARTS)) document.getElementById(name).replaceChildren(...part().flat().filter(Boolean));
  const cellHere = document.querySelector("#matrix .cell.chosen"), turn = document.querySelector(".turn.chosen"), list = document.querySelector(".turns");
  scrollInto(document.querySelector("#matrix .grid"), cellHere);
  scrollInto(list, turn);
}

// Moves the box so that the element can be seen, and nothing else.
function scrollInto(box, element) {
  if (!box || !element) return;
  const outer = box.getBoundingClientRect(), inner = element.getBoundingClientRect();
  if (inner.top < outer.top || inner.bottom > outer.bottom) box.scrollTop += inner.top - outer.top;
  if (inner.left < outer.left + 80 || inner.right > outer.right) box.scrollLeft += inner.left - outer.left - outer.width / 2;
}

const panelWidth = () => document.getElementById("panel").clientWidth - 40;

function drawPanel() {
  const tabs = PANELS.map((name, place) => make("button", {type: "button", role: "tab", title: `key ${place + 1}`,
    "aria-selected": String(view.panel === name), onclick: () => show({panel: name})}, NAMES[name]));
  return [make("div", {class: "tabs", role: "tablist"}, tabs),
    make("div", {class: `body ${view.panel}`}, DRAW[view.panel]())];
}

function chooser(name, count, label, options) {
  return make("span", {class: "chooser"}, make("label", {}, label,
    make("select", {"aria-label": name, onchange: (event) => move(name, Number(event.target.value) - view[name])},
      options.map((words, place) => make("option", {value: place, selected: place === view[name]}, words)))),
  make("button", {type: "button", "aria-label": `${name} before`, disabled: view[name] === 0, onclick: () => move(name, -1)}, "‹"),
  make("button", {type: "button", "aria-label": `next ${name}`, disabled: view[name] === count - 1, onclick: () => move(name, 1)}, "›"));
}

function drawChoice() {
  const heads = here.update.groups;
  return [
    chooser("update", page.updates.length, "update ", page.updates.map((head) => head.update)),
    chooser("group", heads.length, "group ", heads.map((head, place) => `${place + 1}: ${short(flat(head.task), 30)} (${head.won}/${head.rollouts})`)),
    make("span", {class: "estimators", role: "group", "aria-label": "estimator"}, page.estimators.map((one, place) =>
      make("button", {type: "button", title: one.title, "aria-pressed": String(place === view.estimator),
        onclick: () => show({estimator: place})}, one.label))),
  ];
}

function move(name, by) {
  const first = {update: {group: 0, rollout: 0, turn: 0}, group: {rollout: 0, turn: 0}};
  const before = view[name];
  show({[name]: view[name] + by});
  if (view[name] !== before && first[name]) show(first[name]);
}

const KEYS = {
  ArrowRight: ["→ ←", "next turn, turn before", () => move("turn", 1)],
  ArrowLeft: [null, null, () => move("turn", -1)],
  ArrowDown: ["↓ ↑", "next rollout, rollout before", () => move("rollout", 1)],
  ArrowUp: [null, null, () => move("rollout", -1)],
  "]": ["] [", "next group, group before", () => move("group", 1)],
  "[": [null, null, () => move("group", -1)],
  "}": ["} {", "next update, update before", () => move("update", 1)],
  "{": [null, null, () => move("update", -1)],
  e: ["e", "next estimator", () => show({estimator: (view.estimator + 1) % page.estimators.length})],
  s: ["s", "the two estimators change places", () => show({estimator: view.other, other: view.estimator})],
  ...Object.fromEntries(PANELS.map((name, place) => [String(place + 1), [place + 1, NAMES[name], () => show({panel: name})]])),
  "?": ["?", "this list; Esc closes it", () => document.getElementById("help").showModal()],
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("select, input, textarea"), open = document.getElementById("help").open;
  if (event.ctrlKey || event.metaKey || event.altKey || typing || open || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key][2]();
});

function drawHelp() {
  const word = (name, meaning) => [make("dt", {}, name), make("dd", {}, meaning)];
  return [
    make("h2", {}, "Keys"),
    make("dl", {}, Object.values(KEYS).filter(([name]) => name !== null).map(([name, meaning]) => word(name, meaning))),
    make("h2", {}, "Words"),
    make("dl", {},
      word("credit", "the advantage: a turn's tokens become likelier where it is above 0, and less likely below"),
      word("episode", "the part that all turns of a rollout share: its return against its siblings'"),
      word("step", "the part of one turn: its return to go against that of other turns in the same state"),
      word("scorer", "what a scorer added to the world's reward of the turn; returns hold it"),
      word("return", "all reward from the turn on, later reward discounted by the estimator's gamma"),
      word("V", "mean return of all visits to the state"),
      word("Q", "mean return of those visits that took the action"),
      ...page.estimators.map((one) => word(one.label, one.title))),
    make("form", {method: "dialog"}, make("button", {}, "Close")),
  ];
}

function start() {
  const facts = [page.run.split("/").filter(Boolean).pop(), page.world, page.own && `trained with ${page.own}`];
  document.getElementById("run").append(facts.filter(Boolean).join(" · "));
  document.getElementById("missing").append(...page.missing.map(note));
  document.getElementById("help").append(...drawHelp());
  document.getElementById("ask").addEventListener("click", () => document.getElementById("help").showModal());
  const mixed = here.update.groups.findIndex((head) => head.won > 0 && head.won < head.rollouts);
  view.group = Math.max(0, mixed); // where success and failure can be compared, unless the address says otherwise
  readAddress();
  show({});
  window.addEventListener("hashchange", () => { readAddress(); show({}); });
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; draw(); } });
  if (page.follows) follow();
  document.body.dataset.drawn = Math.round(performance.now());
}
start();
