
// The list of concepts: searched, filtered, sorted, opened. It reads the JSON beside it (its keys: see concept_json.py)
// and builds elements from text only, so that nothing a model or a corpus wrote is ever read as HTML.
"use strict";
(() => {
  const { make, foreign, unfold, number, percent } = window.page; // of fold.js
  const PAGE = 30;
  const CLEAR = 4; // |t| or |z| from which a concept counts as going with a label
  const ARMS = ["concept", "random concept", "random direction"];

  const flat = (text) => text.replace(/[\r\n]+/g, "⏎").replace(/\t/g, "⇥");
  const token = (text) => make("code", { class: "token" }, foreign(flat(text).replace(/^ +$|^ /, (spaces) => "·".repeat(spaces.length)) || "∅"));
  const amount = (value) => { // in three digits
    if (value === undefined) return "–";
    if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en").replace("-", "−");
    return number(value, value === 0 ? 2 : Math.min(20, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))));
  };
  const often = (value) => percent(value, value >= 0.0995 ? 0 : value >= 0.00995 ? 1 : 2);
  const range = ([value, low, high]) =>
    number(value) + (low === null || high === null ? "" : ` [${number(low)}, ${number(high)}]`);
  const score = (one) => {
    const known = [one.d, one.f].filter((value) => value !== undefined);
    return known.length ? known.reduce((a, b) => a + b) / known.length : undefined;
  };

  const COLUMNS = [
    { key: "k", label: "Concept", value: (one) => one.k, up: true, wide: true },
    { key: "n", label: "Name", value: (one) => one.n?.toLowerCase(), up: true },
    { key: "r", label: "Fires on", value: (one) => one.r, show: (one) => often(one.r) },
    { key: "m", label: "Mean strength", value: (one) => one.m, show: (one) => amount(one.m), wide: true },
    { key: "d", label: "Detection", value: (one) => one.d, show: (one) => number(one.d) },
    { key: "f", label: "Fuzzing", value: (one) => one.f, show: (one) => number(one.f), wide: true },
    { key: "lt", label: "Label t", value: (one) => one.lt, show: (one) => number(one.lt, 1), wide: true },
  ];

  class Dictionary {
    constructor(root) {
      this.root = root;
      this.key = root.dataset.key;
      this.label = root.dataset.label;
      this.concepts = JSON.parse(root.querySelector("script").textContent);
      this.by = new Map(this.concepts.map((one) => [one.k, one]));
      for (const one of this.concepts) {
        const tokens = [...(one.t ?? []), ...(one.up ?? [])].map((entry) => entry[0]);
        one.words = [one.k, one.n ?? "", ...(one.a ?? []), ...tokens].join("\n").toLowerCase();
        one.score = score(one);
      }
      const has = (key) => this.concepts.some((one) => one[key] !== undefined);
      this.columns = COLUMNS.filter((column) => has(column.key));
      this.sorted = has("d") ? { key: "d", up: false } : { key: "r", up: false };
      this.page = 0;
      this.build(has);
      this.update();
    }

    build(has) {
      const again = () => { this.page = 0; this.update(); };
      const field = (label, control) => make("label", {}, make("span", {}, label), control);
      const entry = (attributes) => make("input", { ...attributes, input: again });
      const choice = (options) =>
        make("select", { change: again }, ...options.map(([value, text]) => make("option", { value }, text)));
      const rate = { type: "number", min: 0, max: 100, step: "any", inputmode: "decimal" };
      this.text = entry({ type: "search", autocomplete: "off", spellcheck: "false" });
      this.inside = make("input", { type: "checkbox", change: again });
      this.least = entry({ ...rate, placeholder: "0" });
      this.most = entry({ ...rate, placeholder: "100" });
      this.good = entry({ type: "number", min: 0, max: 1, step: 0.05, placeholder: "0" });
      this.goes = choice(this.labels());
      this.which = choice(
        [["", "all"], ["n", "with a name"], ["-n", "without a name"], ["st", "that were steered"],
         ["xp", "that explain the gap"]].filter(([value]) => !value || has(value.replace("-", ""))));
      this.count = make("output", { "aria-live": "polite" });
      const controls = make("div", { class: "controls", role: "search", "aria-label": `Concepts of ${this.label}` },
        field("Search names and tokens", this.text),
        field("Fires on at least, %", this.least), field("at most, %", this.most),
        has("d") || has("f") ? field("Score from", this.good) : "",
        has("lt") ? field("Label", this.goes) : "",
        field("Show", this.which),
        make("label", { class: "check" }, this.inside, make("span", {}, "search examples too")),
        make("button", { type: "button", click: () => this.clear() }, "Clear"));
      this.heads = make("tr");
      this.body = make("tbody");
      this.pager = make("nav", { class: "pager", "aria-label": `Pages of concepts of ${this.label}` });
      const table = make("table", { class: "tight concepts" }, make("thead", {}, this.heads), this.body);
      this.list = make("div", {}, controls, make("p", { class: "note" }, this.count),
        make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `Concepts of ${this.label}` }, table),
        this.pager);
      this.view = make("article", { class: "concept", hidden: true });
      this.root.classList.add("live");
      this.root.prepend(make("div", { class: "browse" }, this.view, this.list));
    }

    /** Choices of the label: its words, or high and low where it is a number. */
    labels() {
      const words = [...new Set(this.concepts.map((one) => one.l).filter((word) => word !== undefined))].sort();
      const named = words.map((word, i) => [`=${word}`, word]);
      return [["", "any"], ...(named.length ? named : [["+", "goes with high"], ["-", "goes with low"]])];
    }

    clear() {
      for (const control of [this.text, this.least, this.most, this.good, this.goes, this.which]) control.value = "";
      this.inside.checked = false;
      this.page = 0;
      this.update();
      this.text.focus();
    }

    matches() {
      const words = this.text.value.toLowerCase().split(/\s+/).filter(Boolean);
      const bound = (control, otherwise) => (control.value === "" ? otherwise : Number(control.value));
      const [least, most, good] = [bound(this.least, -1) / 100, bound(this.most, 101) / 100, bound(this.good, -1)];
      const [goes, which, inside] = [this.goes.value, this.which.value, this.inside.checked];
      const label = (one) =>
        goes === "" || (one.lt !== undefined &&
          (goes === "+" ? one.lt >= CLEAR : goes === "-" ? one.lt <= -CLEAR : one.l === goes.slice(1) && one.lt >= CLEAR));
      const examples = (one) =>
        (one.all ??= `${one.words}\n${(one.ex ?? []).map((e) => e[3] + e[4] + e[5]).join("\n").toLowerCase()}`);
      return this.concepts.filter((one) =>
        one.r >= least && one.r <= most && (good < 0 || (one.score ?? -1) >= good) && label(one) &&
        (which === "" || (which[0] === "-" ? one[which.slice(1)] === undefined : one[which] !== undefined)) &&
        words.every((word) => (inside ? examples(one) : one.words).includes(word)));
    }

    update() {
      const { value } = COLUMNS.find((column) => column.key === this.sorted.key);
      const turn = this.sorted.up ? 1 : -1;
      const known = (one) => (value(one) === undefined ? 1 : 0); // what is not known comes last, whichever way
      this.shown = this.matches().sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        return known(a) - known(b) || (x < y ? -turn : x > y ? turn : b.r - a.r || a.k - b.k);
      });
      const pages = Math.max(1, Math.ceil(this.shown.length / PAGE));
      this.page = Math.min(this.page, pages - 1);
      this.count.textContent =
        `${this.shown.length.toLocaleString("en")} of ${this.concepts.length.toLocaleString("en")} concepts`;
      this.heads.replaceChildren(...this.columns.map((column) => this.head(column)),
        make("th", { scope: "col" }, "Typical tokens"));
      const first = this.page * PAGE;
      this.body.replaceChildren(...this.shown.slice(first, first + PAGE).map((one) => this.row(one)));
      const turnTo = (page, text) =>
        make("button", { type: "button", disabled: page < 0 || page >= pages,
          click: () => { this.page = page; this.update(); this.list.scrollIntoView(); } }, text);
      this.pager.hidden = pages === 1;
      this.pager.replaceChildren(turnTo(this.page - 1, "Previous"),
        make("span", {}, `page ${this.page + 1} of ${pages}`), turnTo(this.page + 1, "Next"));
    }

    head(column) {
      const own = column.key === this.sorted.key;
      const sort = () => {
        this.sorted = { key: column.key, up: own ? !this.sorted.up : Boolean(column.up) };
        this.page = 0;
        this.update();
        this.heads.querySelector(`[data-key="${column.key}"] button`).focus();
      };
      const sign = own ? (this.sorted.up ? " ▴" : " ▾") : "";
      const classes = `${column.show ? "num" : ""}${column.wide ? " wide" : ""}`;
      return make("th", { scope: "col", class: classes, "data-key": column.key,
        "aria-sort": own ? (this.sorted.up ? "ascending" : "descending") : "none" },
        make("button", { type: "button", click: sort }, column.label, make("span", { "aria-hidden": "true" }, sign)));
    }

    row(one) {
      const name = make("a", { href: this.href(one.k) }, foreign(one.n ?? `concept ${one.k}`));
      const cells = this.columns.map((column) => {
        if (column.key === "n") return make("th", { scope: "row", class: "named" }, name);
        const classes = `num${column.wide ? " wide" : ""}`;
        return make("td", { class: classes }, column.show ? column.show(one) : String(one.k));
      });
      if (!this.columns.some((column) => column.key === "n")) cells[0].replaceChildren(name);
      const tokens = (one.t ?? []).slice(0, 6).flatMap((entry) => [token(entry[0]), " "]);
      return make("tr", {}, ...cells, make("td", { class: "tokens" }, ...tokens));
    }

    href(k) {
      return `#concept-${this.key}-${k}`;
    }

    title(k) {
      return this.by.get(k)?.n ?? `concept ${k}`;
    }

    close() {
      this.view.hidden = true;
      this.list.hidden = false;
    }

    open(k) {
      const one = this.by.get(k);
      const place = this.shown.indexOf(one);
      const step = (to, text) =>
        place >= 0 && this.shown[to] ? make("a", { href: this.href(this.shown[to].k) }, text) : "";
      const heading = make("h4", { tabindex: -1 }, foreign(one ? this.title(k) : `concept ${k}`),
        make("small", {}, `${this.label}, concept ${k}`));
      const parts = one ? this.parts(one)
        : [make("p", { class: "absent" }, "It is not in this list: it is not live, or was left out to keep the page light.")];
      this.view.replaceChildren(
        make("p", { class: "steps" }, make("a", { href: `#${this.root.id}` }, "All concepts"),
          step(place - 1, "Previous"), step(place + 1, "Next")),
        heading, ...parts);
      this.view.hidden = false;
      this.list.hidden = true;
      unfold(this.root);
      this.root.scrollIntoView();
      heading.focus({ preventScroll: true });
    }

    parts(one) {
      const lists = make("div", { class: "lists" },
        tokens("Typical tokens", one.t, ([, share, usual]) => `${often(share)}, usually ${often(usual)}`),
        tokens("Makes more likely", one.up, ([, change]) => `+${amount(change)}`),
        tokens("Makes less likely", one.dn, ([, change]) => amount(change)),
        one.nb ? part("Nearest concepts", make("ul", { class: "tokens" }, ...one.nb.map(([k, cosine]) =>
          make("li", {}, make("a", { href: this.href(k) }, foreign(this.title(k))),
            make("span", { class: "size" }, `cosine ${number(cosine)}`))))) : "");
      return [
        one.a ? make("p", { class: "note" }, "Other names: ", foreign(one.a.join("; "))) : "",
        one.no ? make("p", { class: "absent" }, "No name: ", foreign(one.no)) : "",
        make("div", { class: "lists" }, facts(one), histogram(one)),
        lists, ...examples(one), steering(one), explanation(one),
      ];
    }
  }

  function part(title, ...children) {
    return make("section", {}, make("h5", {}, title), ...children);
  }

  function facts(one) {
    const scored = (own, other) => `${number(own)} (a shuffled name: ${number(other)})`;
    const label = one.l === undefined
      ? `mean ${number(one.on)} in its texts, ${number(one.off)} in others (t = ${number(one.lt, 1)})`
      : `“${one.l}”: ${often(one.on)} of its texts, ${often(one.off)} of all (z = ${number(one.lt, 1)})`;
    const told = [
      ["Fires on", `${often(one.r)} of tokens` + (one.rh === undefined ? "" : ` (held out ${often(one.rh)})`)],
      ["Strength", `mean ${amount(one.m)}, largest ${amount(one.x)}`],
      one.d === undefined ? undefined : ["Detection", scored(one.d, one.ds)],
      one.f === undefined ? undefined : ["Fuzzing", scored(one.f, one.fs)],
      one.lt === undefined ? undefined : ["Label", label],
    ];
    return make("dl", { class: "facts-list" }, ...told.filter(Boolean).map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, foreign(value)))));
  }

  function histogram(one) {
    const most = Math.max(...(one.h ?? [1]));
    const bars = (one.h ?? []).map((n) => {
      const bar = make("span");
      bar.style.height = `${n ? Math.max(3, (100 * n) / most) : 0}%`;
      return bar;
    });
    const ends = one.e ?? [];
    const said = `Strengths where it fires, from ${amount(ends[0])} to ${amount(ends[1])}, in ${bars.length} bins`;
    return make("figure", { class: "bars" }, make("div", { role: "img", "aria-label": said }, ...bars),
      make("figcaption", {}, make("span", {}, amount(ends[0])), make("span", {}, "strength where it fires"),
        make("span", {}, amount(ends[1]))));
  }

  function tokens(title, list, beside) {
    if (!list) return "";
    return part(title, make("ul", { class: "tokens" }, ...list.map((entry) =>
      make("li", {}, token(entry[0]), make("span", { class: "size" }, beside(entry))))));
  }

  function examples(one) {
    const kinds = [["Strongest examples", 0], ["Drawn from each quarter of its strengths", 1], ["Texts it runs through most", 2]];
    const quarter = (band) => ["", "weakest quarter", "second quarter", "third quarter", "strongest quarter"][band];
    return kinds.map(([title, kind]) => {
      const own = (one.ex ?? []).filter((example) => example[0] === kind);
      if (!own.length) return "";
      return part(title, make("ol", { class: "examples" }, ...own.map(([, band, strength, before, word, after]) => {
        const mark = make("mark", { title: `strength ${amount(strength)}` }, flat(word));
        mark.style.setProperty("--strength", `${Math.round(18 + 72 * Math.min(1, strength / (one.x || 1)))}%`);
        const said = kind === 1 ? `${quarter(band)}, ${amount(strength)}` : amount(strength);
        return make("li", {}, kind === 2 ? foreign(flat(before)) : make("bdi", {}, flat(before), mark, flat(after)),
          make("span", { class: "size" }, said));
      })));
    });
  }

  function table(label, heads, rows) {
    return make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label },
      make("table", { class: "tight" },
        make("thead", {}, make("tr", {}, ...heads.map((head, i) => make("th", { scope: "col", class: i ? "num" : "" }, head)))),
        make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, i) =>
          (i ? make("td", { class: "num" }, cell) : make("th", { scope: "row" }, cell))))))));
  }

  function steering(one) {
    if (!one.st) return "";
    const acts = (value) => (value === null || value === undefined ? "–" : value ? "yes" : "no");
    return part("Steered", table("Effects of steering", ["Dose", "Change of", ...ARMS, "Acts as expected"],
      one.st.map(([dose, what, own, other, push, does]) =>
        [dose, foreign(what), range(own), range(other), range(push), acts(does)])));
  }

  function explanation(one) {
    if (!one.xp) return "";
    const [pull, low, high, says, affirms] = one.xp;
    return part("Between the two forms", table("Its part in the gap",
      ["Pull on the agreement", "Share of the generator", "Share of the validator"],
      [[range([pull, low, high]), number(says, 3), number(affirms, 3)]]));
  }

  const all = [...document.querySelectorAll(".dictionary")].map((root) => new Dictionary(root));
  function route() {
    const found = /^#concept-(.+)-(\d+)$/.exec(decodeURIComponent(location.hash));
    const wanted = found && all.find((one) => one.key === found[1]);
    for (const one of all) if (one !== wanted) one.close();
    if (wanted) wanted.open(Number(found[2]));
    else if (all.some((one) => `#${one.root.id}` === location.hash)) document.querySelector(location.hash).scrollIntoView();
  }
  window.addEventListener("hashchange", route);
  route();
})();
