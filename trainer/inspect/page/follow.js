// Asks the server that gave the page whether the run has finished a newer update. It is shown when the reader asks for it.
const ASK_EVERY_MS = 5000;

async function follow() {
  const place = document.getElementById("follow");
  try {
    const {update} = await (await fetch("newest", {cache: "no-store"})).json();
    const shown = here.update.update;
    place.replaceChildren(`update ${shown}`, ...(update === shown ? [", the newest"] : [", ", make("button", {type: "button",
      title: "Show it", onclick: () => location.reload()}, `newer: ${update}`)]));
  } catch {
    place.replaceChildren("the run is no longer followed");
  }
  setTimeout(follow, ASK_EVERY_MS);
}
