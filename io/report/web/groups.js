// The table of groups is sorted by a click on the head of a column.
(() => {
  'use strict';
  const table = document.getElementById('groups');
  const body = table.tBodies[0];
  const text = (row, i) => row.cells[i].textContent;
  const value = (row, i) => (i === 0 ? text(row, 0) : Number(text(row, i).replaceAll(',', '')));
  const sort = (th, i) => {
    // Numbers from the greatest first, names from the least.
    const now = th.getAttribute('aria-sort');
    const down = now ? now === 'ascending' : i > 0;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
    th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const rows = Array.from(body.rows, (row) => [value(row, i), row]);
    rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1));
    body.append(...rows.map(([, row]) => row));
  };
  Array.from(table.tHead.rows[0].cells).slice(0, 5).forEach((th, i) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...th.childNodes);
    th.append(button);
    button.addEventListener('click', () => sort(th, i));
  });
})();
