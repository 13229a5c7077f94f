// The pace of the run: calls a second, the ceiling, lanes out of use, refused calls.
(() => {
  'use strict';
  const d = JSON.parse(document.getElementById('pace-data').textContent);
  const box = document.getElementById('pace');
  const n = d.calls.length;
  const last = (list) => list[list.length - 1];
  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();

  // A value holds until the next one: the last one needs an end.
  const xs = Array.from({ length: n + 1 }, (_, i) => i * d.width);
  const calls = [...d.calls, last(d.calls)];
  const most = [...d.most, last(d.most)];
  const lanes = [...d.lanes, last(d.lanes)];
  const budget = [...d.budget, last(d.budget)];
  const refused = [...d.refused.map((v) => (v > 0 ? v / d.width : null)), null];
  const held = lanes.some((v, i) => v !== null && v < budget[i]);
  const some = d.refused.some((v) => v > 0);

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

  const draw = (width, height) => {
    const value = (u, v) => number(v);
    const series = [{ label: 'time', value: (u, x) => (x === null ? '' : clock(x).slice(0, 19).replace('T', ' ')) }];
    const data = [xs];
    const add = (list, options) => {
      data.push(list);
      series.push({ paths: hold, points: { show: false }, value, width: 1.5, ...options });
      return series.length - 1;
    };
    add(calls, { label: 'calls a second', stroke: ink('calls'), fill: ink('calls-area') });
    if (d.width > 1) add(most, { label: 'most in a second', stroke: ink('most'), width: 1 });
    const ceiling = budget.some((v) => v !== null)
      ? add(budget, { label: 'ceiling', stroke: ink('dim'), dash: [6, 4], width: 1 }) : 0;
    const usable = held ? add(lanes, { label: 'usable lanes', stroke: ink('unprocessed'), width: 1 }) : 0;
    if (some) add(refused, { label: 'refused a second', paths: bars, stroke: ink('failed'), fill: ink('failed'), width: 0 });
    const axis = { stroke: ink('dim'), grid: { stroke: ink('line'), width: 1 }, ticks: { stroke: ink('line'), width: 1, size: 4 }, font: '12px system-ui, sans-serif' };
    box.replaceChildren();
    return new uPlot({
      width, height, series, padding: [8, 28, 0, 0],
      bands: held ? [{ series: [ceiling, usable], fill: ink('held') }] : [],
      scales: { x: { time: false, range: () => [0, n * d.width] }, y: { range: (u, min, max) => [0, Math.max(1, max) * 1.08] } },
      axes: [
        { ...axis, size: 44, space: 90, incrs: steps, splits: ticks, values: (u, splits, i, space, step) => label(splits, step) },
        { ...axis, size: 48, values: (u, splits) => splits.map(number) },
      ],
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      legend: { live: true, markers: { width: 0, fill: (u, i) => series[i].stroke } },
      hooks: { draw: [cutLines] },
    }, data, box);
  };

  const room = () => Math.max(240, box.clientWidth);
  let plot = null;
  const again = (width, height) => {
    if (plot) plot.destroy();
    plot = draw(width, height);
  };
  const tall = () => (room() < 500 ? 200 : 260);
  again(room(), tall());
  let wide = box.clientWidth;
  addEventListener('resize', () => {
    if (plot && box.clientWidth !== wide) {
      wide = box.clientWidth;
      plot.setSize({ width: room(), height: tall() });
    }
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => again(room(), tall()));
  // Paper is narrower, and white.
  addEventListener('beforeprint', () => {
    document.documentElement.classList.add('on-paper');
    again(660, 180);
  });
  addEventListener('afterprint', () => {
    document.documentElement.classList.remove('on-paper');
    again(room(), tall());
  });
})();
