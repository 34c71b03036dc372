// All rollouts of the group at a glance, and the chosen one as text.
function drawMatrix() {
  const group = here.group, credit = here.credit, head = here.update.groups[view.group];
  const longest = Math.max(...group.rollouts.map((rollout) => rollout.steps));
  const rows = group.rollouts.map((rollout, r) => make("div", {class: `line${r === view.rollout ? " chosen" : ""}`},
    make("button", {type: "button", class: "who", title: `${rollout.ending}; return ${plain(rollout.total)}`,
      onclick: () => show({rollout: r, turn: 0})},
      make("b", {class: rollout.success ? "won" : "lost"}, rollout.success ? "✓" : "✗"), ` ${r + 1}`,
      make("small", {}, plain(rollout.total))),
    Array.from({length: rollout.steps}, (_, t) => cell(group, credit, rollout.start + t, r, t))));
  return [
    make("h2", {}, short(flat(head.task), 90), make("span", {class: "quiet"},
      ` ${head.won} of ${head.rollouts} rollouts solved it`)),
    make("div", {class: "grid", style: `--turns:${longest}`}, rows),
    make("p", {class: "quiet legend"}, "One line a rollout, one bar a turn. ",
      make("i", {class: "swatch good"}), "up: more of this. ", make("i", {class: "swatch bad"}), "down: less of it. ",
      "The longer, the more."),
  ];
}

function cell(group, credit, row, r, t) {
  const value = credit.value[row], height = 50 * Math.abs(share(value, here.most));
  const chosen = r === view.rollout && t === view.turn;
  const same = credit.state[row] === credit.state[here.row] && here.estimator.states !== null;
  const bar = `height:${Math.max(height, value === 0 ? 0 : 4)}%;` + (value >= 0 ? "bottom:50%" : "top:50%");
  return make("button", {type: "button", class: `cell${chosen ? " chosen" : ""}${same ? " same" : ""}`,
    title: `rollout ${r + 1}, turn ${t + 1}: ${flat(text(group, group.action[row]))}\ncredit ${signed(value)}`,
    "aria-label": `rollout ${r + 1}, turn ${t + 1}, credit ${signed(value)}`,
    onclick: () => show({rollout: r, turn: t})},
  make("i", {class: side(value), style: bar}));
}

function drawEpisode() {
  const group = here.group, rollout = here.rollout;
  const turns = Array.from({length: rollout.steps}, (_, t) => turnCard(group, rollout.start + t, t));
  return [
    make("h2", {}, `Rollout ${view.rollout + 1}`, make("span", {class: "quiet"},
      ` ${rollout.success ? "solved the task" : `did not solve the task (${rollout.ending})`}, return ${plain(rollout.total)}`)),
    make("ol", {class: "turns"}, turns),
  ];
}

function turnCard(group, row, t) {
  const credit = here.credit, chosen = t === view.turn;
  const response = text(group, group.response[row]), action = text(group, group.action[row]);
  const facts = [
    group.reward[row] !== 0 && make("span", {class: "fact"}, `reward ${plain(group.reward[row])}`),
    group.step_reward && group.step_reward[row] !== 0 && make("span", {class: "fact"}, `scorer ${signed(group.step_reward[row])}`),
    make("span", {class: "fact quiet"}, `return ${plain(credit.returns[row])}`),
    !group.valid[row] && make("span", {class: "fact wrong"}, "invalid"),
    credit.live && !credit.live[row] && make("span", {class: "fact wrong"}, "not learned from"),
  ];
  const parts = credit.episode === null ? [] : [
    make("small", {title: "what all turns of the rollout share"}, `episode ${signed(credit.episode[row])}`),
    make("small", {title: "what this turn alone gets"}, `step ${signed(credit.value[row] - credit.episode[row])}`)];
  return make("li", {class: chosen ? "turn chosen" : "turn", onclick: () => show({turn: t}), "aria-current": chosen || null},
    make("span", {class: "number"}, t + 1),
    make("div", {class: "said"},
      make("pre", {class: "saw"}, text(group, group.observation[row]).trim()),
      flat(response) !== flat(action) && make("pre", {class: "answer"}, response.trim()),
      make("p", {class: "did"}, make("code", {}, flat(action) || "(nothing)"), facts)),
    make("div", {class: "credit"},
      make("strong", {class: side(credit.value[row])}, signed(credit.value[row])),
      creditBar(credit.value[row], credit.episode && credit.episode[row], here.most, 110),
      make("span", {class: "parts"}, parts)));
}
