// Two estimators on the same rows, those that they disagree on most first. Each is measured by its own scale.
function drawCompare() {
  if (page.estimators.length < 2) return [note("One estimator is here: name two, as in estimators=[gigpo,bipace].")];
  const first = here.estimator.label, second = here.other.label, rows = comparedRows(first, second);
  const signs = rows.filter((one) => one.a * one.b !== 0), equal = signs.filter((one) => one.a * one.b > 0).length;
  rows.sort((one, two) => two.gap - one.gap);
  return [
    make("p", {class: "choose"}, picker("estimator"), " beside ", picker("other"),
      make("label", {}, make("input", {type: "checkbox", checked: view.wide, onchange: (event) => show({wide: event.target.checked})}), " all groups of the update")),
    make("p", {class: "sentence"}, signs.length ? `They agree on the sign of ${Math.round((100 * equal) / signs.length)} % of ${counted(signs.length, "turn")} that both give credit to.`
      : "No turn gets credit from both."),
    truthSummary(rows, first, second),
    scatter(rows, first, second),
    make("h3", {}, "Where they disagree most", make("span", {class: "quiet"}, " difference in units of each one's own size")),
    make("table", {class: "compare"}, make("thead", {}, make("tr", {}, [view.wide ? "group · rollout · turn" : "rollout · turn", "did", first, second, "apart", here.group.truth && "truth"]
      .filter(Boolean).map((name) => make("th", {}, name)))),
    make("tbody", {}, rows.slice(0, 60).map((one) => make("tr", {class: isHere(one) ? "go chosen" : "go", onclick: () => show({group: one.g, rollout: one.r, turn: one.t})},
      make("td", {}, `${view.wide ? `${one.g + 1} · ` : ""}${one.r + 1} · ${one.t + 1}`),
      make("td", {}, make("code", {}, squeezed(one.did, 26))),
      creditCell(one.value, one.a), creditCell(one.otherValue, one.b), make("td", {}, one.gap.toFixed(1)),
      one.truth !== null && make("td", {class: side(one.truth)}, signed(one.truth)))))),
  ];
}

function creditCell(value, part) {
  return make("td", {class: `pair ${side(value)}`}, creditBar(part, null, 2.5, 64), ` ${signed(value)}`);
}

const isHere = (one) => one.g === view.group && one.r === view.rollout && one.t === view.turn;

function comparedRows(first, second) {
  const numbers = view.wide ? here.update.groups.map((_, number) => number) : [view.group], scale = here.update.scale;
  return numbers.flatMap((g) => {
    const group = groupAt(view.update, g), one = group.credit[first].value, two = group.credit[second].value;
    return group.rows.map(({r, t}, row) => {
      const a = one[row] / scale[first], b = two[row] / scale[second];
      return {g, r, t, a, b, gap: Math.abs(a - b), value: one[row], otherValue: two[row],
        did: flat(text(group, group.action[row])), truth: group.truth === null ? null : group.truth[row], told: isTold(group, row)};
    });
  });
}

function truthSummary(rows, first, second) {
  const told = rows.filter((one) => one.told);
  const right = (name) => `${Math.round((100 * told.filter((one) => one[name] * one.truth > 0).length) / told.length)} %`;
  return told.length > 0 && make("p", {class: "truth"}, `Against the true advantage, ${first} has the right sign in ${right("a")} and ${second} in ${right("b")} of ${counted(told.length, "turn")} whose truth is known to differ from 0.`);
}

function picker(name) {
  return make("select", {"aria-label": "estimator", onchange: (event) => show({[name]: Number(event.target.value)})},
    page.estimators.map((one, place) => make("option", {value: place, selected: place === view[name]}, one.label)));
}

function scatter(rows, first, second) {
  const size = 300, middle = size / 2, place = (value) => share(value, 2.5) * (middle - 14);
  const order = [...rows].sort((one, two) => isHere(one) - isHere(two));
  return make("svg", {class: "plot scatter", viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": `credit by ${first} and by ${second}`},
    make("rect", {x: 0, y: 0, width: middle, height: middle, class: "apart"}), make("rect", {x: middle, y: middle, width: middle, height: middle, class: "apart"}),
    make("line", {x1: 0, x2: size, y1: middle, y2: middle, class: "rule"}), make("line", {x1: middle, x2: middle, y1: 0, y2: size, class: "rule"}),
    order.slice(-4000).map((one) => make("circle", {cx: middle + place(one.a), cy: middle - place(one.b), r: isHere(one) ? 6 : 3, class: `pairdot${isHere(one) ? " me" : ""}`,
      onclick: () => show({group: one.g, rollout: one.r, turn: one.t})}, make("title", {}, `${one.did}\n${first} ${signed(one.value)}, ${second} ${signed(one.otherValue)}`))),
    make("text", {x: size - 4, y: middle - 5, "text-anchor": "end", class: "quiet"}, `${first} →`),
    make("text", {x: middle + 5, y: 12, class: "quiet"}, `↑ ${second}`),
    make("text", {x: 6, y: 14, class: "quiet"}, "opposite signs"));
}
