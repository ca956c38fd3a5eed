// The page of curves. `state` is what is shown; every change of it redraws charts and table.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const darkScheme = matchMedia("(prefers-color-scheme: dark)");
  // neighbours differ on their background, also for most colour-blind readers
  const LIGHT = [
    "#1f6feb", "#d9480f", "#2b8a3e", "#9c36b5", "#c2255c",
    "#0c8599", "#846300", "#5f3dc4", "#6b7280", "#a14a2a",
  ];
  const DARK = [
    "#58a6ff", "#ff9147", "#56d364", "#d68bf0", "#ff7a9c",
    "#3bc9db", "#e3b341", "#a78bfa", "#9ca3af", "#e5a184",
  ];
  const AXES = {
    steps: "steps", samples: "samples", tokens: "tokens", hours: "hours since the start",
  };
  const NARROW = "(max-width: 800px)"; // as in page.css
  const CHART_HEIGHT = 280;
  const MIN_EPOCH_PIXELS = 4; // closer lines are a grey area
  const state = {
    axis: data.axes.includes(data.axis) ? data.axis : data.axes[0],
    log: data.log,
    smoothing: data.smoothing,
    tags: new Set(data.shown),
    hiddenRuns: new Set(),
    zoom: null,
  };
  let charts = [];

  const color = (run) => (darkScheme.matches ? DARK : LIGHT)[run % LIGHT.length];
  const style = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function element(kind, properties, ...children) {
    const node = Object.assign(document.createElement(kind), properties);
    node.append(...children);
    return node;
  }

  function dot(run) {
    const node = element("span", { className: "dot" });
    node.style.background = color(run);
    return node;
  }

  // group and name: what is before and after a tag's last slash
  function split(tag) {
    const slash = tag.lastIndexOf("/");
    if (slash <= 0 || slash === tag.length - 1) return ["", tag];
    return [tag.slice(0, slash), tag.slice(slash + 1)];
  }

  // ---- numbers for people

  function formatNumber(value) {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en");
    if (size >= 1e6 || size < 1e-3) return value.toExponential(3);
    return String(Number(value.toPrecision(5)));
  }

  function formatTick(value) {
    const size = Math.abs(value);
    for (const [unit, letter] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
      if (size >= unit) return Number((value / unit).toPrecision(6)) + letter;
    }
    if (size !== 0 && size < 1e-3) return value.toExponential().replace(/(\.\d{2})\d*/, "$1");
    return String(Number(value.toPrecision(6)));
  }

  // ---- curves

  // the exponential moving average without its bias to 0, as TensorBoard draws it
  function movingAverage(values, weight) {
    if (!weight) return values;
    let average = 0;
    let power = 1;
    return values.map((value) => {
      if (value === null) return null;
      average = average * weight + value * (1 - weight);
      power *= weight;
      return average / (1 - power);
    });
  }

  // a logarithmic scale has no place for 0 and below
  function drawable(values) {
    if (!state.log) return values;
    return values.map((value) => (value !== null && value > 0 ? value : null));
  }

  // the curves of a tag, one per visible run with known places on the axis, each in order of x
  function curvesOf(tag) {
    const curves = [];
    for (const curve of data.curves[tag]) {
      const places = curve[state.axis];
      if (state.hiddenRuns.has(curve.run) || !places) continue;
      const order = [...places.keys()].filter((i) => places[i] !== null);
      if (!order.length) continue;
      order.sort((a, b) => places[a] - places[b]);
      const sorted = (values) => order.map((i) => values[i]);
      const weight = curve.count < data.few ? 0 : state.smoothing;
      curves.push({
        run: curve.run,
        x: sorted(places),
        line: drawable(sorted(movingAverage(curve.values, weight))),
        raw: weight && !curve.low ? drawable(sorted(curve.values)) : null,
        values: sorted(curve.values),
        low: curve.low && drawable(sorted(curve.low)),
        high: curve.low && drawable(sorted(curve.high)),
      });
    }
    return curves;
  }

  // the index of the number nearest to x; xs is sorted
  function nearest(xs, x) {
    let low = 0;
    let high = xs.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle;
      else high = middle;
    }
    return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
  }

  // ---- charts

  // uPlot's series and bands, and one table of all curves: a band from lowest to highest,
  // the faint values, the line
  function seriesOf(curves) {
    const series = [{}];
    const bands = [];
    const tables = [];
    for (const curve of curves) {
      const stroke = color(curve.run);
      const few = curve.x.length < data.few;
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
      add(curve.line, {
        stroke, width: 1.75, points: { show: few, size: 5, fill: stroke, stroke },
      });
      tables.push(table);
    }
    return { series, bands, data: uPlot.join(tables) };
  }

  function chartOptions(curves, drawn, size, host) {
    const grid = { stroke: style("--grid"), width: 1 };
    const ticks = { ...grid, size: 5 };
    const axis = { stroke: style("--soft"), font: "12px system-ui, sans-serif", grid, ticks };
    const zoomToSelection = (plot) => {
      const { left, width } = plot.select;
      if (width <= 4) return;
      zoomTo([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")], plot);
    };
    const isShared = (kind) => kind === "mousemove" || kind === "mouseleave";
    return {
      ...size,
      series: drawn.series,
      bands: drawn.bands,
      legend: { show: false },
      padding: [8, 14, 0, 0],
      scales: {
        x: {
          time: false,
          range: (plot, low, high) => (low === high ? [low - 1, high + 1] : [low, high]),
        },
        y: { distr: state.log ? 3 : 1 },
      },
      axes: [
        { ...axis, space: 70, size: 34, values: (plot, places) => places.map(formatTick) },
        {
          ...axis,
          size: 54,
          // of a logarithmic axis, uPlot leaves out ticks by making them null
          values: (plot, places) => places.map((y) => (y === null ? "" : formatTick(y))),
        },
      ],
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false },
        sync: { key: "x", setSeries: false, filters: { pub: isShared } },
        bind: { dblclick: () => () => zoomTo(null) },
      },
      hooks: {
        drawAxes: [drawEpochs],
        setSelect: [zoomToSelection],
        setCursor: [(plot) => showTip(plot, curves, host)],
      },
    };
  }

  // a line where each epoch but the first begins, behind the curves
  function drawEpochs(plot) {
    const tokens = data.unique_tokens;
    if (!tokens || state.axis !== "tokens") return;
    const position = (x) => plot.valToPos(x, "x", true);
    if (position(tokens) - position(0) < MIN_EPOCH_PIXELS * devicePixelRatio) return;
    const { min, max } = plot.scales.x;
    const last = plot.data[0].at(-1);
    const { ctx, bbox } = plot;
    const width = Math.max(1, Math.round(devicePixelRatio));
    ctx.save();
    ctx.fillStyle = style("--epoch");
    const first = Math.max(1, Math.ceil(min / tokens)) * tokens;
    for (let border = first; border <= max && border < last; border += tokens) {
      ctx.fillRect(Math.round(position(border) - width / 2), bbox.top, width, bbox.height);
    }
    ctx.restore();
  }

  // the values next to the cursor, in a box beside it
  function showTip(plot, curves, host) {
    const tip = host.querySelector(".tip");
    const { left: cursorLeft, event } = plot.cursor;
    if (!(cursorLeft >= 0) || event === null) {
      tip.hidden = true;
      return;
    }
    const x = plot.posToVal(cursorLeft, "x");
    const margin = (plot.scales.x.max - plot.scales.x.min) / 50;
    const rows = [];
    let closest = null;
    for (const curve of curves) {
      if (x < curve.x[0] - margin || x > curve.x.at(-1) + margin) continue;
      const i = nearest(curve.x, x);
      const place = curve.x[i];
      if (closest === null || Math.abs(place - x) < Math.abs(closest - x)) closest = place;
      rows.push({ value: curve.line[i] ?? -Infinity, node: tipRow(curve, i) });
    }
    tip.hidden = !rows.length;
    if (!rows.length) return;
    rows.sort((a, b) => b.value - a.value);
    let head = `${formatNumber(closest)} ${state.axis}`;
    if (state.axis === "hours") head = `${formatNumber(Number(closest.toFixed(3)))} hours`;
    tip.replaceChildren(
      element("div", { className: "head", textContent: head }), ...rows.map((row) => row.node),
    );
    const left = plot.over.offsetLeft + cursorLeft;
    const room = host.clientWidth;
    let tipLeft = Math.min(left + 16, Math.max(0, room - tip.offsetWidth));
    const isFullRight = left + 16 + tip.offsetWidth > room;
    if (isFullRight && left - 16 - tip.offsetWidth > 0) tipLeft = left - 16 - tip.offsetWidth;
    tip.style.left = `${tipLeft}px`;
    tip.style.top = `${plot.over.offsetTop + 8}px`;
  }

  function tipRow(curve, i) {
    const name = element("span", { className: "name", textContent: data.runs[curve.run] });
    const value = element("b", { textContent: formatNumber(curve.line[i]) });
    const row = element("div", {}, dot(curve.run), name, value);
    let range = "";
    if (curve.low) range = `${formatNumber(curve.low[i])} to ${formatNumber(curve.high[i])}`;
    else if (curve.raw) range = formatNumber(curve.values[i]);
    if (range) row.append(element("span", { className: "range", textContent: range }));
    return row;
  }

  function zoomTo(range, source) {
    state.zoom = range;
    byId("reset").hidden = !range;
    if (source) source.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    for (const chart of charts) if (chart.plot) chart.plot.setScale("x", boundsOf(chart.plot));
  }

  function boundsOf(plot) {
    if (state.zoom) return { min: state.zoom[0], max: state.zoom[1] };
    const xs = plot.data[0];
    return { min: xs[0], max: xs.at(-1) };
  }

  // uPlot listens to the mouse alone: a finger that moves sideways selects, as the mouse does
  function listenToTouch(plot) {
    const { over } = plot;
    let start = null;
    const placeOf = (event) => {
      const place = event.clientX - over.getBoundingClientRect().left;
      return Math.max(0, Math.min(over.clientWidth, place));
    };
    const selectTo = (event, fireHook) => {
      const place = placeOf(event);
      const selection = { left: Math.min(start, place), width: Math.abs(place - start) };
      plot.setSelect({ ...selection, top: 0, height: over.clientHeight }, fireHook);
    };
    over.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") start = placeOf(event);
    });
    over.addEventListener("pointermove", (event) => {
      if (start === null || event.pointerType !== "touch") return;
      plot.setCursor({ left: placeOf(event), top: 10 });
      selectTo(event, false);
    });
    over.addEventListener("pointerup", (event) => {
      if (start !== null && event.pointerType === "touch") selectTo(event, true);
      start = null;
    });
    over.addEventListener("pointercancel", () => {
      start = null;
      plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    });
  }

  // a chart alone may fill most of the window
  function sizeOf(host) {
    let height = CHART_HEIGHT;
    if (state.tags.size === 1) height = Math.max(CHART_HEIGHT, Math.min(560, innerHeight * 0.6));
    return { width: Math.max(200, host.clientWidth), height };
  }

  function draw(chart) {
    if (chart.plot) chart.plot.destroy();
    chart.plot = null;
    const curves = curvesOf(chart.tag);
    const size = sizeOf(chart.host);
    const drawn = curves.length ? seriesOf(curves) : null;
    const isValue = (value) => value !== null && value !== undefined;
    if (!drawn || !drawn.data.slice(1).some((values) => values.some(isValue))) {
      const note = element("div", { className: "nothing", textContent: whyEmpty(chart, drawn) });
      note.style.height = `${size.height}px`;
      chart.host.replaceChildren(note);
      return;
    }
    chart.host.replaceChildren(element("div", { className: "tip", hidden: true }));
    const options = chartOptions(curves, drawn, size, chart.host);
    chart.plot = new uPlot(options, drawn.data, chart.host);
    chart.plot.setScale("x", boundsOf(chart.plot));
    listenToTouch(chart.plot);
  }

  function whyEmpty(chart, drawn) {
    if (state.log && drawn) return "nothing above 0";
    const isHidden = (curve) => state.hiddenRuns.has(curve.run);
    if (data.curves[chart.tag].every(isHidden)) return "its runs are hidden";
    return `not known along ${AXES[state.axis]}`;
  }

  function showCharts() {
    for (const chart of charts) if (chart.plot) chart.plot.destroy();
    charts = [];
    const cards = [];
    for (const tag of data.tags) {
      if (!state.tags.has(tag)) continue;
      const [group, name] = split(tag);
      const title = element("h3", {});
      if (group) title.append(element("small", { textContent: group }));
      title.append(name);
      const host = element("div", { className: "plot" });
      const card = element("article", { className: "card" }, title, host);
      card.dataset.tag = tag;
      cards.push(card);
      charts.push({ tag, host, plot: null });
    }
    byId("charts").replaceChildren(...cards);
    byId("empty").hidden = charts.length > 0;
    byId("chosen").textContent = `${state.tags.size} of ${data.tags.length}`;
    redraw();
  }

  function redraw() {
    charts.forEach(draw);
    fillTable();
  }

  // ---- the table

  function fillTable() {
    byId("last").hidden = !charts.length;
    byId("where").textContent = `at ${state.axis}`;
    const rows = [];
    for (const { tag } of charts) {
      for (const curve of data.curves[tag]) {
        if (!state.hiddenRuns.has(curve.run)) rows.push(tableRow(tag, curve));
      }
    }
    byId("rows").replaceChildren(...rows);
  }

  function tableRow(tag, curve) {
    const { last } = curve;
    let points = formatNumber(curve.count);
    if (curve.broken) points += ` (${formatNumber(curve.broken)} not finite)`;
    const numbers = [
      last.text ?? formatNumber(last.value),
      formatNumber(last[state.axis]),
      formatNumber(curve.lowest),
      formatNumber(curve.highest),
      points,
    ];
    return element(
      "tr",
      {},
      element("td", { textContent: tag }),
      element("td", {}, dot(curve.run), data.runs[curve.run]),
      ...numbers.map((text) => element("td", { className: "number", textContent: text })),
    );
  }

  // ---- controls

  function listRuns() {
    const buttons = data.runs.map((name, run) => {
      const button = element("button", { type: "button", className: "run" }, dot(run), name);
      button.setAttribute("aria-pressed", !state.hiddenRuns.has(run));
      button.onclick = () => {
        if (!state.hiddenRuns.delete(run)) state.hiddenRuns.add(run);
        button.setAttribute("aria-pressed", !state.hiddenRuns.has(run));
        redraw();
      };
      return button;
    });
    byId("runs").replaceChildren(...buttons);
  }

  // the tags that have all words of the search
  function matchingTags() {
    const words = byId("search").value.toLowerCase().split(/\s+/);
    return data.tags.filter((tag) => words.every((word) => tag.toLowerCase().includes(word)));
  }

  function listTags() {
    const nodes = [];
    let groupBefore = null;
    for (const tag of matchingTags()) {
      const [group, name] = split(tag);
      if (group !== groupBefore && group) {
        nodes.push(element("div", { className: "group", textContent: group }));
      }
      groupBefore = group;
      const box = element("input", { type: "checkbox", checked: state.tags.has(tag) });
      box.onchange = () => {
        if (box.checked) state.tags.add(tag);
        else state.tags.delete(tag);
        showCharts();
      };
      const text = element("span", { textContent: name });
      nodes.push(element("label", { className: "tag", title: tag }, box, text));
    }
    if (!nodes.length) {
      nodes.push(element("div", { className: "group", textContent: "no tag has these words" }));
    }
    byId("tags").replaceChildren(...nodes);
  }

  function selectMatchingTags(isShown) {
    for (const tag of matchingTags()) {
      if (isShown) state.tags.add(tag);
      else state.tags.delete(tag);
    }
    listTags();
    showCharts();
  }

  function listAxes() {
    for (const axis of data.axes) {
      const choice = element("input", {
        type: "radio", name: "axis", value: axis, checked: axis === state.axis,
      });
      choice.onchange = () => {
        state.axis = axis;
        zoomTo(null);
        redraw();
      };
      byId("axes").append(element("label", { title: AXES[axis] }, choice, axis));
    }
  }

  function smoothBy(weight) {
    state.smoothing = weight;
    byId("smoothing").value = weight;
    byId("weight").textContent = weight.toFixed(2);
  }

  function note(id, text) {
    byId(id).hidden = false;
    byId(id).textContent = text;
  }

  // the list of tags sticks to the window below the header
  function measureHeader() {
    const height = document.querySelector("header").offsetHeight;
    document.documentElement.style.setProperty("--top", `${height}px`);
  }

  listAxes();
  byId("log").checked = state.log;
  byId("log").onchange = () => {
    state.log = byId("log").checked;
    redraw();
  };
  smoothBy(state.smoothing);
  byId("smoothing").oninput = () => {
    smoothBy(Number(byId("smoothing").value));
    redraw();
  };
  byId("reset").onclick = () => zoomTo(null);
  byId("search").oninput = listTags;
  byId("all").onclick = () => selectMatchingTags(true);
  byId("none").onclick = () => selectMatchingTags(false);
  if (data.unique_tokens && data.axes.includes("tokens")) {
    const tokens = formatNumber(data.unique_tokens);
    note("epochs", `Along tokens, vertical lines mark epochs of ${tokens} unique tokens.`);
  }
  if (data.thinned) {
    const points = formatNumber(data.thinned);
    note(
      "thinned",
      `Curves of more than ${points} points are drawn as ${points} means, each of equally many ` +
        "points, in a band from the lowest to the highest of them. " +
        "Last, lowest and highest values are of all points.",
    );
  }
  if (matchMedia(NARROW).matches) byId("picker").open = false;
  measureHeader();
  let widthBefore = innerWidth;
  addEventListener("resize", () => {
    measureHeader();
    // on a phone, the height changes whenever the address bar comes or goes
    if (innerWidth === widthBefore) return;
    widthBefore = innerWidth;
    for (const chart of charts) if (chart.plot) chart.plot.setSize(sizeOf(chart.host));
  });
  darkScheme.addEventListener("change", () => {
    listRuns();
    redraw();
  });
  listRuns();
  listTags();
  showCharts();
})();
