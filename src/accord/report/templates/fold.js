
// What is linked to is seen, also inside what is folded; and all of the page can be opened, to be read through or printed.
"use strict";
(() => {
  function reveal() {
    let part = null;
    try { part = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { /* no link of this page */ }
    let opened = false;
    for (let one = part; one; one = one.parentElement) {
      if (one.localName === "details" && !one.open) one.open = opened = true;
    }
    if (opened) part.scrollIntoView();
  }
  const stages = [...document.querySelectorAll("details.stage")];
  const list = document.querySelector(".contents");
  if (list && stages.length) {
    const button = document.createElement("button");
    button.type = "button";
    const all = () => stages.every((stage) => stage.open);
    const say = () => { button.textContent = all() ? "Fold all" : "Open all"; };
    button.addEventListener("click", () => {
      const open = !all();
      for (const stage of stages) stage.open = open;
    });
    for (const stage of stages) stage.addEventListener("toggle", say);
    say();
    list.append(button);
  }
  window.addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => { // the same link once more changes no hash
    if (event.target.closest('a[href^="#"]')) setTimeout(reveal);
  });
  reveal();
})();
