// The records of the page. A group's record is parsed when it is first shown.
const page = JSON.parse(document.getElementById("page").textContent);
const parsed = new Map();

function groupAt(update, number) {
  const name = `group-${page.updates[update].update}-${number}`;
  if (!parsed.has(name)) {
    if (parsed.size > 400) parsed.clear();
    const group = JSON.parse(document.getElementById(name).textContent);
    group.rows = group.rollouts.flatMap((rollout, r) => Array.from({length: rollout.steps}, (_, t) => ({r, t})));
    parsed.set(name, group);
  }
  return parsed.get(name);
}

// What is shown: places in the lists of the page, not numbers of updates. It is kept in the address.
const view = {update: 0, group: 0, rollout: 0, turn: 0, estimator: 0, other: 1, panel: "why", wide: false};
const PANELS = ["why", "graph", "hidden", "tokens", "compare"];

const here = {
  get update() { return page.updates[view.update]; },
  get group() { return groupAt(view.update, view.group); },
  get rollout() { return this.group.rollouts[view.rollout]; },
  get row() { return this.rollout.start + view.turn; },
  get estimator() { return page.estimators[view.estimator]; },
  get other() { return page.estimators[view.other]; },
  get credit() { return this.group.credit[this.estimator.label]; },
  get most() { return mostOf(this.credit); },
};

// Values of the address and of keys are brought into the range of what there is.
function settle() {
  const clamp = (value, count) => Math.max(0, Math.min(count - 1, Number.isFinite(value) ? Math.round(value) : 0));
  view.update = clamp(view.update, page.updates.length);
  view.group = clamp(view.group, here.update.groups.length);
  view.rollout = clamp(view.rollout, here.group.rollouts.length);
  view.turn = clamp(view.turn, here.rollout.steps);
  view.estimator = clamp(view.estimator, page.estimators.length);
  view.other = clamp(view.other, page.estimators.length);
  if (!PANELS.includes(view.panel)) view.panel = "why";
}

function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  const update = page.updates.findIndex((head) => String(head.update) === words.get("update"));
  if (update >= 0) view.update = update;
  for (const name of ["group", "rollout", "turn"]) if (words.has(name)) view[name] = Number(words.get(name)) - 1;
  for (const name of ["estimator", "other"]) {
    const place = page.estimators.findIndex((one) => one.label === words.get(name));
    if (place >= 0) view[name] = place;
  }
  if (words.has("panel")) view.panel = words.get("panel");
}

function writeAddress() {
  const words = new URLSearchParams({
    update: here.update.update, group: view.group + 1, rollout: view.rollout + 1, turn: view.turn + 1,
    estimator: here.estimator.label, other: here.other.label, panel: view.panel,
  });
  history.replaceState(null, "", `#${words}`);
}

// The rows that were compared with a row, itself among them, and of these the ones that did the same.
function visitsOf(group, credit, row) {
  const rows = group.rows.map((_, other) => other).filter((other) => credit.state[other] === credit.state[row]);
  return {rows, same: rows.filter((other) => credit.action[other] === credit.action[row])};
}

// The largest credit or episode term of a group, by sign alike: what a full bar and a full colour stand for.
function mostOf(credit) {
  credit.most ??= Math.max(1e-9, ...credit.value.map(Math.abs), ...(credit.episode || []).map(Math.abs));
  return credit.most;
}

const text = (group, place) => group.texts[place];

// Whether the true advantage of a row is known to differ from 0.
function isTold(group, row) {
  if (group.truth === null) return false;
  return Math.abs(group.truth[row]) > (group.truth_error === null ? 1e-9 : group.truth_error[row]);
}
