// The failed rows: a table that is filtered and sorted. Whatever is in a row goes
// into the page as text, never as HTML.
(async () => {
  'use strict';
  const at = (id) => document.getElementById(id);
  const box = at('rows');
  const count = (k) => k.toLocaleString('en');

  const read = async () => {
    const bytes = Uint8Array.from(atob(at('rows-data').textContent), (c) => c.charCodeAt(0));
    const text = new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip')));
    const known = [];
    return (await text.json()).map(([line, k, raw, cls, code, tries, error], id) => {
      let o = known[k];
      if (cls !== undefined) {
        o = { cls, code, tries, error };
        if (k >= 0) known[k] = o;
      }
      return { id, line, raw, ...o };
    });
  };
  let rows;
  try {
    rows = await read();
  } catch (e) {
    box.textContent = 'This browser cannot read the rows (' + e.message + '). They are in the failed file beside this page.';
    return;
  }
  at('rows-data').remove();

  const element = (tag, className, text) => {
    const e = document.createElement(tag);
    if (className) e.className = className;
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const code = (r) => (r.code ? String(r.code) : '');

  const details = at('row');
  const show = (r) => {
    details.querySelector('h3').textContent = 'line ' + count(r.line);
    const list = details.querySelector('dl');
    list.replaceChildren();
    for (const [name, text] of [['row, as written', r.raw], ['class', r.cls], ['code', code(r)], ['error', r.error], ['attempts', String(r.tries)]]) {
      if (text) list.append(element('dt', '', name), element('dd', name === 'row, as written' ? 'raw' : '', text));
    }
    details.showModal();
  };

  // A cell holds its text. On a phone a row is one cell of three lines.
  const cell = (field, className) => ({
    field,
    formatter: (c) => element('span', className, field === 'code' ? code(c.getData()) : c.getValue()),
    sorter: (a, b) => (a < b ? -1 : a > b ? 1 : 0),
  });
  const wide = () => [
    { title: 'line', ...cell('line', 'n'), formatter: (c) => element('span', 'n', count(c.getValue())), width: 92, hozAlign: 'right', headerHozAlign: 'right' },
    { title: 'class', ...cell('cls', ''), width: 160 },
    { title: 'code', ...cell('code', 'n'), width: 80, hozAlign: 'right', headerHozAlign: 'right' },
    { title: 'attempts', ...cell('tries', 'n'), width: 96, hozAlign: 'right', headerHozAlign: 'right' },
    { title: 'row, as written', ...cell('raw', 'raw'), widthGrow: 4, minWidth: 180 },
    { title: 'error', ...cell('error', ''), widthGrow: 3, minWidth: 180 },
  ];
  const stacked = (c) => {
    const r = c.getData();
    const head = element('span', 'head', 'line ' + count(r.line) + ' · ' + r.cls + (r.code ? ' · ' + r.code : ''));
    const all = element('div', 'stack');
    all.append(head, element('span', 'raw', r.raw), element('span', 'dim', r.error));
    return all;
  };
  const narrow = () => [
    { field: 'id', formatter: stacked, headerSort: false },
    ...['line', 'cls', 'code', 'tries', 'raw', 'error'].map((field) => ({ ...cell(field, ''), visible: false })),
  ];

  const phone = matchMedia('(max-width: 700px)');
  let table = null;
  let built = false; // until it is, the table is not to be asked
  const wanted = () => ({ text: at('rows-find').value.toLowerCase(), cls: at('rows-class').value });
  const fits = (r, w) => (w.cls === '' || r.cls === w.cls) &&
    (w.text === '' || r.raw.toLowerCase().includes(w.text) || r.error.toLowerCase().includes(w.text));
  const say = (n) => {
    at('rows-count').textContent = n === rows.length ? count(n) : count(n) + ' of ' + count(rows.length);
  };
  const filter = () => {
    if (!built) return; // it is done then
    const w = wanted();
    if (w.text !== '' || w.cls !== '') table.setFilter(fits, w);
    else if (table.getFilters().length > 0) table.clearFilter();
  };
  const make = () => {
    if (table) table.destroy();
    built = false;
    box.replaceChildren();
    box.classList.toggle('narrow', phone.matches);
    const rowHeight = phone.matches ? 78 : 34;
    const head = phone.matches ? 0 : 36;
    table = new Tabulator(box, {
      data: rows, columns: phone.matches ? narrow() : wide(), layout: 'fitColumns', index: 'id',
      height: Math.min(560, head + 2 + rowHeight * Math.max(3, rows.length)), rowHeight,
      headerVisible: !phone.matches, headerSortTristate: false, columnHeaderVertAlign: 'middle', resizableColumnFit: true,
      columnDefaults: { resizable: !phone.matches }, placeholder: 'no such row',
      initialSort: [{ column: 'line', dir: 'asc' }],
      rowFormatter: (row) => { row.getElement().tabIndex = 0; },
    });
    table.on('rowClick', (e, row) => { if (getSelection().isCollapsed) show(row.getData()); });
    table.on('dataFiltered', (filters, list) => say(list.length));
    table.on('tableBuilt', () => {
      built = true;
      filter();
    });
    table.on('dataSorted', (sorters) => { if (sorters.length) at('rows-sort').value = sorters[0].field; });
  };
  box.addEventListener('keydown', (e) => {
    const row = e.key === 'Enter' && table.getRows('visible').find((r) => r.getElement() === e.target);
    if (row) show(row.getData());
  });

  const classes = [...new Set(rows.map((r) => r.cls))].sort();
  at('rows-class').append(...classes.map((c) => {
    const o = element('option', '', c);
    o.value = c;
    return o;
  }));
  let later;
  at('rows-find').addEventListener('input', () => {
    clearTimeout(later);
    later = setTimeout(filter, 120);
  });
  at('rows-class').addEventListener('change', filter);
  at('rows-sort').addEventListener('change', (e) => table.setSort(e.target.value, 'asc'));
  phone.addEventListener('change', make);
  at('rows-bar').hidden = false;
  say(rows.length);
  make();

  // On paper there is no scrolling: the first rows of those that are shown.
  addEventListener('beforeprint', () => {
    const body = at('rows-print').tBodies[0];
    body.replaceChildren(...table.getData('active').slice(0, 50).map((r) => {
      const tr = element('tr');
      tr.append(element('td', 'n', count(r.line)), element('td', '', r.cls), element('td', 'n', code(r)), element('td', 'raw', r.raw), element('td', '', r.error));
      return tr;
    }));
    at('rows-print').hidden = false;
  });
  addEventListener('afterprint', () => { at('rows-print').hidden = true; });
})();
