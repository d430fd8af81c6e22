
// What is linked to is seen, also inside what is folded; and all of the page can be opened, to be read through or printed.
// It is the first script of a page, and has what the others share.
"use strict";
(() => {
  /** An element with attributes (a function listens) and children, text among them. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== undefined && child !== ""));
    return element;
  }

  const foreign = (text) => make("bdi", {}, text);

  /** Open whatever a part of the page is folded in; whether anything was. */
  function unfold(part) {
    let opened = false;
    for (let one = part; one; one = one.parentElement) {
      if (one.localName === "details" && !one.open) one.open = opened = true;
    }
    return opened;
  }
  /** A number as `number` of wording.py has it: never “−.00”, and bare of the zero before the point. */
  function number(value, digits = 2, bare = true) {
    if (value === null || value === undefined) return "–";
    if (Math.abs(value) >= 1e300) return value > 0 ? "∞" : "−∞"; // JSON has no infinity
    const text = Math.abs(value).toFixed(digits);
    return (value < 0 && Number(text) !== 0 ? "−" : "") + (bare ? text.replace(/^0\./, ".") : text);
  }

  /** A share of 1 in per cent. */
  function percent(value, digits = 0) {
    return value === null || value === undefined ? "–" : `${number(100 * value, digits)} %`;
  }
  window.page = { make, foreign, unfold, number, percent };

  function reveal() {
    let part = null;
    try { part = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { /* no link of this page */ }
    if (unfold(part)) part.scrollIntoView();
  }
  const stages = [...document.querySelectorAll("details.stage")];
  const list = document.querySelector(".contents");
  if (list && stages.length) {
    const button = make("button", { type: "button" });
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
