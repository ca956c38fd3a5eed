// The page of curves: what is shown is in `state`; every change of it draws the charts and the table again.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  // told apart in light and dark, also by most colour-blind eyes
  const COLORS = matchMedia("(prefers-color-scheme: dark)");
  const LIGHT = ["#1f6feb", "#d9480f", "#2b8a3e", "#9c36b5", "#c2255c", "#0c8599", "#846300", "#5f3dc4", "#6b7280", "#a14a2a"];
  const DARK = ["#58a6ff", "#ff9147", "#56d364", "#d68bf0", "#ff7a9c", "#3bc9db", "#e3b341", "#a78bfa", "#9ca3af", "#e5a184"];
  const AXES = { steps: "steps", samples: "samples", tokens: "tokens", hours: "hours since the start" };
  const state = {
    axis: data.axes.includes(data.axis) ? data.axis : data.axes[0],
    log: data.log,
    smoothing: data.smoothing,
    tags: new Set(data.shown),
    hidden: new Set(),
    zoom: null,
  };
  let charts = [];

  const color = (run) => (COLORS.matches ? DARK : LIGHT)[run % LIGHT.length];
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function make(kind, properties, ...children) {
    const element = Object.assign(document.createElement(kind), properties);
    element.append(...children);
    return element;
  }

  function dot(run) {
    const element = make("span", { className: "dot" });
    element.style.background = color(run);
    return element;
  }

  function split(tag) {
    const cut = tag.lastIndexOf("/");
    return cut > 0 && cut < tag.length - 1 ? [tag.slice(0, cut), tag.slice(cut + 1)] : ["", tag];
  }

  // ---- numbers for people

  function number(value) {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en");
    return size >= 1e6 || size < 1e-3 ? value.toExponential(3) : String(Number(value.toPrecision(5)));
  }

  function short(value) {
    const size = Math.abs(value);
    for (const [unit, letter] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
      if (size >= unit) return Number((value / unit).toPrecision(6)) + letter;
    }
    return size !== 0 && size < 1e-3 ? value.toExponential().replace(/(\.\d{2})\d*/, "$1") : String(Number(value.toPrecision(6)));
  }

  // ---- curves

  // the exponential moving average without its bias to 0, as TensorBoard draws it
  function averaged(values, weight) {
    if (!weight) return values;
    let last = 0, power = 1;
    return values.map((value) => {
      if (value === null) return null;
      last = last * weight + value * (1 - weight);
      power *= weight;
      return last / (1 - power);
    });
  }

  function drawable(values) {
    return state.log ? values.map((value) => (value !== null && value > 0 ? value : null)) : values;
  }

  // the curves of a tag, one per visible run that has places on the axis, in the order of x
  function curvesOf(tag) {
    const found = [];
    data.curves[tag].forEach((curve) => {
      const places = curve[state.axis];
      if (state.hidden.has(curve.run) || !places) return;
      const kept = places.map((x, i) => i).filter((i) => places[i] !== null);
      const order = kept.sort((a, b) => places[a] - places[b]);
      const pick = (values) => order.map((i) => values[i]);
      const weight = curve.count < data.few ? 0 : state.smoothing;
      const smooth = averaged(curve.values, weight);
      found.push({
        run: curve.run,
        x: pick(places),
        line: drawable(pick(smooth)),
        raw: weight && !curve.low ? drawable(pick(curve.values)) : null,
        values: pick(curve.values),
        low: curve.low && drawable(pick(curve.low)),
        high: curve.low && drawable(pick(curve.high)),
      });
    });
    return found.filter((curve) => curve.x.length);
  }

  function nearest(xs, x) {
    let low = 0, high = xs.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle; else high = middle;
    }
    return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
  }

  // ---- charts

  function seriesOf(curves) {
    const series = [{}], tables = [], bands = [];
    for (const curve of curves) {
      const stroke = color(curve.run), few = curve.x.length < data.few;
      const table = [curve.x];
      const add = (values, options) => {
        table.push(values);
        series.push({ spanGaps: false, points: { show: false }, ...options });
      };
      if (curve.low) {
        add(curve.high, { stroke: "transparent", width: 0 });
        add(curve.low, { stroke: "transparent", width: 0 });
        bands.push({ series: [series.length - 2, series.length - 1], fill: stroke + "33" });
      }
      if (curve.raw) add(curve.raw, { stroke: stroke + "50", width: 1 });
      add(curve.line, { stroke, width: 1.75, points: { show: few, size: 5, fill: stroke, stroke } });
      tables.push(table);
    }
    return { series, bands, data: uPlot.join(tables) };
  }

  function options(curves, drawn, size, host) {
    const axis = { stroke: style("--soft"), font: "12px system-ui, sans-serif", grid: { stroke: style("--grid"), width: 1 }, ticks: { stroke: style("--grid"), width: 1, size: 5 } };
    return {
      ...size,
      series: drawn.series,
      bands: drawn.bands,
      legend: { show: false },
      padding: [8, 14, 0, 0],
      scales: {
        x: { time: false, range: (u, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) },
        y: { distr: state.log ? 3 : 1 },
      },
      axes: [
        { ...axis, space: 70, size: 34, values: (u, ticks) => ticks.map(short) },
        { ...axis, size: 54, values: (u, ticks) => ticks.map((tick) => (tick === null ? "" : short(tick))) },
      ],
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false },
        sync: { key: "x", setSeries: false, filters: { pub: (kind) => kind === "mousemove" || kind === "mouseleave" } },
        bind: { dblclick: () => () => zoomTo(null) },
      },
      hooks: {
        setSelect: [(u) => u.select.width > 4 && zoomTo([u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")], u)],
        setCursor: [(u) => tell(u, curves, host)],
      },
    };
  }

  function tell(u, curves, host) {
    const tip = host.querySelector(".tip");
    if (!(u.cursor.left >= 0) || u.cursor.event === null) {
      tip.hidden = true;
      return;
    }
    const x = u.posToVal(u.cursor.left, "x"), rows = [];
    let closest = null;
    for (const curve of curves) {
      const i = nearest(curve.x, x), place = curve.x[i];
      if (place < curve.x[0] || x < curve.x[0] - (u.scales.x.max - u.scales.x.min) / 50 || x > curve.x.at(-1) + (u.scales.x.max - u.scales.x.min) / 50) continue;
      if (closest === null || Math.abs(place - x) < Math.abs(closest - x)) closest = place;
      const row = make("div", {}, dot(curve.run), make("span", { className: "name", textContent: data.runs[curve.run] }), make("b", { textContent: number(curve.line[i]) }));
      if (curve.low) row.append(make("span", { className: "range", textContent: `${number(curve.low[i])} to ${number(curve.high[i])}` }));
      else if (curve.raw) row.append(make("span", { className: "range", textContent: number(curve.values[i]) }));
      rows.push([curve.line[i] ?? -Infinity, row]);
    }
    tip.hidden = !rows.length;
    if (!rows.length) return;
    rows.sort((a, b) => b[0] - a[0]);
    const head = state.axis === "hours" ? `${number(Number(closest.toFixed(3)))} hours` : `${number(closest)} ${state.axis}`;
    tip.replaceChildren(make("div", { className: "head", textContent: head }), ...rows.map((row) => row[1]));
    const left = u.over.offsetLeft + u.cursor.left, room = host.clientWidth;
    const onLeft = left + 16 + tip.offsetWidth > room && left - 16 - tip.offsetWidth > 0;
    tip.style.left = `${onLeft ? left - 16 - tip.offsetWidth : Math.min(left + 16, Math.max(0, room - tip.offsetWidth))}px`;
    tip.style.top = `${u.over.offsetTop + 8}px`;
  }

  function zoomTo(range, source) {
    state.zoom = range;
    at("reset").hidden = !range;
    if (source) source.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    for (const chart of charts) if (chart.plot) chart.plot.setScale("x", boundsOf(chart.plot));
  }

  function boundsOf(plot) {
    const xs = plot.data[0];
    return state.zoom ? { min: state.zoom[0], max: state.zoom[1] } : { min: xs[0], max: xs.at(-1) };
  }

  // uPlot listens to the mouse alone: one finger sideways selects, as the mouse does
  function listenToTouch(plot) {
    let from = null;
    const place = (event) => Math.max(0, Math.min(plot.over.clientWidth, event.clientX - plot.over.getBoundingClientRect().left));
    const select = (event) => ({ left: Math.min(from, place(event)), width: Math.abs(place(event) - from), top: 0, height: plot.over.clientHeight });
    plot.over.addEventListener("pointerdown", (event) => { if (event.pointerType === "touch") from = place(event); });
    plot.over.addEventListener("pointermove", (event) => {
      if (from !== null && event.pointerType === "touch") {
        plot.setCursor({ left: place(event), top: 10 });
        plot.setSelect(select(event), false);
      }
    });
    plot.over.addEventListener("pointerup", (event) => {
      if (from !== null && event.pointerType === "touch") plot.setSelect(select(event), true);
      from = null;
    });
    plot.over.addEventListener("pointercancel", () => {
      from = null;
      plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    });
  }

  function sizeOf(host) {
    return { width: Math.max(200, host.clientWidth), height: state.tags.size === 1 ? Math.max(280, Math.min(560, innerHeight * 0.6)) : 280 };
  }

  function draw(chart) {
    if (chart.plot) chart.plot.destroy();
    chart.plot = null;
    const curves = curvesOf(chart.tag), size = sizeOf(chart.host);
    const drawn = curves.length ? seriesOf(curves) : null;
    if (!drawn || drawn.data.slice(1).every((values) => values.every((value) => value === null || value === undefined))) {
      const why = state.log && drawn ? "nothing above 0" : data.curves[chart.tag].every((curve) => state.hidden.has(curve.run)) ? "its runs are hidden" : `not known against ${AXES[state.axis]}`;
      const note = make("div", { className: "nothing", textContent: why });
      note.style.height = `${size.height}px`;
      chart.host.replaceChildren(note);
      return;
    }
    chart.host.replaceChildren(make("div", { className: "tip", hidden: true }));
    chart.plot = new uPlot(options(curves, drawn, size, chart.host), drawn.data, chart.host);
    chart.plot.setScale("x", boundsOf(chart.plot));
    listenToTouch(chart.plot);
  }

  function show() {
    for (const chart of charts) if (chart.plot) chart.plot.destroy();
    charts = data.tags.filter((tag) => state.tags.has(tag)).map((tag) => ({ tag, host: make("div", { className: "plot" }), plot: null }));
    at("charts").replaceChildren(...charts.map((chart) => {
      const [group, name] = split(chart.tag);
      const title = make("h3", {}, ...(group ? [make("small", { textContent: group })] : []), name);
      const card = make("article", { className: "card" }, title, chart.host);
      card.dataset.tag = chart.tag;
      return card;
    }));
    at("empty").hidden = charts.length > 0;
    at("chosen").textContent = `${state.tags.size} of ${data.tags.length}`;
    redraw();
  }

  function redraw() {
    charts.forEach(draw);
    tabulate();
  }

  // ---- the table

  function tabulate() {
    at("last").hidden = !charts.length;
    at("where").textContent = `at ${state.axis}`;
    const rows = [];
    for (const { tag } of charts) {
      for (const curve of data.curves[tag]) {
        if (state.hidden.has(curve.run)) continue;
        const cell = (text) => make("td", { className: "number", textContent: text });
        const place = curve.last[state.axis];
        const points = number(curve.count) + (curve.broken ? ` (${number(curve.broken)} not finite)` : "");
        rows.push(make("tr", {}, make("td", { textContent: tag }), make("td", {}, dot(curve.run), data.runs[curve.run]), cell(curve.last.text ?? number(curve.last.value)), cell(number(place)), cell(number(curve.lowest)), cell(number(curve.highest)), cell(points)));
      }
    }
    at("rows").replaceChildren(...rows);
  }

  // ---- controls

  function listRuns() {
    at("runs").replaceChildren(...data.runs.map((name, run) => {
      const button = make("button", { type: "button", className: "run" }, dot(run), name);
      button.setAttribute("aria-pressed", !state.hidden.has(run));
      button.onclick = () => {
        if (!state.hidden.delete(run)) state.hidden.add(run);
        button.setAttribute("aria-pressed", !state.hidden.has(run));
        redraw();
      };
      return button;
    }));
  }

  function listTags() {
    const words = at("search").value.toLowerCase().split(/\s+/), list = [];
    let before = null;
    for (const tag of data.tags) {
      if (!words.every((word) => tag.toLowerCase().includes(word))) continue;
      const [group, name] = split(tag);
      if (group !== before && group) list.push(make("div", { className: "group", textContent: group }));
      before = group;
      const box = make("input", { type: "checkbox", checked: state.tags.has(tag) });
      box.onchange = () => {
        if (box.checked) state.tags.add(tag); else state.tags.delete(tag);
        show();
      };
      list.push(make("label", { className: "tag", title: tag }, box, make("span", { textContent: name })));
    }
    at("tags").replaceChildren(...(list.length ? list : [make("div", { className: "group", textContent: "no tag has these words" })]));
    return data.tags.filter((tag) => words.every((word) => tag.toLowerCase().includes(word)));
  }

  function choose(shown) {
    for (const tag of listTags()) if (shown) state.tags.add(tag); else state.tags.delete(tag);
    listTags();
    show();
  }

  function listAxes() {
    for (const axis of data.axes) {
      const choice = make("input", { type: "radio", name: "axis", value: axis, checked: axis === state.axis });
      choice.onchange = () => {
        state.axis = axis;
        zoomTo(null);
        redraw();
      };
      at("axes").append(make("label", { title: AXES[axis] }, choice, axis));
    }
  }

  function smoothTo(weight) {
    state.smoothing = weight;
    at("smoothing").value = weight;
    at("weight").textContent = weight.toFixed(2);
  }

  listAxes();
  at("log").checked = state.log;
  at("log").onchange = () => { state.log = at("log").checked; redraw(); };
  smoothTo(state.smoothing);
  at("smoothing").oninput = () => { smoothTo(Number(at("smoothing").value)); redraw(); };
  at("reset").onclick = () => zoomTo(null);
  at("search").oninput = listTags;
  at("all").onclick = () => choose(true);
  at("none").onclick = () => choose(false);
  const longest = data.thinned;
  if (longest) {
    at("thinned").hidden = false;
    at("thinned").textContent = `Curves of more than ${number(longest)} points are drawn as ${number(longest)} means of equally many points each; the band around them reaches from the lowest to the highest. Last, lowest and highest values are of all points.`;
  }
  if (matchMedia("(max-width: 800px)").matches) at("picker").open = false;
  const measure = () => document.documentElement.style.setProperty("--top", `${document.querySelector("header").offsetHeight}px`);
  measure();
  let width = innerWidth;
  addEventListener("resize", () => {
    measure();
    if (innerWidth === width) return;
    width = innerWidth;
    for (const chart of charts) if (chart.plot) chart.plot.setSize(sizeOf(chart.host));
  });
  COLORS.addEventListener("change", () => { listRuns(); redraw(); });
  listRuns();
  listTags();
  show();
})();
