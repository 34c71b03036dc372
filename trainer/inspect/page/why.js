// Why the chosen turn got its credit: a sentence, its parts, and the other visits to the state.
function drawWhy() {
  const group = here.group, credit = here.credit, row = here.row, value = credit.value[row];
  const episode = credit.episode === null ? null : credit.episode[row];
  return [
    make("p", {class: "headline"},
      make("strong", {class: side(value)}, signed(value)),
      make("span", {}, `Turn ${view.turn + 1} of rollout ${view.rollout + 1}: `,
        make("code", {}, short(flat(text(group, group.action[row])), 60) || "(nothing)"))),
    make("p", {class: "sentence"}, sentence(group, credit, row, episode)),
    episode === null ? note(`${here.estimator.label} states no two parts: its credit is one number.`)
      : waterfall(episode, value - episode, here.most),
    group.truth && truthLine(group, row),
    make("h3", {}, here.estimator.states === null ? "Visits to the same text" : "All visits to this state",
      make("span", {class: "quiet"}, ` ${stateWords()}${branchWords(group, credit, row)}`)),
    visitPlot(group, credit, row),
    make("h3", {}, "Where this lies in the group", make("span", {class: "quiet"}, " all rollouts, merged by state")),
    graphShape(),
    make("details", {}, make("summary", {}, "The state's text"), make("pre", {class: "saw"}, stateText(group, row))),
  ];
}

function stateText(group, row) { return text(group, group.graph.text[group.graph.source[row]]) || "(empty)"; }

function stateWords() {
  const states = here.estimator.states;
  return states === null ? `${here.estimator.label} compares no states` : states;
}

// The branch by which BiPACE names a row; it says for every estimator what there was to compare.
function branchWords(group, credit, row) {
  if (here.estimator.states === null) return "";
  const {rows, same} = visitsOf(group, credit, row);
  if (rows.length === 1) return " · branch: singleton, seen once";
  return same.length === rows.length ? " · branch: no contrast, one action" : " · branch: contrast, others acted otherwise";
}

function sentence(group, credit, row, episode) {
  const {rows, same} = visitsOf(group, credit, row);
  const won = group.rollouts.filter((rollout) => rollout.success).length, all = group.rollouts.length;
  const rollout = here.rollout, words = [];
  words.push(rollout.success ? `This rollout solved the task, as ${won} of ${all} did. `
    : won ? `This rollout failed; ${won} of ${all} solved the task. ` : `No rollout of this group solved the task. `);
  if (credit.critic !== null) words.push(...expected(credit, row));
  if (episode !== null) words.push("That gives this turn ", amount(episode), ". ");
  if (episode === null || here.estimator.states === null) return words;
  const step = credit.value[row] - episode, number = (value) => make("b", {}, plain(value));
  words.push("From this turn on it got ", number(credit.returns[row]), ". ");
  if (rows.length === 1) words.push("No other turn of the group was in this state, so there is nothing to compare. ");
  else words.push(`The ${rows.length} visits to this state got `, number(credit.value_here[row]), " on average (V), ",
    same.length === rows.length ? "and all did the same. " : [same.length === 1 ? "this action alone " : `the ${same.length} that did the same `,
      number(credit.value_action[row]), " (Q). "]);
  words.push("The step adds ");
  words.push(amount(step), ".");
  return words;
}

// What a critic said before the turn and after it, and what the turn brought between the two.
function expected(credit, row) {
  const last = view.turn === here.rollout.steps - 1, number = (value) => make("b", {}, plain(value));
  const rest = last ? 0 : here.estimator.gamma * credit.returns[row + 1];
  const reward = Math.round(1000 * (credit.returns[row] - rest)) / 1000 || 0;  // returns are rounded: no −0
  return ["The critic expected ", number(credit.critic[row]), " from this turn on. The turn brought ", number(reward), ", and after it ",
    ...(last ? ["nothing could follow"] : ["the critic expected ", number(credit.critic[row + 1])]), ". The credit adds up such surprises from here on. "];
}

function amount(value) { return make("b", {class: side(value)}, signed(value)); }

function truthLine(group, row) {
  const truth = group.truth[row], said = here.credit.value[row], error = group.truth_error === null ? 0 : group.truth_error[row];
  const verdict = said === 0 || !isTold(group, row) ? "" : Math.sign(truth) === Math.sign(said) ? "The sign is right." : "The sign is wrong.";
  return make("p", {class: "truth"}, "True advantage ", amount(truth), error > 0 && ` ± ${plain(error)}`,
    make("span", {class: "quiet"}, ` in units of reward${group.truth_error === null ? "" : ", estimated by playing on, 95 %"}. `), verdict);
}

