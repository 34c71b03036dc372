// The group's merged graph: a dot is a state, an arrow an action; the chosen rollout's path lies on top.
function drawGraph() {
  const group = here.group;
  return [
    note(["A dot is a state, the bigger the more visits, the darker the higher its value V. An arrow is an action: ",
      make("i", {class: "swatch good"}), "blue got more credit on average, ", make("i", {class: "swatch bad"}),
      "red less. The outlined path is this rollout."]),
    graphShape(),
    make("div", {class: "paths"}, make("h3", {}, "Paths"), group.rollouts.map((rollout, r) => pathLine(group, rollout, r))),
  ];
}

function graphShape() {
  const group = here.group, credit = here.credit, graph = group.graph, nodes = graph.text.length;
  const layers = Math.max(...graph.layer) + 1;
  const top = Math.min(...graph.lane), lanes = Math.max(...graph.lane) - top + 1;
  const room = Math.max(300, Math.min(panelWidth(), 900));
  const words = room > 600, margin = words ? 130 : 66;
  const step = Math.max(40, Math.min(120, (room - margin) / Math.max(1, layers - 1)));
  const width = Math.max(room, margin + step * (layers - 1)), lane = Math.max(26, Math.min(52, 420 / lanes));
  const height = lane * (lanes - 1) + 74;
  const at = (node) => ({x: 40 + graph.layer[node] * step, y: 44 + (graph.lane[node] - top) * lane});
  const edges = edgesOf(group, credit), path = new Set(pathOf(group));
  const value = valuesOf(group, credit), high = Math.max(1e-9, ...value.map(Math.abs));
  const drawn = [...edges.values()].sort((a, b) => a.count - b.count).map((edge) => arrow(edge, at, path.has(edge.name)));
  const dotsOf = Array.from({length: nodes}, (_, node) => nodeDot(group, node, at(node), value[node] / high, value[node]));
  return make("div", {class: "scroll"}, make("svg", {class: "plot graph", viewBox: `0 0 ${width} ${height}`, width, height,
    role: "img", "aria-label": "merged state graph of the group"},
    drawn.map((one) => one.under), drawn.map((one) => one.line), dotsOf,
    endMark(at(nodes), "✓", words ? "solved" : "", "won"), endMark(at(nodes + 1), "✗", words ? "not solved" : "", "lost")));
}

function edgesOf(group, credit) {
  const graph = group.graph, edges = new Map();
  group.rows.forEach((_, row) => {
    const name = edgeName(group, row);
    const edge = edges.get(name) || {name, from: graph.source[row], to: graph.target[row], rows: [], count: 0, credit: 0};
    edge.rows.push(row);
    edge.count += 1;
    edge.credit += (credit.value[row] - edge.credit) / edge.count;
    edges.set(name, edge);
  });
  const parallel = new Map();
  for (const edge of edges.values()) {
    const pair = `${edge.from}>${edge.to}`;
    edge.bend = parallel.get(pair) || 0;
    parallel.set(pair, edge.bend + 1);
    edge.did = flat(text(group, group.action[edge.rows[0]]));
  }
  return edges;
}

const edgeName = (group, row) => `${group.graph.source[row]}>${group.graph.target[row]}:${group.key[row]}`;

function pathOf(group) {
  return Array.from({length: here.rollout.steps}, (_, t) => edgeName(group, here.rollout.start + t));
}

function valuesOf(group, credit) {
  const sums = group.graph.text.map(() => [0, 0]);
  group.rows.forEach((_, row) => {
    const sum = sums[group.graph.source[row]];
    sum[0] += credit.returns[row];
    sum[1] += 1;
  });
  return sums.map(([sum, count]) => sum / count);
}

