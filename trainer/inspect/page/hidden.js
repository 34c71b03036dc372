// Hidden states of the group in two dimensions; lines lead to the nearest neighbours of the chosen turn.
function drawHidden() {
  const group = here.group, credit = here.credit, hidden = group.hidden, row = here.row;
  if (hidden === null) return [note("Hidden states were not recorded: train with record=embeddings to see them here.")];
  const width = 560, height = 360, pad = 24;
  const span = (values) => [Math.min(...values), Math.max(...values)];
  const [left, right] = span(hidden.x), [low, high] = span(hidden.y);
  const scale = Math.min((width - 2 * pad) / Math.max(right - left, 1e-9), (height - 2 * pad) / Math.max(high - low, 1e-9));
  const spread = spots(hidden, scale);
  const x = (other) => width / 2 + (hidden.x[other] - (left + right) / 2) * scale + spread[other][0];
  const y = (other) => height / 2 - (hidden.y[other] - (low + high) / 2) * scale + spread[other][1];
  const near = hidden.near[row], order = [...group.rows.keys()].sort((a, b) => (a === row) - (b === row));
  return [
    note(`A dot is a turn of the group, placed by the policy's hidden state: near dots are situations that the policy holds for alike. Ringed: compared with this turn by ${here.estimator.label}. The two axes keep ${Math.round(100 * hidden.kept)} % of the variance.`),
    make("svg", {class: "plot hidden", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "hidden states of the group"},
      near.map((other) => make("line", {x1: x(row), y1: y(row), x2: x(other), y2: y(other), class: "tie"})),
      order.map((other) => make("circle", {cx: x(other), cy: y(other), r: other === row ? 8 : 5, onclick: () => jump(other),
        class: `state${other === row ? " me" : credit.state[other] === credit.state[row] ? " same" : ""}`,
        style: `fill:${tint(credit.value[other], here.most)}`},
        make("title", {}, rowWords(group, credit, other))))),
    make("h3", {}, "Nearest"),
    make("table", {}, make("thead", {}, make("tr", {}, ["cosine", "turn", "did", "return", "credit"].map((name) => make("th", {}, name)))),
      make("tbody", {}, near.map((other, place) => make("tr", {class: "go", onclick: () => jump(other)},
        make("td", {}, hidden.cosine[row][place].toFixed(4)), make("td", {}, spotWords(group, other)),
        make("td", {}, make("code", {}, squeezed(flat(text(group, group.action[other])), 44))),
        make("td", {}, plain(credit.returns[other])), make("td", {class: side(credit.value[other])}, signed(credit.value[other])))))),
  ];
}

// Rows at one place are laid out as a sunflower, so that none is hidden.
function spots(hidden, scale) {
  const count = new Map();
  return hidden.x.map((value, row) => {
    const name = `${Math.round((value * scale) / 5)},${Math.round((hidden.y[row] * scale) / 5)}`, place = count.get(name) || 0;
    count.set(name, place + 1);
    const radius = 5.2 * Math.sqrt(place), angle = 2.39996 * place;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  });
}

function spotWords(group, row) {
  const {r, t} = group.rows[row];
  return `${r + 1} · ${t + 1}`;
}

function rowWords(group, credit, row) {
  const {r, t} = group.rows[row];
  return `rollout ${r + 1}, turn ${t + 1}: ${flat(text(group, group.action[row]))}\nreturn ${plain(credit.returns[row])}, credit ${signed(credit.value[row])}`;
}