function waterfall(episode, step, most) {
  const line = (name, value, words) => make("div", {class: "fall"}, make("span", {}, name),
    creditBar(value, null, most, 200), make("b", {class: side(value)}, signed(value)),
    make("span", {class: "quiet"}, words));
  return make("div", {class: "falls"},
    line("episode", episode, "from what the rollout got"),
    line("step", step, "this turn alone"),
    line("credit", episode + step, "what its tokens are weighed by"));
}

// A line for each action that was taken in the state; a dot for each visit, placed by its return.
function visitPlot(group, credit, row) {
  const {rows} = visitsOf(group, credit, row), byAction = new Map();
  for (const other of rows) byAction.set(credit.action[other], [...(byAction.get(credit.action[other]) || []), other]);
  const actions = [...byAction.values()].sort((a, b) => credit.value_action[b[0]] - credit.value_action[a[0]]);
  const own = actions.findIndex((visits) => visits.includes(row));
  const shown = actions.filter((_, place) => place < 12 || place === own);
  const returns = group.rows.map((_, other) => credit.returns[other]);
  const low = Math.min(0, ...returns), high = Math.max(...returns, low + 1e-9);
  const width = 640, left = 270, right = 60, step = 26, top = 22, height = top + step * shown.length + 24;
  const x = (value) => left + ((value - low) / (high - low)) * (width - left - right);
  const here_ = credit.value_here[row];
  const lines = shown.map((visits, place) => {
    const y = top + step * place + step / 2, did = visits.includes(row), quality = credit.value_action[visits[0]];
    return make("g", {class: did ? "own" : ""},
      did && make("rect", {x: 0, y: y - step / 2, width, height: step, rx: 4, class: "band"}),
      make("text", {x: left - 14, y: y + 4, "text-anchor": "end"}, squeezed(flat(text(group, group.action[visits[0]])), 38) || "(nothing)",
        make("title", {}, text(group, group.action[visits[0]]))),
      make("line", {x1: x(low), x2: x(high), y1: y, y2: y, class: "rule"}),
      make("line", {x1: x(here_), x2: x(quality), y1: y, y2: y, class: `gain ${side(quality - here_)}`}),
      dots(group, credit, visits, row, x, y),
      make("line", {x1: x(quality), x2: x(quality), y1: y - 9, y2: y + 9, class: "quality"}),
      make("text", {x: width - right + 14, y: y + 4, class: "q"}, plain(quality)));
  });
  const foot = height - 18;
  return make("svg", {class: "plot visits", viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": "returns of the visits to this state, by action"},
    lines,
    make("line", {x1: x(here_), x2: x(here_), y1: top - 4, y2: foot, class: "value"}),
    make("text", {x: x(here_), y: top - 9, "text-anchor": x(here_) > width - 90 ? "end" : "middle", class: "strong"}, `V ${plain(here_)}`),
    make("text", {x: width - right + 14, y: top - 9, class: "quiet"}, "Q"),
    make("text", {x: x(low), y: foot + 14, class: "quiet", "text-anchor": "middle"}, plain(low)),
    make("text", {x: x(high), y: foot + 14, class: "quiet", "text-anchor": "middle"}, plain(high)),
    make("text", {x: 0, y: foot + 14, class: "quiet"},
      `return to go${here.estimator.gamma < 1 ? `, ${here.estimator.gamma} a step` : ""}`),
    actions.length > shown.length && make("text", {x: 0, y: top - 9, class: "quiet"}, `and ${actions.length - shown.length} more actions`));
}

// Equal returns are stacked beside each other, not hidden behind each other.
function dots(group, credit, visits, row, x, y) {
  const level = new Map();
  return visits.map((other) => {
    const place = Math.round(x(credit.returns[other]) / 4), above = level.get(place) || 0;
    level.set(place, above + 1);
    const shift = (above % 2 ? 1 : -1) * Math.ceil(above / 2) * 5, spot = group.rows[other];
    return make("circle", {cx: x(credit.returns[other]), cy: y + Math.max(-9, Math.min(9, shift)), r: other === row ? 5.5 : 3.8,
      class: `dot ${group.rollouts[spot.r].success ? "won" : "lost"}${other === row ? " me" : ""}`, onclick: () => jump(other)},
      make("title", {}, `rollout ${spot.r + 1}, turn ${spot.t + 1}: return ${plain(credit.returns[other])}, credit ${signed(credit.value[other])}`));
  });
}