function arrow(edge, at, onPath) {
  const from = at(edge.from), to = at(edge.to), now = edge.name === edgeName(here.group, here.row);
  const loop = edge.from === edge.to, side_ = edge.bend % 2 ? 1 : -1, bend = Math.ceil(edge.bend / 2) * 14 * side_;
  let curve;
  if (loop) {
    const r = 15 + 7 * edge.bend;
    curve = `M${from.x - 5},${from.y - 7}C${from.x - r},${from.y - 2.2 * r} ${from.x + r},${from.y - 2.2 * r} ${from.x + 5},${from.y - 7}`;
  } else {
    const across = to.x - from.x, reach = Math.max(24, Math.abs(across) / 2), lift = -20 - 0.25 * Math.abs(across) - bend;
    if (across > 0) curve = `M${from.x},${from.y}C${from.x + reach},${from.y + bend} ${to.x - reach},${to.y + bend} ${to.x},${to.y}`;
    else if (across === 0) curve = `M${from.x},${from.y}C${from.x + 26 + bend},${from.y} ${to.x + 26 + bend},${to.y} ${to.x},${to.y}`;
    else curve = `M${from.x},${from.y}C${from.x},${from.y + lift} ${to.x},${to.y + lift} ${to.x},${to.y}`;
  }
  const width = 1.2 + 1.3 * Math.sqrt(edge.count);
  const title = make("title", {}, `${edge.did}\n${counted(edge.count, "time")}, credit ${signed(edge.credit)} on average`);
  const line = make("path", {d: curve, class: `edge${now ? " now" : ""}`, "stroke-width": width,
    style: `stroke:${tint(edge.credit, here.most)}`, onclick: () => jump(ownRow(edge.rows))}, title);
  const under = onPath ? make("path", {d: curve, class: `under${now ? " now" : ""}`, "stroke-width": width + (now ? 8 : 4)}) : null;
  return {line, under};
}

// Of several rows, one of the chosen rollout if there is any.
function ownRow(rows) { return rows.find((row) => here.group.rows[row].r === view.rollout) ?? rows[0]; }

function nodeDot(group, node, spot, part, value) {
  const rows = group.rows.map((_, row) => row).filter((row) => group.graph.source[row] === node);
  const now = node === group.graph.source[here.row], radius = 5 + 2 * Math.sqrt(rows.length);
  const label = text(group, group.graph.text[node]);
  return make("g", {class: `node${now ? " now" : ""}`, onclick: () => jump(ownRow(rows))},
    make("circle", {cx: spot.x, cy: spot.y, r: radius, style: `fill:color-mix(in oklab, var(--ink) ${Math.round(8 + 62 * Math.max(0, part))}%, var(--paper))`}),
    radius > 9 && make("text", {x: spot.x, y: spot.y + 3.5, "text-anchor": "middle", class: part > 0.5 ? "on" : ""}, plain(Math.round(value * 10) / 10)),
    make("title", {}, `${short(flat(label), 400) || "(empty)"}\n${counted(rows.length, "visit")}, V ${plain(value)}`));
}

function endMark(spot, mark, words, name) {
  return make("g", {class: `end ${name}`}, make("circle", {cx: spot.x, cy: spot.y, r: 12}),
    make("text", {x: spot.x, y: spot.y + 4.5, "text-anchor": "middle"}, mark),
    make("text", {x: spot.x + 17, y: spot.y + 4, class: "quiet"}, words));
}

function pathLine(group, rollout, r) {
  const rows = Array.from({length: rollout.steps}, (_, t) => rollout.start + t);
  return make("p", {class: r === view.rollout ? "path chosen" : "path"},
    make("b", {class: rollout.success ? "won" : "lost"}, rollout.success ? "✓" : "✗"), ` ${r + 1} `,
    rows.map((row, t) => make("button", {type: "button", class: row === here.row ? "hop chosen" : "hop", onclick: () => jump(row),
      style: `border-color:${tint(here.credit.value[row], here.most)}`, title: `credit ${signed(here.credit.value[row])}`},
      squeezed(flat(text(group, group.action[row])), 34) || "(nothing)")));
}
