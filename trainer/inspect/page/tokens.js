// The tokens of the chosen turn: what each is weighed by, how likely it was, and what engine and learner disagree on.
function drawTokens() {
  const group = here.group, credit = here.credit, tokens = group.tokens, row = here.row, value = credit.value[row];
  if (tokens === null) return [note("This policy gave no tokens.")];
  if (tokens.piece[row].length === 0) return [note("This turn has no tokens.")];
  const learned = !credit.live || credit.live[row], may = credit.live_tokens && credit.live_tokens[row];
  const live = (place) => learned && (!may || may[place]);
  const own = credit.token_value === null ? null : credit.token_value[row], critic = credit.token_critic && credit.token_critic[row];
  const weight = (place) => (own === null ? value : own[place]);
  const most = own === null ? here.most : Math.max(1e-9, ...credit.token_value.flat().map(Math.abs));
  const gaps = tokens.gap === null ? null : tokens.gap[row];
  const pieces = tokens.piece[row].map((place) => text(group, place));
  return [
    make("p", {class: "sentence"}, learned ? weighed(own, value)
      : "This turn is not learned from: its tokens have no weight. ",
      learned && may && may.includes(false) && "Only the tokens that the revision changed are learned from. ",
      gaps !== null && ["Engine and learner differ by ", make("b", {}, largest(gaps)), " nats at most."]),
    make("p", {class: "pieces"}, pieces.map((piece, place) =>
      make("span", {class: "piece", style: `--tint:${tint(live(place) ? weight(place) : 0, most)}`,
        title: `advantage ${live(place) ? signed(weight(place)) : "none"}, probability ${Math.exp(tokens.engine[row][place]).toFixed(3)}`},
        visible(piece), make("i", {style: `width:${100 * Math.exp(tokens.engine[row][place])}%`})))),
    note("The line below a token is its probability: a short one was a surprise, and moves the policy most."),
    make("table", {}, make("thead", {}, make("tr", {}, ["token", "advantage", ...(critic ? ["critic before it"] : []), "probability", "engine, nats", "learner, nats", "gap"]
      .map((name) => make("th", {}, name)))),
    make("tbody", {}, pieces.map((piece, place) => make("tr", {},
      make("td", {}, make("code", {}, visible(piece))),
      make("td", {class: live(place) ? side(weight(place)) : ""}, live(place) ? signed(weight(place)) : "none"),
      critic && make("td", {}, plain(critic[place])),
      make("td", {}, Math.exp(tokens.engine[row][place]).toFixed(3)),
      make("td", {}, minus(tokens.engine[row][place].toFixed(4))),
      make("td", {}, gaps === null ? "not recorded" : minus((tokens.engine[row][place] + gaps[place]).toFixed(4))),
      make("td", {}, gaps === null ? "" : minus(gaps[place].toExponential(1)))))))];
}

function weighed(own, value) {
  if (own === null) return ["Each token of this turn has the advantage ", amount(value), ". "];
  return ["Each token of this turn has an advantage of its own, from ", amount(Math.min(...own)), " to ", amount(Math.max(...own)),
    "; their mean is ", amount(value), ". "];
}

const visible = (piece) => piece.replace(/\n/g, "⏎").replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length)) || "∅";
const minus = (digits) => digits.replace(/-/g, "−");
const largest = (gaps) => minus(Math.max(...gaps.map(Math.abs)).toExponential(1));
