
// All items in one table: searched, filtered, sorted, opened, copied; and found under the points of a scatter. It reads the
// JSON beside it (its keys: see item_json.py) and builds elements from text only, so that nothing of it is read as HTML.
"use strict";
(() => {
  const { make, foreign, unfold, number, percent } = window.page; // of fold.js
  const SPARE = 12; // rows that are there above and below those that are seen
  const NEAR = 14; // pixels between a pointer and the item that it means
  const KINDS = ["not said, denied", "said, denied", "not said, affirmed", "said, affirmed"];

  const line = (text) => text.replace(/\s+/g, " ").trim();
  const known = (value) => value !== null && value !== undefined;
  const logodds = (value) => number(value, 2, false);
  // a place among the items, in thousandths: 0 and 100 % are the first and the last alone
  const place = (value) => percent(value === 0 || value === 1000 ? value / 1000 : Math.min(0.99, Math.max(0.01, value / 1000)));

  /** Items as objects, out of the columns of the JSON. */
  function unpacked(data) {
    const whole = (column, i) => column.pre + column.own[i] + column.post;
    return data.a.map((answer, i) => {
      const sides = data.s.map((side) => ({
        kind: Number(side.k[i]), l: side.l[i], v: side.v[i], p: side.p[i], w: side.w[i], rank: side.r?.[i], mass: side.m?.[i],
      }));
      const item = {
        i: data.i ? data.i[i] : i, right: data.y[i] === "1", answer, sides,
        group: data.g && data.g[i] >= 0 ? data.gs[data.g[i]] : "", generator: whole(data.x, i), validator: whole(data.q, i),
      };
      item.apart = Math.max(...sides.map((side) => Math.abs((side.p ?? 0) - (side.w ?? 0))));
      item.line = line(`${item.generator} ${answer}`);
      item.words = [item.i, answer, item.group, item.generator, item.validator].join("\n").toLowerCase();
      return item;
    });
  }

  function copy(text, said) {
    const old = () => { // where a page from a folder may not use the clipboard
      const field = make("textarea", { readonly: true });
      field.value = text;
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      said(done);
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => said(true), old);
    else old();
  }

  class Items {
    constructor(root, first) {
      this.root = root;
      this.prefix = first ? "#item-" : `#item-${root.dataset.key}-`;
      this.data = JSON.parse(root.querySelector("script").textContent);
      this.items = unpacked(this.data);
      this.by = new Map(this.items.map((item) => [item.i, item]));
      this.repaired = this.data.s.length > 1;
      this.columns = this.possible().filter(Boolean);
      this.sorted = { key: "apart", up: false };
      this.build();
      this.update();
    }

    possible() {
      const side = (t, when) => [
        { key: `l${t}`, label: `Said${when}`, value: (item) => item.sides[t].l, show: (item) => logodds(item.sides[t].l) },
        { key: `v${t}`, label: `Affirmed${when}`, value: (item) => item.sides[t].v, show: (item) => logodds(item.sides[t].v) },
      ];
      return [
        { key: "i", label: "Item", value: (item) => item.i, up: true },
        { key: "answer", label: "Completing, with the answer", value: (item) => item.line, up: true, text: true },
        { key: "right", label: "Answer", value: (item) => (item.right ? 0 : 1), up: true, text: true },
        this.data.g && { key: "group", label: "Group", value: (item) => item.group || undefined, up: true, text: true, wide: true },
        ...side(0, this.repaired ? ", before" : ""),
        ...(this.repaired ? side(1, ", after") : []),
        { key: "apart", label: "Apart", value: (item) => item.apart, show: (item) => place(item.apart), wide: true },
      ];
    }

    build() {
      const label = this.root.dataset.label;
      const again = () => this.update();
      const field = (text, control) => make("label", {}, make("span", {}, text), control);
      const choice = (options) =>
        make("select", { change: again }, ...options.map(([value, text]) => make("option", { value }, foreign(text))));
      this.text = make("input", { type: "search", autocomplete: "off", spellcheck: "false", input: again });
      this.gold = choice([["", "any"], ["1", "right"], ["0", "wrong"]]);
      this.kind = choice([["", "any"], ["disagree", "the two disagree"], ["1", "said, denied"], ["2", "affirmed, not said"],
        ["3", "said, affirmed"], ["0", "not said, denied"], ...(this.repaired ? [["changed", "changed by the repair"]] : [])]);
      this.group = choice([["", "any"], ...(this.data.gs ?? []).map((name, i) => [String(i), name])]);
      this.when = choice([["0", "before"], ["1", "after"]]);
      this.count = make("output", { "aria-live": "polite" });
      this.told = make("span", { role: "status" });
      const button = (text, click) => make("button", { type: "button", click }, text);
      const controls = make("div", { class: "controls", role: "search", "aria-label": label },
        field("Search prompts and answers", this.text), field("Answers that are", this.gold), field("The two forms", this.kind),
        this.repaired ? field("As of", this.when) : "", this.data.gs ? field("Group", this.group) : "",
        button("Clear", () => this.clear()));
      const out = make("p", { class: "note counted" }, this.count, " ",
        button("Copy as CSV", () => copy(this.csv(), (done) => { this.told.textContent = done ? "Copied." : "The browser did not let it be copied."; })), " ",
        button("Download CSV", () => this.download()), " ", this.told);
      this.heads = make("tr", { "aria-rowindex": 1 });
      this.body = make("tbody");
      this.table = make("table", { class: "tight rows" }, make("thead", {}, this.heads), this.body);
      this.window = make("div", { class: "scroll window", tabindex: 0, role: "group", "aria-label": label,
        scroll: () => requestAnimationFrame(() => this.draw()), keydown: (event) => this.step(event) }, this.table);
      this.list = make("div", {}, controls, out, this.window, make("p", { class: "note" },
        "Said and Affirmed are the log-odds of the two forms; Apart is how far the item's places in them lie from each other. " +
        `Bold: the two disagree. Items are numbered as the rows of ${this.root.dataset.file}, from 0.`));
      this.view = make("article", { class: "item concept", hidden: true, keydown: (event) => {
        if (event.key === "Escape") location.hash = this.root.id;
      } });
      this.root.closest(".browse").querySelector(".scriptless")?.remove();
      this.root.append(this.view, this.list);
      window.addEventListener("resize", () => this.draw());
      new ResizeObserver(() => this.draw()).observe(this.window); // it has no height while what holds it is folded
    }

    clear() {
      for (const control of [this.text, this.gold, this.kind, this.group]) control.value = "";
      this.when.value = "0";
      this.update();
      this.text.focus();
    }

    matches() {
      const words = this.text.value.toLowerCase().split(/\s+/).filter(Boolean);
      const [gold, kind, group, when] = [this.gold.value, this.kind.value, this.group.value, Number(this.when.value)];
      const name = group === "" ? "" : this.data.gs[Number(group)];
      const fits = (item) => {
        const own = item.sides[when].kind;
        if (kind === "changed") return item.sides[0].kind !== item.sides[1].kind;
        return kind === "disagree" ? own === 1 || own === 2 : kind === "" || own === Number(kind);
      };
      return this.items.filter((item) => (gold === "" || item.right === (gold === "1")) && fits(item) &&
        (name === "" || item.group === name) && words.every((word) => item.words.includes(word)));
    }

    update() {
      const { value } = this.columns.find((column) => column.key === this.sorted.key);
      const turn = this.sorted.up ? 1 : -1;
      const keyed = this.matches().map((item) => [value(item), item]);
      this.shown = keyed.sort(([x, a], [y, b]) => { // what is not known comes last, whichever way
        return known(y) - known(x) || (x < y ? -turn : x > y ? turn : a.i - b.i);
      }).map(([, item]) => item);
      this.count.textContent = `${this.shown.length.toLocaleString("en")} of ${this.data.of.toLocaleString("en")} items`;
      this.told.textContent = "";
      this.heads.replaceChildren(...this.columns.map((column) => this.head(column)));
      this.table.setAttribute("aria-rowcount", this.shown.length + 1);
      this.window.scrollTop = 0;
      this.drawn = undefined;
      this.draw();
    }

    /** The rows that are seen, and a few more; what is above and below them is one empty row each, as high as they are. */
    draw() {
      if (!this.window.clientHeight) return;
      if (!this.high) {
        this.body.replaceChildren(...(this.items.length ? [this.row(this.items[0], 0)] : []));
        this.high = this.body.firstChild?.offsetHeight || 32;
      }
      const from = Math.max(0, Math.floor(this.window.scrollTop / this.high) - SPARE);
      const to = Math.min(this.shown.length, Math.ceil((this.window.scrollTop + this.window.clientHeight) / this.high) + SPARE);
      if (this.drawn === `${from} ${to}`) return;
      this.drawn = `${from} ${to}`;
      const held = this.body.contains(document.activeElement) ? document.activeElement.hash : undefined;
      const top = this.window.scrollTop;
      this.body.replaceChildren(this.space(from), ...this.shown.slice(from, to).map((item, k) => this.row(item, from + k)),
        this.space(this.shown.length - to));
      this.window.scrollTop = top; // for a moment there was nothing to scroll in
      if (held) (this.body.querySelector(`a[href="${held}"]`) ?? this.window).focus({ preventScroll: true });
    }

    space(rows) {
      const row = make("tr", { "aria-hidden": "true", class: "space" }, make("td", { colspan: this.columns.length }));
      row.firstChild.style.height = `${rows * this.high}px`;
      row.hidden = !rows;
      return row;
    }

    head(column) {
      const own = column.key === this.sorted.key;
      const sort = () => {
        this.sorted = { key: column.key, up: own ? !this.sorted.up : Boolean(column.up) };
        this.update();
        this.heads.querySelector(`[data-key="${column.key}"] button`).focus();
      };
      const sign = own ? (this.sorted.up ? " ▴" : " ▾") : "";
      return make("th", { scope: "col", class: `${column.text ? "" : "num"}${column.wide ? " wide" : ""}`, "data-key": column.key,
        "aria-sort": own ? (this.sorted.up ? "ascending" : "descending") : "none" },
        make("button", { type: "button", click: sort }, column.label, make("span", { "aria-hidden": "true" }, sign)));
    }

    row(item, place) {
      const cells = this.columns.map((column) => {
        const classes = `${column.text ? "" : "num"}${column.wide ? " wide" : ""}`;
        if (column.key === "i") return make("th", { scope: "row", class: classes }, make("a", { href: this.href(item.i) }, String(item.i)));
        if (column.key === "answer") return make("td", { class: "own" }, foreign(this.own(item)), " ", make("mark", {}, foreign(line(item.answer))));
        if (column.key === "right") return make("td", {}, this.gold_of(item));
        if (column.key === "group") return make("td", { class: `own ${classes}` }, foreign(item.group));
        return make("td", { class: classes }, column.show(item));
      });
      const tone = item.sides[Number(this.when.value)].kind;
      return make("tr", { "aria-rowindex": place + 2, class: tone === 1 || tone === 2 ? "apart" : undefined,
        click: (event) => { if (!event.target.closest("a") && !String(getSelection())) location.hash = this.href(item.i); } }, ...cells);
    }

    /** The end of its prompt, on a line. */
    own(item) {
      const text = line(item.generator);
      return text.length > 90 ? `…${text.slice(-90)}` : text;
    }

    gold_of(item) {
      return make("span", { class: `gold ${item.right ? "right" : "wrong"}` }, item.right ? "right" : "wrong");
    }

    href(i) {
      return this.prefix + i;
    }

    /** Arrow keys go from item to item, also to those that have no row yet. */
    step(event) {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const row = event.target.closest("tbody tr");
      if (!by || !row) return;
      event.preventDefault();
      const place = Number(row.getAttribute("aria-rowindex")) - 2 + by;
      if (!this.shown[place]) return;
      const top = place * this.high;
      const room = this.window.clientHeight - this.heads.offsetHeight - this.high;
      if (top < this.window.scrollTop) this.window.scrollTop = top;
      else if (top > this.window.scrollTop + room) this.window.scrollTop = top - room;
      this.draw();
      this.body.querySelector(`tr[aria-rowindex="${place + 2}"] a`)?.focus({ preventScroll: true });
    }

    csv() {
      const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
      const plain = (value) => (!known(value) ? "" : Math.abs(value) >= 1e300 ? (value > 0 ? "inf" : "-inf") : String(value));
      const names = ["generator_logodds", "validator_logodds", "said", "affirmed"];
      const head = ["item", "answer", "gold", "group", "generator_prompt", "validator_prompt",
        ...(this.repaired ? ["_before", "_after"] : [""]).flatMap((end) => names.map((name) => name + end))];
      const whole = (column, text) => (column.cut ? "…" : column.all) + text;
      const rows = this.shown.map((item) => [String(item.i), item.answer, item.right ? "right" : "wrong", item.group,
        whole(this.data.x, item.generator), whole(this.data.q, item.validator),
        ...item.sides.flatMap((side) => [plain(side.l), plain(side.v), side.kind & 1 ? "yes" : "no", side.kind & 2 ? "yes" : "no"])]);
      return [head, ...rows].map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
    }

    download() {
      const address = URL.createObjectURL(new Blob(["\ufeff", this.csv()], { type: "text/csv" }));
      make("a", { href: address, download: `${this.root.dataset.key}-items.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10000);
      this.told.textContent = "Saved.";
    }

    close() {
      this.view.hidden = true;
      this.list.hidden = false;
    }

    open(i) {
      const item = this.by.get(i);
      const place = this.shown.indexOf(item);
      const beside = (to, text) => (place >= 0 && this.shown[to] ? make("a", { href: this.href(this.shown[to].i) }, text) : "");
      const heading = make("h4", { tabindex: -1 }, foreign(item ? item.answer : `item ${i}`), make("small", {}, `item ${i}`));
      const told = make("span", { role: "status" });
      const link = make("button", { type: "button",
        click: () => copy(location.href.replace(/#.*$/, "") + this.href(i), (done) => { told.textContent = done ? "Copied." : this.href(i); }) }, "Copy link");
      const parts = item ? this.parts(item) : [make("p", { class: "absent" }, "It is not in this list.")];
      this.view.replaceChildren(
        make("p", { class: "steps" }, make("a", { href: `#${this.root.id}` }, "All items"), beside(place - 1, "Previous"), beside(place + 1, "Next"), link, told),
        heading, ...parts);
      this.view.hidden = false;
      this.list.hidden = true;
      this.view.scrollIntoView({ block: "nearest" });
      heading.focus({ preventScroll: true });
    }

    parts(item) {
      const names = this.repaired ? ["before", "after"] : [""];
      const prompt = (column, title, text, answer) => {
        const cut = column.cut ? make("p", { class: "note" }, `The beginning of a long prompt is left out here; ${this.root.dataset.file} has it.`) : "";
        const shots = column.all ? make("details", { class: "shots" }, make("summary", {}, "worked examples (the same for all)"), make("pre", { dir: "auto" }, column.all)) : "";
        return make("div", { class: "prompt" }, make("p", { class: "label" }, title), make("div", { class: "text" }, shots, cut,
          make("pre", { dir: "auto" }, foreign(text), answer === undefined ? "" : " ", answer === undefined ? "" : make("mark", {}, foreign(answer)))));
      };
      const each = [
        ["Judged", (side) => KINDS[side.kind]],
        ["Log-odds, completing", (side) => logodds(side.l)],
        ["Log-odds, asked", (side) => logodds(side.v)],
        ["Said more readily than", (side) => (known(side.p) ? `${place(side.p)} of the items` : "–")],
        ["Affirmed more than", (side) => (known(side.w) ? `${place(side.w)} of the items` : "–")],
        ["Rank of its first token", (side) => (known(side.rank) ? side.rank.toLocaleString("en") : "–")],
        ["Probability on the label words", (side) => number(side.mass)],
      ].map(([name, value]) => [name, item.sides.map(value)]);
      const cells = (values) => values.map((value) => make("td", {}, foreign(value)));
      const table = make("table", { class: "tight facts-table" },
        this.repaired ? make("thead", {}, make("tr", {}, make("td"), ...names.map((name) => make("th", { scope: "col" }, name)))) : "",
        make("tbody", {}, ...each.map(([name, values]) => make("tr", {}, make("th", { scope: "row" }, name), ...cells(values)))));
      return [
        make("p", { class: "head" }, this.gold_of(item), item.group ? make("span", { class: "group" }, foreign(item.group)) : ""),
        make("div", { class: "pair" },
          make("div", {}, prompt(this.data.x, "Completing", item.generator, item.answer), prompt(this.data.q, "Asked", item.validator)),
          make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `Scores of item ${item.i}` }, table)),
      ];
    }
  }

  /** The items under the points of a figure: its planes say where in the drawing which log-odds are. */
  class Points {
    constructor(plot, items) {
      this.plot = plot;
      this.items = items;
      this.planes = JSON.parse(plot.dataset.planes);
      this.svg = plot.querySelector("svg");
      this.ring = make("span", { class: "ring", "aria-hidden": "true", hidden: true });
      this.tip = make("span", { class: "tip", "aria-hidden": "true", hidden: true });
      plot.classList.add("hovered");
      plot.append(this.ring, this.tip);
      plot.addEventListener("pointermove", (event) => this.show(this.under(event)));
      plot.addEventListener("pointerleave", () => this.show());
      plot.addEventListener("click", (event) => {
        const found = this.under(event);
        if (found) location.hash = items.href(found.item.i);
      });
    }

    /** The item whose point is nearest to the pointer, and where it is, in pixels of the plot. */
    under(event) {
      const [box, view] = [this.svg.getBoundingClientRect(), this.svg.viewBox.baseVal];
      const own = this.plot.getBoundingClientRect();
      const scale = box.width / view.width;
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      let best;
      for (const { side, x: [left, right, low, high], y: [bottom, top, under, over] } of this.planes) {
        if (x < left * scale || x > right * scale || y < top * scale || y > bottom * scale) continue;
        for (const item of this.items.items) {
          const { l, v } = item.sides[side] ?? item.sides[0];
          if (!known(l) || !known(v)) continue;
          const px = scale * (left + ((l - low) / (high - low)) * (right - left));
          const py = scale * (bottom + ((v - under) / (over - under)) * (top - bottom));
          const far = Math.hypot(px - x, py - y);
          if (far <= (best?.far ?? NEAR)) {
            best = { item, side, far, x: px + box.left - own.left + this.plot.scrollLeft, y: py + box.top - own.top };
          }
        }
      }
      return best;
    }

    show(found) {
      this.ring.hidden = this.tip.hidden = !found;
      this.plot.style.cursor = found ? "pointer" : "";
      if (!found) return;
      const { item, side, x, y } = found;
      const own = item.sides[side] ?? item.sides[0];
      this.tip.replaceChildren(make("b", {}, `${item.i} `), foreign(this.items.own(item)), " ", make("mark", {}, foreign(line(item.answer))),
        make("span", {}, `${item.right ? "right" : "wrong"}; ${KINDS[own.kind]}; ${logodds(own.l)}, ${logodds(own.v)}`));
      for (const mark of [this.ring, this.tip]) {
        mark.style.left = `${x}px`;
        mark.style.top = `${y}px`;
      }
      const room = this.plot.clientWidth + this.plot.scrollLeft;
      if (x + this.tip.offsetWidth + 12 > room) this.tip.style.left = `${Math.max(this.plot.scrollLeft, x - this.tip.offsetWidth - 24)}px`;
    }
  }

  const all = [...document.querySelectorAll(".items-table")].map((root, i) => new Items(root, i === 0));
  for (const plot of document.querySelectorAll(".plot[data-planes]")) {
    const items = all.find((one) => one.root.dataset.key === plot.dataset.items);
    if (items) new Points(plot, items);
  }
  function route() {
    let hash = location.hash;
    try { hash = decodeURIComponent(hash); } catch { /* no link of this page */ }
    const found = /^#item-(?:(.+)-)?(\d+)$/.exec(hash);
    const wanted = found && (found[1] ? all.find((one) => one.root.dataset.key === found[1]) : all[0]);
    for (const one of all) if (one !== wanted) one.close();
    unfold(wanted?.root);
    if (wanted) wanted.open(Number(found[2]));
    else all.find((one) => `#${one.root.id}` === hash)?.root.scrollIntoView();
  }
  window.addEventListener("hashchange", route);
  route();
})();
