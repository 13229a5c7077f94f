// What happened over time: calls a second against the ceiling, how long they took, and
// the rows that failed. All pictures have one time axis.
(() => {
  'use strict';
  const d = JSON.parse(document.getElementById('pace-data').textContent);
  const n = d.calls.length;
  const last = (list) => list[list.length - 1];
  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();

  // A value holds until the next one: the last one needs an end.
  const xs = Array.from({ length: n + 1 }, (_, i) => i * d.width);
  const ended = (list) => [...list, last(list)];

  // clock is the time at x, with what was cut out before it.
  const clock = (x) => {
    let out = 0;
    for (const [at, seconds] of d.cuts) {
      if (x >= at) out = seconds;
    }
    return new Date((d.start + x + out) * 1000).toISOString();
  };
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];
  const label = (splits, step) => {
    let day = '';
    return splits.map((x) => {
      const t = clock(x);
      const date = t.slice(0, 10) === day ? '' : '\n' + t.slice(5, 10);
      day = t.slice(0, 10);
      return t.slice(11, step < 60 ? 19 : 16) + date;
    });
  };
  // ticks stand at round times of the clock, also behind a cut.
  const ticks = (u, axis, min, max, step) => {
    const out = [];
    [[0, 0], ...d.cuts].forEach(([from, cut], i) => {
      const end = i < d.cuts.length ? d.cuts[i][0] : max + 1;
      for (let x = Math.ceil((d.start + from + cut) / step) * step - d.start - cut; x < end && x <= max; x += step) {
        if (out.length === 0 || x - out.at(-1) >= step * 0.8) out.push(x);
      }
    });
    return out;
  };
  const number = (v) => (v === null || v === undefined ? '' : v.toLocaleString('en', { maximumFractionDigits: 1 }));
  const hold = uPlot.paths.stepped({ align: 1 });
  const bars = uPlot.paths.bars({ align: 1, size: [1, Infinity] });

  const cutLines = (u) => {
    u.ctx.save();
    u.ctx.strokeStyle = ink('dim');
    u.ctx.setLineDash([2, 4]);
    u.ctx.lineWidth = devicePixelRatio;
    for (const [at] of d.cuts) {
      const x = Math.round(u.valToPos(at, 'x', true));
      u.ctx.beginPath();
      u.ctx.moveTo(x, u.bbox.top);
      u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
      u.ctx.stroke();
    }
    u.ctx.restore();
  };

  // A picture collects its lines, and is drawn with the common time axis.
  const picture = (box) => {
    const series = [{ label: 'time', value: (u, x) => (x === null ? '' : clock(x).slice(0, 19).replace('T', ' ')) }];
    const data = [xs];
    return {
      add(list, options) {
        data.push(list);
        series.push({ paths: hold, points: { show: false }, value: (u, v) => number(v), width: 1.5, ...options });
        return series.length - 1;
      },
      draw(width, height, { y = {}, ...options }) {
        const axis = { stroke: ink('dim'), grid: { stroke: ink('line'), width: 1 }, ticks: { stroke: ink('line'), width: 1, size: 4 }, font: '12px system-ui, sans-serif' };
        box.replaceChildren();
        return new uPlot({
          width, height, series, padding: [8, 28, 0, 0],
          scales: { x: { time: false, range: () => [0, n * d.width] }, y: { range: (u, min, max) => [0, Math.max(1, max) * 1.08], ...y } },
          axes: [
            { ...axis, size: 44, space: 90, incrs: steps, splits: ticks, values: (u, splits, i, space, step) => label(splits, step) },
            { ...axis, size: 48, values: (u, splits) => splits.map(number) },
          ],
          cursor: { y: false, drag: { x: false, y: false }, points: { show: false }, sync: { key: 'run', setSeries: false } },
          legend: { live: true, markers: { width: 0, fill: (u, i) => series[i].ink || series[i].stroke } },
          hooks: { draw: [cutLines] },
          ...options,
        }, data, box);
      },
    };
  };

  // Calls a second, the ceiling, lanes out of use, refused calls.
  const pace = (box, width, height) => {
    const p = picture(box);
    const lanes = ended(d.lanes);
    const budget = ended(d.budget);
    const held = lanes.some((v, i) => v !== null && v < budget[i]);
    p.add(ended(d.calls), { label: 'calls a second', stroke: ink('calls'), fill: ink('calls-area') });
    if (d.width > 1) p.add(ended(d.most), { label: 'most in a second', stroke: ink('most'), width: 1 });
    const ceiling = budget.some((v) => v !== null)
      ? p.add(budget, { label: 'ceiling', stroke: ink('dim'), dash: [6, 4], width: 1 }) : 0;
    const usable = held ? p.add(lanes, { label: 'usable lanes', stroke: ink('unprocessed'), width: 1 }) : 0;
    if (d.refused.some((v) => v > 0)) {
      const refused = d.refused.map((v) => (v > 0 ? v / d.width : null));
      p.add([...refused, null], { label: 'refused a second', paths: bars, stroke: ink('failed'), fill: ink('failed'), width: 0 });
    }
    return p.draw(width, height, { bands: held ? [{ series: [ceiling, usable], fill: ink('held') }] : [] });
  };

  // What half, 95 % and 99 % of the answered calls took at most. Where that is far
  // apart the scale is logarithmic.
  const latency = (box, width, height) => {
    const p = picture(box);
    const known = d.trips.p99.filter((v) => v !== null);
    const usual = d.trips.p50.filter((v) => v !== null).sort((a, b) => a - b);
    const far = Math.max(...known) > 20 * usual[usual.length >> 1];
    document.getElementById('latency-scale').hidden = !far;
    const ms = (v) => (v >= 1000 ? number(v / 1000) + ' s' : number(v) + ' ms');
    // One point between two without an answer has no line: it holds for its time.
    const line = (list) => [...list.map((v, i) => v ?? (i > 0 ? list[i - 1] : null)), last(list)].map((v) => (v === null ? null : Math.max(v, 0.1)));
    const value = (list) => (u, v, s, i) => (i === null || list[i] === null || list[i] === undefined ? '' : ms(list[i]));
    const add = (name, list, options) => p.add(line(list), { label: name, value: value(ended(list)), stroke: ink(options.ink), ...options, ink: ink(options.ink) });
    add('half', d.trips.p50, { ink: 'p50', width: 2 });
    add('95 %', d.trips.p95, { ink: 'p95', dash: [7, 3] });
    add('99 %', d.trips.p99, { ink: 'p99', dash: [2, 2] });
    const y = far ? { distr: 3, range: (u, min, max) => [10 ** Math.floor(Math.log10(min)), max * 1.3] } : {};
    const plot = p.draw(width, height, { y });
    plot.root.querySelectorAll('.u-legend .u-marker').forEach((marker, i) => marker.classList.add('dash-' + (i - 1))); // the first is that of the time
    return plot;
  };

  // Rows that failed, by class, one above the other: each also has a hatch of its own,
  // for eyes and paper without colours.
  const hatches = [
    null,
    (c) => { for (const x of [-4, 0, 4, 8]) { c.moveTo(x, 8); c.lineTo(x + 8, 0); } },
    (c) => { for (const y of [2, 6]) { c.moveTo(0, y); c.lineTo(8, y); } },
    (c) => { for (const x of [-4, 0, 4, 8]) { c.moveTo(x, 0); c.lineTo(x + 8, 8); } },
  ];
  const hatched = (colour, k) => {
    const lines = hatches[k % hatches.length];
    if (!lines) return colour;
    const tile = document.createElement('canvas');
    tile.width = tile.height = 8;
    const c = tile.getContext('2d');
    c.fillStyle = colour;
    c.fillRect(0, 0, 8, 8);
    c.strokeStyle = ink('card');
    c.lineWidth = 1.2;
    c.beginPath();
    lines(c);
    c.stroke();
    return c.createPattern(tile, 'repeat');
  };
  const failing = (box, width, height) => {
    const p = picture(box);
    // The whole is painted first, and over it what is below.
    const sums = [];
    d.failing.forEach((f, k) => sums.push(f.rows.map((v, i) => v + (k > 0 ? sums[k - 1][i] : 0))));
    const at = [];
    d.failing.forEach((f, k) => {
      const colour = ink('class-' + k);
      const fill = hatched(colour, k);
      const list = [...sums[k].map((v) => (v > 0 ? v : null)), null];
      at.push([list, { label: f.class, paths: bars, stroke: colour, ink: colour, fill: () => fill, width: 0, value: (u, v, s, i) => (i === null || i >= n ? '' : number(f.rows[i])) }]);
    });
    for (const [list, options] of at.reverse()) p.add(list, options);
    const plot = p.draw(width, height, {});
    // The most frequent class, which is the lowest, comes first.
    plot.root.querySelectorAll('.u-legend .u-series').forEach((entry, i) => {
      if (i === 0) return;
      entry.style.order = -i;
      entry.querySelector('.u-marker').classList.add('hatch-' + ((d.failing.length - i) % hatches.length));
    });
    return plot;
  };

  const charts = [['pace', pace], ['latency', latency], ['failing', failing]]
    .map(([id, make]) => ({ box: document.getElementById(id), make, plot: null }))
    .filter((c) => c.box);
  const room = (box) => Math.max(240, box.clientWidth);
  const tall = (box) => (room(box) < 500 ? 200 : 260) - (box.id === 'pace' ? 0 : 40);
  const again = (size) => {
    for (const c of charts) {
      if (c.plot) c.plot.destroy();
      c.plot = c.make(c.box, ...size(c.box));
    }
  };
  const onScreen = (box) => [room(box), tall(box)];
  again(onScreen);
  let wide = charts[0].box.clientWidth;
  addEventListener('resize', () => {
    if (charts[0].box.clientWidth === wide) return;
    wide = charts[0].box.clientWidth;
    for (const c of charts) c.plot.setSize({ width: room(c.box), height: tall(c.box) });
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => again(onScreen));
  // Paper is narrower, and white.
  addEventListener('beforeprint', () => {
    document.documentElement.classList.add('on-paper');
    again((box) => [660, box.id === 'pace' ? 180 : 150]);
  });
  addEventListener('afterprint', () => {
    document.documentElement.classList.remove('on-paper');
    again(onScreen);
  });
})();
